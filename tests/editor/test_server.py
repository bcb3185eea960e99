"""What an editor shows of its documents: a client talks to a real server over pipes."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator, Sequence

import pytest

pytest.importorskip("pygls", reason="needs the extra `lsp`")
from lsprotocol import types
from pygls.workspace import PositionCodec

from regcheck.cli.main import main
from regcheck.core.finding import Evidence, Finding, Severity, Verdict
from regcheck.core.report import Report
from regcheck.editor.actions import CodeActions
from regcheck.editor.documents import Document, Text
from regcheck.engine.scan import scan
from regcheck.session import last_run

from .client import Editor

NET = """import torch.nn.functional as F
from torch import nn


class {name}(nn.Module):
    def __init__(self):
        super().__init__()
        self.head = nn.Linear(8, 2)

    def forward(self, x):
        {line}
        return self.head(x)
"""
FAULTY, SOUND = "x = F.dropout(x, 0.5)", "x = F.dropout(x, 0.5, self.training)"
LINE = 10
"""The line of NET that varies, from 0."""


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Editor]:
    """An editor with a server that all tests here share: one process start costs as much as twenty of them."""
    root = tmp_path_factory.mktemp("project").resolve()
    (root / "pyproject.toml").write_text("[project]\nname = 'project'\n")
    edits = types.WorkspaceClientCapabilities(
        workspace_edit=types.WorkspaceEditClientCapabilities(document_changes=True)
    )
    editor = Editor(root, types.ClientCapabilities(workspace=edits))
    editor.start()
    yield editor
    assert editor.stop() == 0


@pytest.fixture
def editor(served: Editor) -> Iterator[Editor]:
    """The editor, with no document open."""
    yield served
    served.close_all()


def net(line: str, name: str = "Net") -> str:
    return NET.format(line=line, name=name)


def codes(diagnostics: Sequence[types.Diagnostic]) -> list[object]:
    return [each.code for each in diagnostics]


def underlined(source: str, diagnostic: types.Diagnostic) -> str:
    """The text under a diagnostic, by UTF-16 units as editors count them."""
    place = diagnostic.range
    line = source.replace("\r\n", "\n").split("\n")[place.start.line].encode("utf-16-le")
    return line[2 * place.start.character : 2 * place.end.character].decode("utf-16-le")


def applied(source: str, edits: Sequence[object]) -> str:
    """The source after one edit within a line."""
    (edit,) = edits
    assert isinstance(edit, types.TextEdit)
    start, end = edit.range.start, edit.range.end
    lines = [each.encode("utf-16-le") for each in source.split("\n")]
    line = lines[start.line]
    lines[start.line] = line[: 2 * start.character] + edit.new_text.encode("utf-16-le") + line[2 * end.character :]
    return "\n".join(each.decode("utf-16-le") for each in lines)


def test_a_finding_appears_on_open_and_goes_after_a_change(editor: Editor) -> None:
    """Opening a file shows its findings with severity, code and link; an unsaved change removes them."""
    uri = editor.save_file("plain.py", net(FAULTY))
    (found,) = editor.open(uri, net(FAULTY))
    assert (found.code, found.source, found.severity) == ("REG202", "regcheck", types.DiagnosticSeverity.Error)
    assert underlined(net(FAULTY), found) == "F.dropout"
    assert "pass `training=self.training`" in found.message
    assert found.code_description is not None and found.code_description.href.endswith("/dropout-ignores-mode/")
    assert editor.change(uri, net(SOUND)) == []
    assert codes(editor.change(uri, net(FAULTY))) == ["REG202"]


def test_the_buffer_counts_and_not_the_file(editor: Editor) -> None:
    """Of an open document its text is checked: unsaved, never saved, or of a deleted file."""
    uri = editor.save_file("buffer.py", net(FAULTY))
    assert editor.open(uri, net(SOUND)) == []
    (editor.root / "buffer.py").unlink()
    assert codes(editor.change(uri, net(FAULTY))) == ["REG202"]
    assert codes(editor.open("untitled:Untitled-1", net(FAULTY))) == ["REG202"]


def test_other_open_buffers_are_the_context(editor: Editor) -> None:
    """A file is checked with the unsaved text of the files that it imports from and that use it."""
    blocks = editor.save_file("blocks.py", "ACTIVE = False\n")
    uses = net("x = F.dropout(x, 0.5, training=ACTIVE or self.training)").replace(
        "from torch", "from blocks import ACTIVE\nfrom torch"
    )
    user = editor.save_file("user_of_blocks.py", uses)
    assert editor.open(user, uses) == []
    editor.open(blocks, "ACTIVE = False\n")
    editor.change(blocks, "ACTIVE = True\n")
    editor.save(blocks)
    assert codes(editor.diagnostics(user, 1)) == ["REG202"]
    editor.close(blocks)
    assert editor.diagnostics(user, 1) == []


@pytest.mark.parametrize("newline", ["\n", "\r\n"], ids=["LF", "CRLF"])
def test_positions_count_utf16_units(editor: Editor, newline: str) -> None:
    """Characters outside the basic plane count twice, in diagnostics, edits and hovers; line ends stay."""
    source = net('s = "😋ü"; x = F.dropout(x, 0.5)').replace("\n", newline)
    uri = editor.save_file("wide.py", source)
    (found,) = editor.open(uri, source)
    assert underlined(source, found) == "F.dropout"
    assert "REG202" in editor.hover(uri, LINE, found.range.end.character)
    assert editor.hover(uri, LINE, found.range.start.character - 1) == ""
    action = editor.actions(uri, LINE)["REG202: pass `training=self.training`"]
    assert action.is_preferred and action.edit is not None and action.edit.document_changes is not None
    (change,) = action.edit.document_changes
    assert isinstance(change, types.TextDocumentEdit) and change.text_document.version == 1
    mended = applied(source, change.edits)
    assert mended == source.replace("0.5)", "0.5, training=self.training)")
    assert editor.change(uri, mended) == []


def test_form_feeds_and_other_separators_end_no_line(editor: Editor) -> None:
    """Only the line ends of the protocol count, so that a diagnostic stays on its line."""
    source = "\f# one\u2028line\n" + net(FAULTY)
    uri = editor.save_file("separators.py", source)
    (found,) = editor.open(uri, source)
    assert found.range.start.line == LINE + 1 and underlined(source, found) == "F.dropout"


def test_an_ignore_is_added(editor: Editor) -> None:
    """The action adds a comment that suppresses the finding."""
    source = net(FAULTY)
    uri = editor.save_file("ignored.py", source)
    editor.open(uri, source)
    action = editor.actions(uri, LINE)["REG202: ignore it here, with a reason"]
    assert action.command is None and action.edit is not None and action.edit.document_changes is not None
    (change,) = action.edit.document_changes
    assert isinstance(change, types.TextDocumentEdit)
    assert editor.change(uri, applied(source, change.edits)) == []


def test_the_reason_of_an_ignore_is_selected(editor: Editor) -> None:
    """Where the client can, it is told to select the reason once the comment is there."""
    source = net('s = "😋"; x = F.dropout(x, 0.5)')
    file = editor.root / "selected.py"
    editor.save_file(file.name, source)
    (finding,) = scan([file]).findings
    text = Text(file.as_uri(), 1, source, PositionCodec())
    can_select = types.WindowClientCapabilities(show_document=types.ShowDocumentClientCapabilities(True))
    actions = CodeActions(
        Document(text.uri, file, {None: text}), lambda finding: "", types.ClientCapabilities(window=can_select)
    )
    place = types.Diagnostic(types.Range(types.Position(0, 0), types.Position(0, 0)), "")
    (action,) = [each for each in actions.of(finding, place) if each.command]
    assert action.command is not None and action.edit is not None and action.edit.changes is not None
    ignored = applied(source, action.edit.changes[text.uri])
    command = types.ExecuteCommandParams(action.command.command, action.command.arguments)
    editor.wait_for(editor.client.workspace_execute_command_async(command))
    (request,) = editor.shown
    assert request.uri == text.uri and request.take_focus and request.selection is not None
    chosen = types.Diagnostic(request.selection, "")
    assert underlined(ignored, chosen) == "say why"


def test_half_typed_code_keeps_what_is_shown_until_it_is_saved(editor: Editor) -> None:
    """While the text does not parse nothing is published; a save says that the file is not checked, and where."""
    uri = editor.save_file("typed.py", net(FAULTY))
    assert codes(editor.open(uri, net(FAULTY))) == ["REG202"]
    editor.type(uri, net("x = F.dropout(x,"))
    assert editor.actions(uri, LINE) == {} and editor.hover(uri, LINE, 12) == ""
    assert editor.change(uri, net(SOUND)) == []
    broken = net("x = F.dropout(x,")
    editor.type(uri, broken)
    (missed,) = editor.save(uri)
    assert missed.severity == types.DiagnosticSeverity.Information
    assert missed.message.startswith("not checked: syntax error") and missed.range.start.line == LINE


def test_what_is_no_python_is_not_checked(editor: Editor) -> None:
    """A file with a null byte or an unknown encoding is shown as not checked; an empty one is clean."""
    for name, text in (("null.py", "import torch\0\n"), ("coded.py", "# coding: nonsense\nimport torch\n")):
        (missed,) = editor.open(editor.save_file(name, text), text)
        assert missed.message.startswith("not checked: ")
    assert editor.open(editor.save_file("empty.py", ""), "") == []


def test_a_declared_encoding_is_used(editor: Editor) -> None:
    """A file in Latin-1 is read as the editor shows it."""
    source = "# coding: latin-1\n" + net('s = "ü"; x = F.dropout(x, 0.5)')
    uri = editor.save_file("latin.py", "")
    (editor.root / "latin.py").write_bytes(source.encode("latin-1"))
    (found,) = editor.open(uri, source)
    assert underlined(source, found) == "F.dropout"


def test_many_open_files_have_their_own_findings(editor: Editor) -> None:
    """Forty open files are each shown with their own findings, and closing one removes its own."""
    lines = {editor.uri(f"many/file{n}.py"): (FAULTY, SOUND)[n % 2] for n in range(40)}
    for uri, line in lines.items():
        item = types.TextDocumentItem(uri, "python", 1, net(line))
        editor._open[uri] = 1
        editor.client.text_document_did_open(types.DidOpenTextDocumentParams(item))
    for uri, line in lines.items():
        assert codes(editor.diagnostics(uri, 1)) == (["REG202"] if line == FAULTY else [])
    first = next(iter(lines))
    assert editor.close(first) == []


def test_a_broken_configuration_is_shown_until_it_is_mended(editor: Editor) -> None:
    """Options that cannot be read are shown in the file that they leave unchecked."""
    editor.save_file("configured/pyproject.toml", "[tool.regcheck]\nselekt = []\n")
    uri = editor.save_file("configured/net.py", net(FAULTY))
    (missed,) = editor.open(uri, net(FAULTY))
    assert "selekt" in missed.message and missed.message.startswith("not checked: ")
    configuration = editor.save_file("configured/pyproject.toml", "[tool.regcheck]\nignore = ['REG202']\n")
    event = types.FileEvent(configuration, types.FileChangeType.Changed)
    editor.client.workspace_did_change_watched_files(types.DidChangeWatchedFilesParams([event]))
    assert editor.diagnostics(uri, 1) == []


def test_findings_of_a_session_appear_when_it_ends(editor: Editor) -> None:
    """Without any event in the editor, an open file shows what a test session has just confirmed."""
    source = net("x = noisy(x)")
    uri = editor.save_file("measured.py", source)
    assert editor.open(uri, source) == []
    proof = Evidence(Verdict.CONFIRMED, because="16 runs differ", device="cpu")
    noise = Finding("REG203", "noise", Severity.ERROR, "draws", "Net", "measured.py", LINE + 1, 13, "", proof, "")
    last_run.store(Report((noise,)), editor.root, whole=True)
    (found,) = editor.diagnostics(uri, 1)
    assert underlined(source, found) == "noisy"
    assert found.message.endswith("`pytest --regcheck`: confirmed on cpu: 16 runs differ")


def test_libraries_are_left_alone(editor: Editor) -> None:
    """A file of an installed package or an environment is opened without findings."""
    for name in ("lib/site-packages/other/net.py", "venv/net.py"):
        assert editor.open(editor.save_file(name, net(FAULTY)), net(FAULTY)) == []


def test_hovering_over_a_code_shows_its_page(editor: Editor) -> None:
    """The code in a comment shows the rule's page."""
    source = net(f"{FAULTY}  # regcheck: ignore[REG202] -- on purpose")
    uri = editor.save_file("hovered.py", source)
    assert editor.open(uri, source) == []
    column = source.split("\n")[LINE].index("REG202") + 2
    assert editor.hover(uri, LINE, column).startswith("# REG202 dropout-ignores-mode")
    assert editor.hover(uri, 0, 0) == ""


def test_cells_of_a_notebook_have_their_own_diagnostics(editor: Editor) -> None:
    """A finding appears in its cell, numbered with the cells of text; magic lines are no errors; cells come and go."""
    notebook = editor.uri("study.ipynb")
    cells = [f"vscode-notebook-cell:/study.ipynb#{n}" for n in range(3)]
    texts = ["# A study", "%matplotlib inline\nimport torch.nn.functional as F\nfrom torch import nn", net(FAULTY)]
    kinds = [types.NotebookCellKind.Markup, types.NotebookCellKind.Code, types.NotebookCellKind.Code]
    editor.client.notebook_document_did_open(
        types.DidOpenNotebookDocumentParams(
            types.NotebookDocument(
                notebook,
                "jupyter-notebook",
                1,
                [types.NotebookCell(kind, uri) for kind, uri in zip(kinds, cells, strict=True)],
            ),
            [
                types.TextDocumentItem(uri, language, 1, text)
                for uri, language, text in zip(cells, ("markdown", "python", "python"), texts, strict=True)
            ],
        )
    )
    assert editor.diagnostics(cells[1], 1) == []
    (found,) = editor.diagnostics(cells[2], 1)
    assert found.code == "REG202" and underlined(texts[2], found) == "F.dropout"
    action = editor.actions(cells[2], LINE)["REG202: pass `training=self.training`"]
    assert action.edit is not None and action.edit.document_changes is not None
    (change,) = action.edit.document_changes
    assert isinstance(change, types.TextDocumentEdit) and change.text_document.uri == cells[2]
    assert "ignore[REG202]" in str(editor.actions(cells[2], LINE)["REG202: ignore it here, with a reason"].edit)
    removed = types.NotebookCellArrayChange(2, 1)
    structure = types.NotebookDocumentCellChangeStructure(removed, did_close=[types.TextDocumentIdentifier(cells[2])])
    editor.client.notebook_document_did_change(
        types.DidChangeNotebookDocumentParams(
            types.VersionedNotebookDocumentIdentifier(2, notebook),
            types.NotebookDocumentChangeEvent(cells=types.NotebookDocumentCellChanges(structure)),
        )
    )
    assert editor.diagnostics(cells[2]) == []
    editor.client.notebook_document_did_close(
        types.DidCloseNotebookDocumentParams(
            types.NotebookDocumentIdentifier(notebook), [types.TextDocumentIdentifier(each) for each in cells[:2]]
        )
    )
    assert editor.diagnostics(cells[1]) == []


def test_the_server_ends_with_its_editor() -> None:
    """Where the editor dies, the server ends with exit code 1, as the protocol asks."""
    done = subprocess.run([sys.executable, "-m", "regcheck", "server"], input=b"", capture_output=True, check=False)
    assert (done.returncode, done.stdout, done.stderr) == (1, b"", b"")


def test_a_missing_extra_is_named(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    """Without pygls the command says what to install."""
    monkeypatch.setitem(sys.modules, "pygls.lsp.server", None)
    monkeypatch.delitem(sys.modules, "regcheck.editor.server", raising=False)
    assert main(["server"]) == 2
    assert capsys.readouterr().err == "regcheck: error: `regcheck server` needs pygls: `pip install 'regcheck[lsp]'`\n"
