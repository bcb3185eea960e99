"""The open documents of an editor: Python files, and notebooks whose cells are documents of their own."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from functools import cached_property
from pathlib import Path
from urllib.parse import unquote

from lsprotocol import types
from pygls import uris
from pygls.workspace import PositionCodec, TextDocument, Workspace

from regcheck.core.patch import Edit
from regcheck.files.notebook import SUFFIX
from regcheck.files.text import NEWLINE, encoding_of
from regcheck.lazy_dataclass import dataclass


@dataclass(frozen=True)
class Text:
    """The text of a document at one version. Lines and columns of regcheck count from 1, columns in characters."""

    uri: str
    version: int | None
    source: str
    codec: PositionCodec

    @classmethod
    def of(cls, document: TextDocument, codec: PositionCodec) -> Text:
        return cls(document.uri, document.version, document.source, codec)

    @cached_property
    def lines(self) -> list[str]:
        return NEWLINE.split(self.source)

    def position(self, line: int, column: int) -> types.Position:
        """The editor's position for a line and a column; the nearest one in the text for those beyond its end."""
        line = min(max(line, 1), len(self.lines))
        units = self.codec.client_num_units(self.lines[line - 1][: max(column, 1) - 1])
        return types.Position(line - 1, units)

    def word(self, line: int, column: int) -> types.Range:
        """The range of the dotted name at a place, else of the rest of its line."""
        line = min(max(line, 1), len(self.lines))
        rest = self.lines[line - 1][max(column, 1) - 1 :]
        name = next((n for n, each in enumerate(rest) if not (each.isalnum() or each in "_.@")), len(rest))
        end = column + (name or len(rest.rstrip()))
        return types.Range(self.position(line, column), self.position(line, end))

    def edit(self, edit: Edit) -> types.TextEdit:
        """The editor's form of an edit."""
        start, end = self.position(edit.line, edit.column), self.position(edit.end_line, edit.end_column)
        return types.TextEdit(types.Range(start, end), edit.text)


@dataclass(frozen=True)
class Document:
    """An open file: its real path, and its texts by the number of the notebook's code cell, None in other files."""

    uri: str
    path: Path
    texts: dict[int | None, Text]

    @property
    def content(self) -> bytes:
        """The file as it would be saved; a notebook without its outputs."""
        if None in self.texts:
            return _encoded(self.texts[None].source)
        last = max((each for each in self.texts if each), default=0)
        cells = [_cell(self.texts.get(number)) for number in range(1, last + 1)]
        return json.dumps({"cells": cells, "metadata": {}, "nbformat": 4, "nbformat_minor": 5}).encode()

    @property
    def is_saved(self) -> bool:
        """Whether the file on the disk has this content."""
        try:
            return None in self.texts and self.path.read_bytes() == self.content
        except OSError:
            return False

    def text_at(self, cell: int | None) -> Text | None:
        """The text of a cell; the first one of the file if `cell` is None."""
        return next(iter(self.texts.values()), None) if cell is None else self.texts.get(cell)


def document(workspace: Workspace, uri: str) -> Document | None:
    """The open document with a URI, which is that of a file, a notebook or one of its cells; None if it is not open."""
    codec = workspace.position_codec
    notebook = workspace.get_notebook_document(notebook_uri=uri) or workspace.get_notebook_document(cell_uri=uri)
    if notebook is None:
        text = _opened(workspace, uri)
        return Document(uri, _path(workspace, uri, ".py"), {None: Text.of(text, codec)}) if text else None
    cells: dict[int | None, Text] = {
        number: Text.of(text, codec)
        for number, cell in enumerate(notebook.cells, 1)
        if cell.kind == types.NotebookCellKind.Code and (text := _opened(workspace, cell.document))
        if text.language_id in (None, "python")
    }
    return Document(notebook.uri, _path(workspace, notebook.uri, SUFFIX), cells)


def documents(workspace: Workspace) -> Iterator[Document]:
    """Yields the open Python files and notebooks."""
    notebooks = [each.uri for each in workspace.notebook_documents.values()]
    files = [
        each.uri
        for each in workspace.text_documents.values()
        if workspace.get_notebook_document(cell_uri=each.uri) is None
    ]
    for uri in (*notebooks, *files):
        document_of_uri = document(workspace, uri)
        if document_of_uri is not None:
            yield document_of_uri


def workspace_folders(workspace: Workspace) -> tuple[Path, ...]:
    """The real paths of the workspace folders."""
    folders = [each.uri for each in workspace.folders.values()] or [workspace.root_uri]
    paths = [uris.to_fs_path(each) for each in folders if each]
    return tuple([Path(os.path.realpath(each)) for each in paths if each])


def _opened(workspace: Workspace, uri: str) -> TextDocument | None:
    """The document, unless the workspace would read it from the disk."""
    opened: TextDocument | None = workspace.text_documents.get(unquote(uri))
    return opened


def _path(workspace: Workspace, uri: str, suffix: str) -> Path:
    """The real path of a document; a name in the workspace for one that was never saved."""
    path = uris.to_fs_path(uri)
    if path is not None:
        return Path(os.path.realpath(path))
    name = "".join(each if each.isalnum() else "-" for each in uri.rpartition(":")[2]).strip("-")
    return (*workspace_folders(workspace), Path.home())[0] / f"{name}{suffix}"


def _cell(text: Text | None) -> dict[str, object]:
    """A cell of a notebook's JSON: an empty one in place of a cell that is no Python code."""
    if text is None:
        return {"cell_type": "markdown", "metadata": {}, "source": ""}
    source = NEWLINE.sub("\n", text.source)
    return {"cell_type": "code", "metadata": {}, "outputs": [], "execution_count": None, "source": source}


def _encoded(source: str) -> bytes:
    """The bytes of a source in the encoding that it declares."""
    content = source.encode(errors="replace")
    try:
        return source.encode(encoding_of(content).removesuffix("-sig"), errors="replace")
    except (SyntaxError, LookupError):
        return content
