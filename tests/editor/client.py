"""An editor for tests: a client that starts `regcheck server` as a process and speaks with it over its pipes."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Coroutine
from pathlib import Path
from typing import Any, TypeVar

from lsprotocol import types
from pygls.lsp.client import LanguageClient

Result = TypeVar("Result")
PATIENCE = 120


class Editor:
    """Opens, changes and closes documents of a project, and waits for what the server says about them."""

    def __init__(self, root: Path, capabilities: types.ClientCapabilities) -> None:
        self.root = root
        self.shown: list[types.ShowDocumentParams] = []
        self._capabilities = capabilities
        self._loop = asyncio.new_event_loop()
        self._published: dict[str, asyncio.Queue[types.PublishDiagnosticsParams]] = {}
        self._open: dict[str, int] = {}
        self.client = LanguageClient("tests", "1")
        self.client.feature(types.TEXT_DOCUMENT_PUBLISH_DIAGNOSTICS)(self._receive())
        self.client.feature(types.WINDOW_SHOW_DOCUMENT)(self._show())

    def _receive(self) -> Any:
        def receive(params: types.PublishDiagnosticsParams) -> None:
            self._published.setdefault(params.uri, asyncio.Queue()).put_nowait(params)

        return receive

    def _show(self) -> Any:
        def show(params: types.ShowDocumentParams) -> types.ShowDocumentResult:
            self.shown.append(params)
            return types.ShowDocumentResult(True)

        return show

    def wait_for(self, doing: Coroutine[Any, Any, Result]) -> Result:
        return self._loop.run_until_complete(asyncio.wait_for(doing, PATIENCE))

    def start(self) -> types.ServerCapabilities:
        folder = types.WorkspaceFolder(self.root.as_uri(), self.root.name)
        parameters = types.InitializeParams(self._capabilities, workspace_folders=[folder])
        self.wait_for(self.client.start_io(sys.executable, "-m", "regcheck", "server", "--stdio"))
        capabilities = self.wait_for(self.client.initialize_async(parameters)).capabilities
        self.client.initialized(types.InitializedParams())
        return capabilities

    def stop(self) -> int:
        """Shut the server down, and return its exit code."""
        self.wait_for(self.client.shutdown_async(None))
        self.client.exit(None)
        return self.exit_code()

    def exit_code(self) -> int:
        assert self.client._server is not None
        code = self.wait_for(self.client._server.wait())
        self.wait_for(asyncio.gather(*self.client._async_tasks))
        self._loop.close()
        return code

    def uri(self, name: str) -> str:
        return (self.root / name).as_uri()

    def save_file(self, name: str, text: str) -> str:
        """Write a file without the editor, and return its URI."""
        (self.root / name).parent.mkdir(parents=True, exist_ok=True)
        (self.root / name).write_bytes(text.encode())
        return self.uri(name)

    def open(self, uri: str, text: str) -> list[types.Diagnostic]:
        self._open[uri] = 1
        item = types.TextDocumentItem(uri, "python", 1, text)
        self.client.text_document_did_open(types.DidOpenTextDocumentParams(item))
        return self.diagnostics(uri, 1)

    def type(self, uri: str, text: str) -> int:
        """Change a document, and return its new version."""
        self._open[uri] += 1
        new = types.VersionedTextDocumentIdentifier(self._open[uri], uri)
        change = types.TextDocumentContentChangeWholeDocument(text)
        self.client.text_document_did_change(types.DidChangeTextDocumentParams(new, [change]))
        return self._open[uri]

    def change(self, uri: str, text: str) -> list[types.Diagnostic]:
        return self.diagnostics(uri, self.type(uri, text))

    def save(self, uri: str) -> list[types.Diagnostic]:
        self._published.pop(uri, None)
        self.client.text_document_did_save(types.DidSaveTextDocumentParams(types.TextDocumentIdentifier(uri)))
        return self.diagnostics(uri, self._open[uri])

    def close(self, uri: str) -> list[types.Diagnostic]:
        del self._open[uri]
        self.client.text_document_did_close(types.DidCloseTextDocumentParams(types.TextDocumentIdentifier(uri)))
        return self.diagnostics(uri, None)

    def close_all(self) -> None:
        for uri in [*self._open]:
            self.close(uri)

    def diagnostics(self, uri: str, version: int | None = None) -> list[types.Diagnostic]:
        """The next diagnostics of a document at a version."""

        async def receive() -> list[types.Diagnostic]:
            while True:
                found = await self._published.setdefault(uri, asyncio.Queue()).get()
                if found.version == version:
                    return [*found.diagnostics]

        return self.wait_for(receive())

    def hover(self, uri: str, line: int, character: int) -> str:
        parameters = types.HoverParams(types.TextDocumentIdentifier(uri), types.Position(line, character))
        found = self.wait_for(self.client.text_document_hover_async(parameters))
        assert found is None or isinstance(found.contents, types.MarkupContent)
        return found.contents.value if found else ""

    def actions(self, uri: str, line: int) -> dict[str, types.CodeAction]:
        """The code actions of a line, by title."""
        place = types.Range(types.Position(line, 0), types.Position(line, 0))
        parameters = types.CodeActionParams(types.TextDocumentIdentifier(uri), place, types.CodeActionContext([]))
        found = self.wait_for(self.client.text_document_code_action_async(parameters))
        return {each.title: each for each in found or [] if isinstance(each, types.CodeAction)}
