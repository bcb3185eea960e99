"""The language server: keeps track of open documents, checks them one after another, and answers requests."""

from __future__ import annotations

import asyncio
import queue
import re
import threading
import traceback
from collections.abc import Callable
from concurrent.futures import Future
from dataclasses import field
from functools import partial
from typing import BinaryIO, TypeVar

from lsprotocol import types
from pygls.lsp.server import LanguageServer

from regcheck.core.finding import Finding, NotChecked
from regcheck.core.version import __version__
from regcheck.editor import messages
from regcheck.editor.actions import KIND, SELECT, CodeActions, selection
from regcheck.editor.checking import Checker, EditorResult
from regcheck.editor.documents import Document, document, documents, workspace_folders
from regcheck.lazy_dataclass import dataclass
from regcheck.plugins import catalogue
from regcheck.session import last_run

Result = TypeVar("Result")

QUIET = 0.3
"""The seconds without a change after which a changed text is checked."""
POLL = 1.0
"""The seconds between looks at whether a test session has ended."""
STACK = 64 << 20
"""The bytes of stack for checks: deep syntax trees need as much as the main thread has, or more."""
_CODE = re.compile(r"\bREG\d{3}\b")


@dataclass
class Shown:
    """What the editor shows of a document, and the patches that a scan has confirmed or refused, by finding."""

    document: Document
    result: EditorResult = field(default_factory=EditorResult)
    objections: dict[Finding, str] = field(default_factory=dict)


class Server:
    """A language server. All its state belongs to the thread of the event loop; checks run in one other thread."""

    def __init__(self) -> None:
        selector = types.NotebookDocumentFilterWithNotebook(
            notebook="jupyter-notebook", cells=[types.NotebookCellLanguage(language="python")]
        )
        self._server = LanguageServer(
            "regcheck",
            __version__,
            text_document_sync_kind=types.TextDocumentSyncKind.Full,
            notebook_document_sync=types.NotebookDocumentSyncOptions([selector], save=True),
        )
        self._worker = Worker()
        self._shown: dict[str, Shown] = {}
        self._due: dict[str, bool] = {}
        """The URIs of the documents to check, in this order, and whether each is being typed."""
        self._timers: dict[str, asyncio.TimerHandle] = {}
        self._wake = asyncio.Event()
        self._tasks: list[asyncio.Task[None]] = []
        self._asked_to_stop = False
        self._register()

    def serve(self, requests: BinaryIO, responses: BinaryIO) -> int:
        """Serve until the connection ends; return 0 if the client has asked for a shutdown before, else 1."""
        self._server.start_io(requests, responses)
        return 0 if self._asked_to_stop else 1

    def _register(self) -> None:
        feature = self._server.feature

        @feature(types.INITIALIZED)
        def initialized(params: types.InitializedParams) -> None:
            self._tasks = [asyncio.ensure_future(each()) for each in (self._check_due, self._watch_sessions)]
            self._watch_files()

        @feature(types.SHUTDOWN)
        def shutdown(params: None) -> None:
            self._asked_to_stop = True
            for timer in self._timers.values():
                timer.cancel()
            for task in self._tasks:
                task.cancel()

        @feature(types.TEXT_DOCUMENT_DID_OPEN)
        def opened(params: types.DidOpenTextDocumentParams) -> None:
            self._request(params.text_document.uri)

        @feature(types.TEXT_DOCUMENT_DID_CHANGE)
        def changed(params: types.DidChangeTextDocumentParams) -> None:
            self._request_later(params.text_document.uri)

        @feature(types.TEXT_DOCUMENT_DID_SAVE)
        def saved(params: types.DidSaveTextDocumentParams) -> None:
            self._request_all(params.text_document.uri)

        @feature(types.TEXT_DOCUMENT_DID_CLOSE)
        def closed(params: types.DidCloseTextDocumentParams) -> None:
            self._forget(params.text_document.uri)

        @feature(types.NOTEBOOK_DOCUMENT_DID_OPEN)
        def notebook_opened(params: types.DidOpenNotebookDocumentParams) -> None:
            self._request(params.notebook_document.uri)

        @feature(types.NOTEBOOK_DOCUMENT_DID_CHANGE)
        def notebook_changed(params: types.DidChangeNotebookDocumentParams) -> None:
            self._request_later(params.notebook_document.uri)

        @feature(types.NOTEBOOK_DOCUMENT_DID_SAVE)
        def notebook_saved(params: types.DidSaveNotebookDocumentParams) -> None:
            self._request_all(params.notebook_document.uri)

        @feature(types.NOTEBOOK_DOCUMENT_DID_CLOSE)
        def notebook_closed(params: types.DidCloseNotebookDocumentParams) -> None:
            self._forget(params.notebook_document.uri)

        @feature(types.WORKSPACE_DID_CHANGE_WATCHED_FILES)
        def files_changed(params: types.DidChangeWatchedFilesParams) -> None:
            self._request_all()

        @feature(types.WORKSPACE_DID_CHANGE_WORKSPACE_FOLDERS)
        def folders_changed(params: types.DidChangeWorkspaceFoldersParams) -> None:
            self._request_all()

        @feature(types.TEXT_DOCUMENT_HOVER)
        def hover(params: types.HoverParams) -> types.Hover | None:
            return self._hover(params.text_document.uri, params.position)

        @feature(types.TEXT_DOCUMENT_CODE_ACTION, types.CodeActionOptions([KIND]))
        async def code_actions(params: types.CodeActionParams) -> list[types.CodeAction]:
            only = params.context.only
            wanted = only is None or any(each == KIND or KIND.startswith(f"{each}.") or not each for each in only)
            return await self._code_actions(params.text_document.uri, params.range) if wanted else []

        @self._server.command(SELECT)
        def select(uri: str, line: int, start: int, end: int) -> None:
            self._server.window_show_document(selection(uri, line, start, end))

    def _watch_files(self) -> None:
        """Ask the client to report changes of files that checks depend on."""
        workspace = self._server.client_capabilities.workspace
        watching = workspace.did_change_watched_files if workspace else None
        if watching and watching.dynamic_registration:
            globs = ("**/*.py", "**/pyproject.toml", "**/regcheck.toml", "**/.regcheck.toml")
            options = types.DidChangeWatchedFilesRegistrationOptions([types.FileSystemWatcher(each) for each in globs])
            registration = types.Registration("files", types.WORKSPACE_DID_CHANGE_WATCHED_FILES, options)
            self._server.client_register_capability(types.RegistrationParams([registration]))

    def _request(self, uri: str, typed: bool = False) -> None:
        """Have a document checked before all others."""
        timer = self._timers.pop(uri, None)
        if timer is not None:
            timer.cancel()
        self._due = {uri: typed, **{each: rest for each, rest in self._due.items() if each != uri}}
        self._wake.set()

    def _request_later(self, uri: str) -> None:
        """Have a document checked once it has not changed for a while."""
        timer = self._timers.pop(uri, None)
        if timer is not None:
            timer.cancel()
        self._timers[uri] = asyncio.get_running_loop().call_later(QUIET, self._request, uri, True)

    def _request_all(self, first: str | None = None) -> None:
        """Have all open documents checked, which may depend on what has changed."""
        for each in documents(self._server.workspace):
            self._due.setdefault(each.uri, False)
        if first is not None:
            self._request(first)
        self._wake.set()

    def _forget(self, uri: str) -> None:
        """Show nothing about a closed document, and check the others, which now depend on the file on the disk."""
        timer = self._timers.pop(uri, None)
        if timer is not None:
            timer.cancel()
        self._due.pop(uri, None)
        shown = self._shown.pop(uri, None)
        for text in shown.document.texts.values() if shown else ():
            self._publish(text.uri, None, [])
        self._request_all()

    async def _check_due(self) -> None:
        """Check documents for ever, one at a time."""
        while True:
            await self._wake.wait()
            self._wake.clear()
            while self._due:
                uri = next(iter(self._due))
                try:
                    await self._check(uri, self._due.pop(uri))
                except Exception as error:  # the other documents are checked all the same
                    traceback.print_exc()
                    message = f"regcheck could not show {uri}: {type(error).__name__}: {error}; report this as a bug"
                    self._server.window_show_message(types.ShowMessageParams(types.MessageType.Error, message))

    async def _check(self, uri: str, typed: bool) -> None:
        """Check a document and show the result; while it is typed and cannot be parsed, leave what is shown."""
        subject = document(self._server.workspace, uri)
        if subject is None:
            return
        checker = self._checker()
        result = await self._worker.run(partial(_checked, checker, subject, typed and uri in self._shown))
        if result is None or document(self._server.workspace, uri) != subject:
            return  # a change during the check has requested another
        before = self._shown.get(uri)
        self._shown[uri] = Shown(subject, result)
        if before is not None:
            for text in before.document.texts.values():
                if text.uri not in {each.uri for each in subject.texts.values()}:
                    self._publish(text.uri, None, [])
        by_uri = messages.diagnostics(subject, result)
        for text in subject.texts.values():
            self._publish(text.uri, text.version, by_uri[text.uri])

    def _publish(self, uri: str, version: int | None, shown: list[types.Diagnostic]) -> None:
        self._server.text_document_publish_diagnostics(types.PublishDiagnosticsParams(uri, shown, version))

    async def _watch_sessions(self) -> None:
        """Check all open documents again when a test session has ended."""
        before = last_run.changed()
        while True:
            await asyncio.sleep(POLL)
            now = last_run.changed()
            if now != before:
                before = now
                self._request_all()

    def _checker(self) -> Checker:
        opened = {str(each.path): each.content for each in documents(self._server.workspace)}
        return Checker(opened, workspace_folders(self._server.workspace))

    def _current(self, uri: str) -> Shown | None:
        """What is shown of a document, if it is about the text of now."""
        subject = document(self._server.workspace, uri)
        shown = self._shown.get(subject.uri) if subject else None
        return shown if shown and shown.document == subject else None

    def _hover(self, uri: str, position: types.Position) -> types.Hover | None:
        shown = self._current(uri)
        text = next((each for each in shown.document.texts.values() if each.uri == uri), None) if shown else None
        if shown is None or text is None or position.line >= len(text.lines):
            return None
        in_text = [each for each in shown.result.findings if shown.document.text_at(each.finding.cell) == text]
        here = [each for each in in_text if _contains(messages.of_finding(each, text).range, position)]
        codes = {each.finding.code for each in here}
        for match in _CODE.finditer(text.lines[position.line]):
            start, end = (text.position(position.line + 1, each + 1).character for each in match.span())
            codes |= {match[0]} if start <= position.character <= end else set()
        rules = [each for each in catalogue() if each.code in codes]
        if not rules:
            return None
        return types.Hover(types.MarkupContent(types.MarkupKind.Markdown, messages.hover(here, rules)))

    async def _code_actions(self, uri: str, selected: types.Range) -> list[types.CodeAction]:
        shown = self._current(uri)
        if shown is None:
            return []
        checker = self._checker()
        wanted = []
        for each in shown.result.findings:
            text = shown.document.text_at(each.finding.cell)
            line = (each.finding.line or 1) - 1
            if text is not None and text.uri == uri and selected.start.line <= line <= selected.end.line:
                wanted.append((each.finding, messages.of_finding(each, text)))

        def make() -> list[types.CodeAction]:
            actions = CodeActions(shown.document, objection, self._server.client_capabilities)
            return [action for finding, diagnostic in wanted for action in actions.of(finding, diagnostic)]

        def objection(finding: Finding) -> str:
            if finding not in shown.objections:
                shown.objections[finding] = checker.objection_to(finding, shown.document.path)
            return shown.objections[finding]

        return await self._worker.run(make)


def _contains(place: types.Range, position: types.Position) -> bool:
    return place.start <= position <= place.end


def _checked(checker: Checker, subject: Document, typed: bool) -> EditorResult | None:
    """The result of checking a document; None if it is typed and cannot be parsed yet."""
    try:
        if typed and not checker.can_be_parsed(subject.path):
            return None
        return checker.check(subject.path, stored=subject.is_saved)
    except Exception as error:
        traceback.print_exc()
        reason = f"{type(error).__name__}: {error}"
        return EditorResult(not_checked=(NotChecked(subject.path.name, reason, "report this as a bug of regcheck"),))


class Worker:
    """A thread that runs one piece of work after another, and that a process which ends does not wait for."""

    def __init__(self) -> None:
        self._queue: queue.SimpleQueue[tuple[Callable[[], object], Future[object]]] = queue.SimpleQueue()
        before = threading.stack_size(STACK)
        threading.Thread(target=self._run, name="regcheck-checks", daemon=True).start()
        threading.stack_size(before)

    async def run(self, work: Callable[[], Result]) -> Result:
        """The result of the work, once all earlier work is done."""
        future: Future[Result] = Future()
        self._queue.put((work, future))  # type: ignore[arg-type]
        return await asyncio.wrap_future(future)

    def _run(self) -> None:
        while True:
            work, future = self._queue.get()
            if not future.set_running_or_notify_cancel():
                continue
            try:
                future.set_result(work())
            except BaseException as error:
                future.set_exception(error)
