"""The baseline: what it knows, what moves without being noticed, and what does not."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from regcheck.config.options import Options
from regcheck.core.errors import UsageError
from regcheck.engine.scan import scan
from regcheck.report.fingerprint import fingerprint
from regcheck.suppression.baseline import Baseline

NET = """\
import torch.nn.functional as F
from torch import nn


class Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.last = nn.Linear(4, 4)

    def forward(self, x):
        x = F.dropout(x, 0.5)
        x = F.dropout(x, 0.25)
        return self.last(x)
"""
FIRST = "        x = F.dropout(x, 0.5)\n"
AGAIN = NET.replace(FIRST, FIRST + "        x = self.last(x)\n" + FIRST)


@pytest.fixture
def file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "src").mkdir()
    return tmp_path / "src" / "net.py"


def written(file: Path, text: str) -> Path:
    """A baseline that knows everything that a scan of the text finds."""
    file.write_text(text)
    found = Path("baseline.json")
    Baseline(found).updated(scan(["src"]).findings, [], "scan").write()
    return found


def unknown(file: Path, text: str, baseline: Path) -> list[str]:
    """The lines that a scan of the text reports although there is the baseline."""
    file.write_text(text)
    report = scan(["src"], Options(baseline=str(baseline)))
    lines = text.splitlines()
    return [lines[(each.line or 0) - 1].strip() for each in report.findings]


@pytest.mark.parametrize(
    "text",
    [
        NET,
        f"# a comment\n\n\n{NET}\n\ndef more():\n    pass\n",
        NET.replace("x, 0.5)", "x,  0.5)  # high"),
        NET.replace("(x, 0.5)", "(\n            x,\n            0.5,\n        )"),
        NET.replace("x = F.dropout(x, 0.5)", "x = (\n            F.dropout(x, 0.5).relu()\n        )"),
        NET.replace("\n", "\r\n"),
    ],
)
def test_what_moves_or_is_laid_out_anew_stays_known(file: Path, text: str) -> None:
    """Lines above, comments, line breaks, trailing commas and line ends change nothing."""
    assert unknown(file, text, written(file, NET)) == []


@pytest.mark.parametrize(
    ("text", "new"),
    [
        (NET.replace("0.5", "0.6"), ["x = F.dropout(x, 0.6)"]),
        (NET.replace("class Net", "class Other"), ["x = F.dropout(x, 0.5)", "x = F.dropout(x, 0.25)"]),
        (AGAIN, ["x = F.dropout(x, 0.5)"]),
    ],
)
def test_what_is_new_is_reported(file: Path, text: str, new: list[str]) -> None:
    """Another rate, another scope, and one more of the same are not known."""
    assert unknown(file, text, written(file, NET)) == new


def test_the_file_is_sorted_and_the_same_from_any_order(file: Path) -> None:
    """Writing what is known again changes no byte, and paths are those from the baseline's folder, with `/`."""
    baseline = written(file, AGAIN)
    before = baseline.read_bytes()
    findings = scan(["src"]).findings
    Baseline(baseline).updated(reversed(findings), [], "scan").write()
    assert baseline.read_bytes() == before
    entries = json.loads(before)["findings"]
    assert [(each["path"], each["source"], each["nth"]) for each in entries] == [
        ("src/net.py", "F.dropout(x,0.25)", 0),
        ("src/net.py", "F.dropout(x,0.5)", 0),
        ("src/net.py", "F.dropout(x,0.5)", 1),
    ]
    assert {each["scope"] for each in entries} == {"Net.forward"}


def test_a_baseline_that_cannot_be_written_is_left_as_it_was(file: Path) -> None:
    """A disk that fills up while the baseline is written costs nobody the one that there was."""
    baseline = written(file, NET)
    before = baseline.read_bytes()
    full = (
        "import resource, signal; signal.signal(signal.SIGXFSZ, signal.SIG_IGN);"
        " resource.setrlimit(resource.RLIMIT_FSIZE, (99, 99)); from regcheck.cli.main import main;"
        " raise SystemExit(main(['scan', '--no-cache', '--write-baseline', '--baseline=baseline.json', 'src']))"
    )
    file.write_text(AGAIN)
    done = subprocess.run([sys.executable, "-c", full], capture_output=True, text=True)
    assert done.returncode == 2 and "baseline.json: cannot be written" in done.stderr
    assert baseline.read_bytes() == before
    assert sorted(each.name for each in Path().iterdir()) == ["baseline.json", "src"]


@pytest.mark.parametrize(
    "entry", [{}, {"nth": "0"}, {"path": 1}, {"path": None}, {"nonsense": 1}, {"code": ["REG202"]}]
)
def test_an_entry_of_another_kind_is_refused(file: Path, entry: dict[str, object]) -> None:
    """An edited baseline whose entries are not what they should be is a usage error, not a crash later on."""
    baseline = written(file, NET)
    document = json.loads(baseline.read_text())
    document["findings"] = [{**document["findings"][0], **entry} if entry else {}]
    baseline.write_text(json.dumps(document))
    with pytest.raises(UsageError, match="is not a baseline"):
        Baseline.read(baseline)


def test_a_name_that_is_not_text_is_kept(file: Path) -> None:
    """A finding in a file whose name is not UTF-8 is known again."""
    odd = os.fsdecode(os.fsencode(file.parent) + b"/caf\xe9.py")
    try:
        Path(odd).write_text(NET)
    except OSError:
        pytest.skip("this file system takes names of text only")
    baseline = written(file, NET)
    assert scan(["src"], Options(baseline=str(baseline))).findings == ()


def test_what_is_gone_is_stale_where_it_was_looked_for(file: Path) -> None:
    """An entry is stale where its file was read with its rule and it was not found; never anywhere else."""
    baseline = Baseline.read(written(file, NET))
    file.write_text(NET.replace(FIRST, ""))
    report = scan(["src"])
    stale = baseline.stale(report, ["src"], ["REG202"], "scan")
    assert [each.source for each in stale] == ["F.dropout(x,0.5)"]
    assert baseline.updated(report.findings, stale, "scan").entries == baseline.entries - set(stale)
    assert baseline.stale(report, ["src"], ["REG101"], "scan") == []
    assert baseline.stale(report, ["elsewhere"], ["REG202"], "scan") == []
    assert baseline.stale(report, ["src"], ["REG202"], "audit") == []
    file.write_text(
        "import torch\nclass Net(torch.nn.Module):\n    def forward(self, x):\n        return F.dropout(x\n"
    )
    assert baseline.stale(scan(["src"]), ["src"], ["REG202"], "scan") == []
    file.unlink()
    assert len(baseline.stale(scan(["src"]), ["src"], ["REG202"], "scan")) == 2


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("{", "is not a baseline"),
        ("[]", "is not a baseline"),
        ('{"version": 1, "findings": [{}]}', "is not a baseline"),
        ('{"version": 2, "findings": []}', "is a baseline of version 2, not 1"),
    ],
)
def test_what_is_no_baseline_is_said(tmp_path: Path, text: str, says: str) -> None:
    """A file that cannot be understood stops the run, and is named."""
    file = tmp_path / "baseline.json"
    file.write_text(text)
    with pytest.raises(UsageError, match=says) as caught:
        Baseline.read(file)
    assert str(caught.value).startswith(str(file))


def test_fingerprints_stay_and_differ(file: Path) -> None:
    """A fingerprint does not change when lines move, and no two findings of a file share one."""
    file.write_text(AGAIN)
    before = [fingerprint(each) for each in scan(["src"]).findings]
    file.write_text(f"# more\n{AGAIN}")
    assert [fingerprint(each) for each in scan(["src"]).findings] == before
    assert len(set(before)) == len(before) == 3
