"""Code actions: apply the patch of a finding, or add a comment that suppresses it."""

from __future__ import annotations

from collections.abc import Callable, Iterator

from lsprotocol import types

from regcheck.core.finding import Finding
from regcheck.core.patch import Edit
from regcheck.editor.documents import Document, Text
from regcheck.files import notebook
from regcheck.suppression.new_comments import CommentPlaces

SELECT = "regcheck.select"
"""The command that selects a range, where the client can: the place for the reason."""
REASON = "say why"
KIND = types.CodeActionKind.QuickFix


class CodeActions:
    """Makes the code actions for the findings of a document.

    Args:
        document: the document, at the version that the findings are about.
        objection: why not to offer a finding's patch; empty if it helps.
        capabilities: what the client can do.
    """

    def __init__(
        self, document: Document, objection: Callable[[Finding], str], capabilities: types.ClientCapabilities
    ) -> None:
        self._document, self._objection = document, objection
        edits = capabilities.workspace.workspace_edit if capabilities.workspace else None
        self._versioned = bool(edits and edits.document_changes)
        window = capabilities.window
        self._can_select = bool(window and window.show_document and window.show_document.support)

    def of(self, finding: Finding, diagnostic: types.Diagnostic) -> Iterator[types.CodeAction]:
        """Yields the actions for a finding: its patch, if a scan confirms that it helps, and an ignore."""
        text = self._document.text_at(finding.cell)
        if text is None:
            return
        patch = finding.patch
        if patch is not None and not self._objection(finding):
            changes = "" if patch.safe else " (this changes results)"
            edit = self._edit(text, patch.edits)
            yield types.CodeAction(
                f"{finding.code}: {patch.message}{changes}",
                KIND,
                [diagnostic],
                is_preferred=patch.safe,
                edit=edit,
            )
        comment = self._comment(finding, text)
        if comment is not None:
            yield types.CodeAction(
                f"{finding.code}: ignore it here, with a reason",
                KIND,
                [diagnostic],
                edit=self._edit(text, (comment,)),
                command=self._selection(text, comment),
            )

    def _edit(self, text: Text, edits: tuple[Edit, ...]) -> types.WorkspaceEdit:
        changes = [text.edit(each) for each in edits]
        if not self._versioned:
            return types.WorkspaceEdit(changes={text.uri: changes})
        version = types.OptionalVersionedTextDocumentIdentifier(text.uri, text.version)
        return types.WorkspaceEdit(document_changes=[types.TextDocumentEdit(version, [*changes])])

    def _comment(self, finding: Finding, text: Text) -> Edit | None:
        """The edit that adds a comment; None where none can cover the line."""
        source = "\n".join(text.lines)
        python = source
        if finding.cell is not None:
            cell = notebook.parse_notebook(self._document.content).cell(finding.cell)
            python = cell.python if cell else source
        places = CommentPlaces(source, python)
        place = places.place(finding.line or 0)
        return places.edit(place, [finding.code], REASON) if place else None

    def _selection(self, text: Text, comment: Edit) -> types.Command | None:
        """The command that selects the reason once the comment is there."""
        if not self._can_select or REASON not in comment.text:
            return None
        end = comment.column + len(comment.text)
        line = text.lines[comment.line - 1][: comment.column - 1] + comment.text
        after = Text(text.uri, None, "\n" * (comment.line - 1) + line, text.codec)
        selected = types.Range(after.position(comment.line, end - len(REASON)), after.position(comment.line, end))
        place = [selected.start.line, selected.start.character, selected.end.character]
        return types.Command("Write the reason", SELECT, arguments=[text.uri, *place])


def selection(uri: str, line: int, start: int, end: int) -> types.ShowDocumentParams:
    """The request that selects a range within a line of a document."""
    selected = types.Range(types.Position(line, start), types.Position(line, end))
    return types.ShowDocumentParams(uri, take_focus=True, selection=selected)
