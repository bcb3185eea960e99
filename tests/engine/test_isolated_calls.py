"""Audits in processes of their own: the same report, and nothing lost with a process."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from regcheck.cli.main import main
from regcheck.core.errors import UsageError
from regcheck.core.report import Report
from regcheck.engine.result_file import ResultFile
from regcheck.engine.target_digest import digest

MODELS = """
import os
import signal
from pathlib import Path

import torch.nn.functional as F
from torch import nn


class Leaky(nn.Module):
    def __init__(self):
        super().__init__()
        self.layer = nn.Linear(8, 8)

    def forward(self, x):
        print("noise for standard output")
        return self.layer(F.dropout(x, 0.5))


class Sound(nn.Module):
    def __init__(self):
        super().__init__()
        self.layer = nn.Linear(8, 8)

    def forward(self, x):
        return self.layer(x)


class Killed(Sound):
    def __init__(self):
        super().__init__()
        if not Path("mended").exists():
            os.kill(os.getpid(), signal.SIGKILL)


class Exits(Sound):
    def forward(self, x):
        os._exit(3)


class Hungry(Sound):
    def __init__(self):
        super().__init__()
        self.layer = nn.Linear(20_000, 100_000)


class NeedsSize(Sound):
    def __init__(self, size):
        super().__init__()
"""


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    Path("zoo.py").write_text(MODELS, encoding="utf-8")
    return tmp_path


def audit(capsys: pytest.CaptureFixture[str], *arguments: str) -> tuple[int, dict[str, object]]:
    """The exit code and the JSON report of `regcheck audit`."""
    code = main(["audit", *arguments, "--output-format", "json"])
    return code, json.loads(capsys.readouterr().out)


def reasons(document: dict[str, object]) -> dict[str, str]:
    missed = document["not_checked"]
    assert isinstance(missed, list)
    return {each["subject"]: each["reason"] for each in missed}


@pytest.mark.skipif("sys.platform != 'linux'", reason="elsewhere memory has no limit, and processes start in seconds")
def test_a_lost_process_loses_one_model_until_the_run_is_resumed(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """What is killed, exits or needs too much memory is not checked, and is all that a second run tries."""
    command = ("zoo.py:*", "--jobs", "2", "--memory", "4", "--resume", "results.jsonl")
    code, first = audit(capsys, *command)
    assert code == 1
    assert [each["code"] for each in first["findings"]] == ["REG202"]  # type: ignore[attr-defined]
    missed = reasons(first)
    assert missed.keys() == {f"zoo.py:{name}" for name in ("Killed", "Exits", "Hungry", "NeedsSize")}
    assert "SIGKILL" in missed["zoo.py:Killed"] and "exit code 3" in missed["zoo.py:Exits"]
    assert "can't allocate memory" in missed["zoo.py:Hungry"]
    assert set(missed) == set(first["blocked"])  # type: ignore[call-overload]

    written = Path("results.jsonl").read_text(encoding="utf-8")
    assert written.count("\n") == 5  # the head, two models, one that cannot be built, and one without memory
    Path("results.jsonl").write_text(written + '{"type": "target", "tar', encoding="utf-8")  # killed as it wrote
    Path("mended").touch()
    code, second = audit(capsys, *command)
    assert code == 1
    assert reasons(second) == {name: why for name, why in missed.items() if name != "zoo.py:Killed"}
    assert Path("results.jsonl").read_text(encoding="utf-8").startswith(written)
    assert second["findings"] == first["findings"]


@pytest.mark.skipif("sys.platform != 'linux'", reason="elsewhere processes start in seconds")
def test_processes_report_what_one_process_does(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """The report of several processes is that of one, to the last figure, in the same order."""
    targets = ("zoo.py:Sound", "zoo.py:Leaky", "zoo.py:NeedsSize")
    assert audit(capsys, *targets, "--jobs", "3") == audit(capsys, *targets)


@pytest.mark.skipif("sys.platform != 'linux'", reason="elsewhere processes start in seconds")
def test_wrong_usage_ends_the_run(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """A target that does not exist is an error of the whole run, as in one process."""
    assert main(["audit", "zoo.py:Leeky", "zoo.py:Sound", "--jobs", "2"]) == 2
    assert "did you mean 'Leaky'" in capsys.readouterr().err
    assert main(["audit", "zoo.py:Sound", "--jobs", "0"]) == 2


def test_results_are_read_as_they_were_written(tmp_path: Path) -> None:
    """A report is there for its target and digest alone, and only under the settings that the file was begun with."""
    file, report = tmp_path / "results.jsonl", Report(subjects=("a.py:Net",), live=True)
    ResultFile(file, {"version": "1"}).add("a.py:Net", "digest", report)
    assert ResultFile(file, {"version": "1"}).reports == {("a.py:Net", "digest"): report}
    with pytest.raises(UsageError, match=r"other settings \(version\)"):
        ResultFile(file, {"version": "2"})
    for foreign in ("{}\n", "text\n", '{"type": "audit", "version": "1"}\n{"target": 1}\n'):
        file.write_text(foreign, encoding="utf-8")
        with pytest.raises(UsageError, match="not the file of an audit"):
            ResultFile(file, {"version": "1"})
    with pytest.raises(UsageError, match="Is a directory"):
        ResultFile(tmp_path, {"version": "1"})


def test_a_digest_changes_with_what_the_model_is_built_from(folder: Path) -> None:
    """Another file of the project changes the digest of a file and of a module; a library's is its version."""
    from regcheck.engine import target_digest

    before = digest("zoo.py:Leaky"), digest("zoo:Leaky")
    assert before[0] == before[1]
    target_digest._digest_of_project.cache_clear()
    (folder / "blocks.py").write_text("import torch\n", encoding="utf-8")
    assert digest("zoo.py:Leaky") == digest("zoo:Leaky") != before[0]
    assert digest("timm:resnet18") == digest("timm:resnet50")
