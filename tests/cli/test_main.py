"""The command line as a user sees it: real processes, their output and their exit codes."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import textwrap
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
from jsonschema import Draft202012Validator

from regcheck.cli.main import main
from regcheck.core.version import __version__
from regcheck.report.json import schema

FAULTY = """\
import torch
import torch.nn.functional as F
from torch import nn


class Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.hidden = nn.Linear(16, 32)
        self.head = nn.Linear(32, 4)

    def forward(self, x):
        x = F.relu(self.hidden(x))
        x = F.dropout(x, p=0.5)
        return self.head(x)
"""
SOUND = FAULTY.replace("p=0.5)", "p=0.5, training=self.training)")


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A project with one faulty model, one sound one, and one that cannot be built."""
    (tmp_path / "pyproject.toml").write_text("[tool.regcheck]\ndevices = ['cpu']\n", encoding="utf-8")
    (tmp_path / "faulty.py").write_text(FAULTY, encoding="utf-8")
    (tmp_path / "sound.py").write_text(SOUND, encoding="utf-8")
    (tmp_path / "needy.py").write_text(FAULTY.replace("(self):", "(self, width):"), encoding="utf-8")
    return tmp_path


def regcheck(folder: Path, *argv: str, **environment: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-W", "error", "-m", "regcheck", *argv]
    return subprocess.run(
        command, cwd=folder, capture_output=True, text=True, env={**os.environ, **environment}, timeout=120
    )


@dataclass
class CommandLine:
    """The command line in this process, which has imported torch."""

    folder: Path
    capsys: pytest.CaptureFixture[str]

    def __call__(self, *argv: str) -> subprocess.CompletedProcess[str]:
        code = main([*argv])
        return subprocess.CompletedProcess(argv, code, *self.capsys.readouterr())


@pytest.fixture
def here(folder: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Iterator[CommandLine]:
    """Runs commands in the folder; what they import is forgotten afterwards."""
    monkeypatch.chdir(folder)
    monkeypatch.setattr(sys, "path", [*sys.path])
    yield CommandLine(folder, capsys)
    for name in ("faulty", "sound", "needy"):
        sys.modules.pop(name, None)


@pytest.mark.parametrize(
    ("argv", "says"),
    [
        ("scna .", "unknown verb 'scna' (did you mean 'scan'?)"),
        ("--versoin", "unknown option '--versoin' (did you mean '--version'?)"),
        ("scan --slect REG202", "unknown option '--slect' (did you mean '--select'?)"),
        ("scan --output-fromat=json", "unknown option '--output-fromat' (did you mean '--output-format'?)"),
        ("scan --sel REG202", "unknown option '--sel'"),
        ("scan --select REG2O2", "unknown rule 'REG2O2' (did you mean 'REG202'?)"),
        ("scan --ignore dropout-ignore-mode", "(did you mean 'dropout-ignores-mode'?)"),
        ("scan --fail-on eror", "unknown severity 'eror' (did you mean 'error'?)"),
        ("scan --output-format jsn", "unknown output format 'jsn' (did you mean 'json'?)"),
        ("scan --output-format xml", "unknown output format 'xml'; known: full, concise, json, json-lines, sarif"),
        ("scan --unsafe-fixes sound.py", "--unsafe-fixes needs --fix or --diff"),
        ("scan --stdin-filename net.py sound.py", "--stdin-filename needs the PATH -"),
        ("scan - sound.py", "- must be the only PATH"),
        ("scan --baseline nowhere.json sound.py", "nowhere.json: cannot be read"),
        ("scan --baseline sound.py sound.py", "sound.py: is not a baseline"),
        ("scan --html . sound.py", "--html .: cannot be written"),
        ("audit --seed x", "argument --seed: invalid int value: 'x'"),
        ("audit --seed", "argument --seed: expected one argument"),
        ("scan --seed 1", "unknown option '--seed'"),
        ("scan --no-confirm", "unknown option '--no-confirm'"),
        ("scan --config nowhere.toml", "nowhere.toml: cannot be read"),
        ("scan --output-file . sound.py", "--output-file .: cannot be written"),
        ("rule REG299", "unknown rule 'REG299' (did you mean 'REG2"),
        ("rule missing-evil", "(did you mean 'missing-eval'?)"),
        ("audit", "name a TARGET"),
        ("audit --input 3x0 sound.py:Net", "--input 3x0: an input is written as `1x3x224x224`, `float32[4,3,32,32]`, "),
        ("audit sound.py:Nut", "there is no 'Nut' (did you mean 'Net'?)"),
        ("audit --device gpu9 sound.py:Net", "gpu9"),
        ("selftest --device gpu9", "device 'gpu9' cannot be used"),
        ("selftest --mode eagre", "unknown mode 'eagre' (did you mean 'eager'?); known: eager, compiled"),
        ("selftest --mode ,", "unknown mode ''; known: eager, compiled"),
        ("selftest --device ,", "--device: name a device"),
        ("selftest --output-format xml", "unknown output format 'xml'; known: full, json"),
    ],
)
def test_wrong_usage_is_one_line_and_exit_code_2(folder: Path, argv: str, says: str) -> None:
    """An invalid argument is one line on standard error that names the nearest valid one; nothing is printed."""
    done = regcheck(folder, *argv.split())
    assert done.returncode == 2, done.stderr
    assert done.stdout == ""
    assert done.stderr.startswith("regcheck: error: ")
    assert says in done.stderr
    assert done.stderr.count("\n") == 1


def test_a_wrong_configuration_names_its_file(folder: Path) -> None:
    """An unknown key stops every door; the message names the file and the nearest key."""
    (folder / "pyproject.toml").write_text("[tool.regcheck]\nselekt = []\n", encoding="utf-8")
    done = regcheck(folder, "scan")
    assert done.returncode == 2
    assert "pyproject.toml: [tool.regcheck]: unknown option 'selekt' (did you mean 'select'?)" in done.stderr


@pytest.mark.parametrize(("argv", "code"), [(("--help",), 0), ((), 2), (("scan", "--help"), 0), (("audit", "-h"), 0)])
def test_help_is_given(folder: Path, argv: tuple[str, ...], code: int) -> None:
    """Help goes to standard output; a bare `regcheck` prints it too, and exits with 2."""
    done = regcheck(folder, *argv)
    assert done.returncode == code
    assert done.stdout.startswith("usage: regcheck ")
    assert done.stderr == ""


def test_the_version_is_told(folder: Path) -> None:
    """`--version` prints the version of the package."""
    assert regcheck(folder, "--version").stdout == f"regcheck {__version__}\n"


def test_rules_are_listed_and_shown(folder: Path) -> None:
    """`regcheck rule` lists every rule; with a code or a name it shows the same page."""
    listing = regcheck(folder, "rule").stdout
    lines = [line.split(maxsplit=3) for line in listing.splitlines()]
    assert ["REG202", "dropout-ignores-mode", "error", "Dropout that stays on after `eval()`."] in lines
    by_code, by_name = (regcheck(folder, "rule", word) for word in ("REG202", "dropout-ignores-mode"))
    assert by_code.stdout == by_name.stdout
    assert "## How it is confirmed" in by_code.stdout


def test_a_scan_finds_and_exits_1(folder: Path) -> None:
    """`regcheck scan` reports the faulty line, and only that."""
    done = regcheck(folder, "scan", "faulty.py", "sound.py", "--output-format", "concise")
    assert done.returncode == 1
    assert done.stdout.startswith("faulty.py:14:")
    assert " REG202 dropout-ignores-mode" in done.stdout.splitlines()[0]
    assert done.stdout.splitlines()[-2:] == ["1 finding", "1 fixable with --fix"]


@pytest.mark.parametrize(
    ("argv", "code"),
    [
        (("faulty.py",), 1),
        (("sound.py",), 0),
        (("faulty.py", "--ignore", "REG202"), 0),
        (("faulty.py", "--select", "REG1,REG3"), 0),
        (("faulty.py", "--select", "REG1", "--extend-select", "dropout-ignores-mode"), 1),
        (("faulty.py", "--fail-on", "never"), 0),
        (("--fail-on", "error", "faulty.py", "sound.py"), 1),
    ],
)
def test_options_decide_the_exit_code(folder: Path, argv: tuple[str, ...], code: int) -> None:
    """Selection and `--fail-on` change the exit code, wherever they stand among the paths."""
    assert regcheck(folder, "scan", *argv).returncode == code


def test_configuration_holds_and_the_command_line_overrules_it(folder: Path) -> None:
    """`[tool.regcheck]` applies unless the command line overrides it."""
    (folder / "pyproject.toml").write_text("[tool.regcheck]\nignore = ['REG202']\n", encoding="utf-8")
    assert regcheck(folder, "scan", "faulty.py").returncode == 0
    assert regcheck(folder, "scan", "faulty.py", "--ignore", "REG101").returncode == 1


def test_a_file_that_does_not_parse_does_not_stop_the_others(folder: Path) -> None:
    """A syntax error is reported as not checked, with its line, and the other files are still scanned."""
    (folder / "broken.py").write_text("import torch\ndef (:\n", encoding="utf-8")
    done = regcheck(folder, "scan", "broken.py", "faulty.py", "--output-format", "json")
    document = json.loads(done.stdout)
    assert [(each["path"], each["line"]) for each in document["not_checked"]] == [("broken.py", 2)]
    assert [(each["path"], each["line"], each["code"]) for each in document["findings"]] == [
        ("faulty.py", 14, "REG202")
    ]
    assert done.returncode == 1
    assert regcheck(folder, "scan", "broken.py").returncode == 0
    assert regcheck(folder, "scan", "broken.py", "--strict").returncode == 3


def test_the_report_can_be_written_to_a_file(folder: Path) -> None:
    """`--output-file` holds the report, and nothing is printed."""
    printed = regcheck(folder, "scan", "faulty.py", "--output-format", "json")
    written = regcheck(folder, "scan", "faulty.py", "--output-format", "json", "--output-file", "report.json")
    assert written.stdout == ""
    assert written.returncode == printed.returncode == 1
    assert (folder / "report.json").read_text(encoding="utf-8") == printed.stdout
    Draft202012Validator(schema()).validate(json.loads(printed.stdout))


def test_colour_is_for_terminals(folder: Path) -> None:
    """Into a pipe there is no escape code, unless the environment forces colour; `NO_COLOR` beats that."""
    assert "\x1b" not in regcheck(folder, "scan", "faulty.py").stdout
    assert "\x1b" in regcheck(folder, "scan", "faulty.py", FORCE_COLOR="1").stdout
    assert "\x1b" not in regcheck(folder, "scan", "faulty.py", FORCE_COLOR="1", NO_COLOR="1").stdout


def test_a_reader_that_leaves_early_is_no_error(folder: Path) -> None:
    """`regcheck … | head` ends without an error."""
    command = f"{sys.executable} -m regcheck scan faulty.py | true"
    done = subprocess.run(["bash", "-c", command], cwd=folder, capture_output=True, text=True)
    assert done.stderr == ""


def test_an_audit_proves_its_finding(folder: Path) -> None:
    """`regcheck audit` confirms the faulty model's finding with figures, and reports nothing about the sound one."""
    done = regcheck(folder, "audit", "sound.py:Net", "faulty.py:Net", "--input", "8x16", "--output-format", "json")
    document = json.loads(done.stdout)
    Draft202012Validator(schema()).validate(document)
    (finding,) = document["findings"]
    assert (finding["code"], finding["path"], finding["line"]) == ("REG202", "faulty.py", 14)
    assert finding["evidence"]["verdict"] == "confirmed"
    assert finding["evidence"]["measured"] > 0
    assert finding["evidence"]["device"] == "cpu"
    assert document["not_checked"] == []
    assert done.returncode == 1


def test_a_model_that_cannot_be_built_is_not_checked(here: CommandLine) -> None:
    """A target that cannot be built does not stop the others; because it was named, the exit code is 3."""
    argv = ("audit", "needy.py:Net", "sound.py:Net", "--output-format", "json")
    done = here(*argv)
    document = json.loads(done.stdout)
    assert [each["subject"] for each in document["not_checked"]] == ["needy.py:Net"]
    assert document["not_checked"][0]["reason"] == "takes arguments: width"
    assert "def model(): return Net(…)" in document["not_checked"][0]["what_to_do"]
    assert document["findings"] == []
    assert done.returncode == 3
    assert here("audit", "needy.py:Net", "faulty.py:Net", "--input", "8x16").returncode == 1


@pytest.mark.parametrize("name", ["Picky", "scripted"])
def test_a_model_that_cannot_be_run_is_not_checked(folder: Path, name: str) -> None:
    """A named target that neither runs nor traces is not checked, whatever its source shows: exit code 3."""
    text = """
        import warnings
        import torch
        from torch import nn

        class Picky(nn.Module):
            def __init__(self):
                super().__init__()
                self.layer = nn.Linear(4, 4)

            def forward(self, batch):
                return self.layer(batch.field)

        def scripted():
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")  # torch deprecates it
                return torch.jit.script(nn.Sequential(nn.Linear(4, 4), nn.Dropout(0.5)).eval())
    """
    (folder / "picky.py").write_text(textwrap.dedent(text), encoding="utf-8")
    done = regcheck(folder, "audit", f"picky.py:{name}", "--output-format", "json")
    document = json.loads(done.stdout)
    assert document["findings"] == []
    (missed,) = document["not_checked"]
    assert "Warning" not in missed["reason"]
    assert done.returncode == 3


def test_targets_can_be_configured(here: CommandLine) -> None:
    """Without targets, `regcheck audit` checks the configured `models`; with `--no-confirm` all is unproven."""
    text = "[tool.regcheck]\nmodels = ['faulty.py:Net']\n"
    configuration = here.folder / "pyproject.toml"
    configuration.write_text(text, encoding="utf-8")
    done = here("audit", "--no-confirm", "--output-format=json")
    (finding,) = json.loads(done.stdout)["unproven"]
    assert finding["evidence"]["verdict"] == "unmeasured"
    assert done.returncode == 0
    assert here("audit", "--no-confirm", "--strict").returncode == 3
    configuration.write_text(f"{text}fail-on-unproven = true\n", encoding="utf-8")
    assert here("audit", "--no-confirm").returncode == 1
    configuration.write_text(f"{text}require-proof = false\n", encoding="utf-8")
    done = here("audit", "--no-confirm")
    assert (done.returncode, done.stderr) == (
        1,
        "note: option 'require-proof' is deprecated: write fail-on-unproven = true\n",
    )


def test_a_configured_target_that_cannot_be_built_was_named(here: CommandLine) -> None:
    """`models` names targets as the command line does: one that cannot be built is not checked, with exit code 3."""
    configuration = here.folder / "pyproject.toml"
    configuration.write_text("[tool.regcheck]\nmodels = ['needy.py:Net']\n", encoding="utf-8")
    done = here("audit")
    assert done.returncode == 3
    assert "not checked: needy.py:Net: takes arguments: width" in done.stdout


def test_an_audit_can_leave_the_model_unrun(here: CommandLine) -> None:
    """With `--no-run` the finding is at the same line, and says why it is unmeasured."""
    findings = [
        json.loads(here("audit", "faulty.py:Net", "--output-format=json", *more).stdout)["findings"]
        for more in ((), ("--no-run",))
    ]
    ((measured,), (followed,)) = findings
    assert measured["evidence"]["verdict"] == "confirmed"
    assert (followed["code"], followed["line"]) == (measured["code"], measured["line"])
    assert followed["evidence"]["because"] == "running is switched off"


def test_an_audit_fixes_and_measures_again(here: CommandLine) -> None:
    """`--fix` changes the file, says what was measured before, and exits by what a fresh process finds with the fix."""
    path = here.folder / "faulty.py"
    done = here("audit", "faulty.py:Net", "--fix", "--device", "cpu")
    assert path.read_text(encoding="utf-8") == SOUND
    assert "fixed: faulty.py:14:13 REG202 dropout-ignores-mode: standard deviation of the prediction" in done.stderr
    assert "→ 0 % of the" in done.stderr
    assert done.stdout.endswith("0 findings\n1 fixed\n")
    assert done.returncode == 0


@pytest.mark.parametrize("option", ["--no-confirm", "--no-run", "--write-baseline"])
def test_fixes_of_an_audit_need_a_measurement(here: CommandLine, option: str) -> None:
    """`--fix` without a measurement is refused, and so is one beside a baseline that would hide what it fixes."""
    done = here("audit", "faulty.py:Net", "--fix", option)
    assert done.returncode == 2
    assert "--fix and --diff" in done.stderr


def test_an_audit_without_torch_says_what_to_install(folder: Path) -> None:
    """Without torch, `regcheck audit` names the extra that installs it."""
    code = (
        "import sys; sys.modules['torch'] = None; from regcheck.cli.main import main; sys.exit(main(['audit', 'a:b']))"
    )
    done = subprocess.run([sys.executable, "-c", code], cwd=folder, capture_output=True, text=True)
    assert done.returncode == 2
    assert done.stderr == "regcheck: error: `regcheck audit` needs torch: `pip install 'regcheck[torch]'`\n"


ONE_THREAD = {"OMP_NUM_THREADS": "1"}
"""The suite shares its machine, and small operations wait for one another's threads."""


def test_the_selftest_is_shown_and_passes(folder: Path) -> None:
    """`regcheck selftest` prints a table of checks, and exits with 0 if all hold."""
    done = regcheck(folder, "selftest", "--device", "cpu", "--mode", "eager", **ONE_THREAD)
    assert (done.returncode, done.stderr) == (0, "")
    assert "nn.Dropout" in done.stdout and "optim.AdamW()" in done.stdout
    assert "fails" not in done.stdout and "not run" not in done.stdout


def test_the_selftest_is_written_as_json(folder: Path) -> None:
    """`--output-format json --output-file FILE` writes the same as JSON, and prints nothing."""
    argv = "selftest --mode eager --seed 3 --output-format json --output-file out.json".split()
    done = regcheck(folder, *argv, **ONE_THREAD)
    assert (done.returncode, done.stdout) == (0, "")
    document = json.loads((folder / "out.json").read_text(encoding="utf-8"))
    assert document["ok"] is True and document["seed"] == 3
    assert {each["device"] for each in document["checks"]} >= {"cpu"}


@pytest.mark.slow
def test_without_a_compiler_that_mode_is_not_run(folder: Path) -> None:
    """Without a compiler the report says so once, with the reason, and only `--strict` fails."""
    nowhere = {"CXX": str(folder / "no-compiler"), "TORCHINDUCTOR_CACHE_DIR": str(folder / "cache")}
    done = regcheck(folder, "selftest", "--device", "cpu", "--mode", "compiled", "--strict", **nowhere)
    assert done.returncode == 3
    assert done.stdout.count("not run: ") == 1 and "torch.compile" in done.stdout
    assert "1 check of torch" in done.stdout


def test_an_interrupt_ends_without_a_trace(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    """Ctrl-C during a verb says in one line that there is no report, and Python still ends as interrupted."""

    def interrupted(words: list[str]) -> int:
        raise KeyboardInterrupt

    monkeypatch.setattr("regcheck.cli.main.dispatch", interrupted)
    monkeypatch.setattr(sys, "excepthook", sys.__excepthook__)
    with pytest.raises(KeyboardInterrupt) as stopped:
        main(["scan"])
    sys.excepthook(type(stopped.value), stopped.value, None)
    assert capsys.readouterr() == ("", "regcheck: interrupted: there is no report\n")
