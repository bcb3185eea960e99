"""Scanning source: the rules' own examples, silencing, what cannot be read, and what it costs."""

from __future__ import annotations

import gc
import os
import subprocess
import sys
from pathlib import Path

import pytest

from regcheck import rules
from regcheck.core.errors import UsageError
from regcheck.core.finding import Severity, Verdict
from regcheck.core.rule import Example, Rule
from regcheck.engine.scan import scan

EXAMPLES = [
    pytest.param(rule, example, id=f"{rule.code}-{kind}{number}")
    for rule in rules.load()
    if rule.about not in ("proofs", "ranks")  # told from measurements and processes, of which a scan has none
    for kind, examples in (("bad", rule.bad), ("good", rule.good))
    for number, example in enumerate(examples, 1)
]
NET = "import torch.nn.functional as F\nfrom torch import nn\n\n\nclass Net(nn.Module):\n    def forward(self, x):\n"
DROPS = f"{NET}        return F.dropout(x, 0.5)\n"


@pytest.mark.parametrize(("rule", "example"), EXAMPLES)
def test_examples_are_reported_on_exactly_the_marked_lines(tmp_path: Path, rule: Rule, example: Example) -> None:
    """A rule reports the marked lines of its examples and nothing else, alone and among all rules that are on."""
    path = tmp_path / "example.py"
    path.write_text(example.source)
    alone = scan([path], {"select": [rule.code]})
    together = scan([path], {"extend-select": [rule.code]})
    for report in (alone, together):
        assert {(each.code, each.line) for each in report.findings} == {(rule.code, line) for line in example.marked}
        assert len({each.line for each in report.findings}) == len(report.findings)
        assert report.not_checked == ()


def test_a_finding_says_that_nothing_was_measured(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A finding from source has a position relative to the working directory and unmeasured evidence."""
    (tmp_path / "net.py").write_text(DROPS)
    monkeypatch.chdir(tmp_path)
    report = scan(["."])
    (finding,) = report.findings
    assert finding.where == "net.py:7:16"
    assert finding.message == "`F.dropout(p=0.5)` still drops activations after `eval()`"
    assert (finding.code, finding.severity) == ("REG202", Severity.ERROR)
    assert finding.evidence.verdict is Verdict.UNMEASURED
    assert finding.evidence.because == "read from the source, not run"
    assert report.exit_code == 1


def test_a_comment_silences_its_line_only(tmp_path: Path) -> None:
    """An ignore on the reported line silences the codes it names, and no others."""
    path = tmp_path / "net.py"
    for comment, count in (("ignore[REG202] on purpose", 0), ("ignore[REG2]", 0), ("ignore[REG101]", 1), ("", 1)):
        path.write_text(DROPS.replace("0.5)", f"0.5)  # regcheck: {comment}"))
        assert len(scan([path]).findings) == count


@pytest.mark.parametrize(
    "options",
    [
        {"ignore": ["dropout-ignores-mode"]},
        {"select": ["REG1"]},
        {"per-file-ignores": {"net.py": ["REG202"]}},
        {"exclude": ["net.py"]},
    ],
)
def test_options_choose_rules_and_files(tmp_path: Path, options: dict[str, object]) -> None:
    """Rules are chosen, ignored and ignored by file as everywhere else."""
    (tmp_path / "net.py").write_text(DROPS)
    assert scan([tmp_path], options).findings == ()


def test_an_unknown_option_or_path_is_a_usage_error(tmp_path: Path) -> None:
    """What cannot be understood stops the scan."""
    with pytest.raises(UsageError, match="selct"):
        scan([tmp_path], {"selct": []})
    with pytest.raises(UsageError, match="nowhere"):
        scan([tmp_path / "nowhere"])


def test_what_cannot_be_read_is_said_and_the_rest_is_scanned(tmp_path: Path) -> None:
    """A broken file is not checked, with its reason and line; the others are."""
    (tmp_path / "a.py").write_text("import torch; model.eval()\nclass (\n")
    (tmp_path / "b.py").write_text(DROPS)
    report = scan([tmp_path], {"strict": True})
    assert [each.code for each in report.findings] == ["REG202"]
    (missed,) = report.not_checked
    assert (Path(missed.path or "").name, missed.line) == ("a.py", 2)
    assert "syntax error" in missed.reason
    assert scan([tmp_path / "a.py"], {"strict": True}).exit_code == 3


def test_a_place_is_reported_once_however_often_it_is_used(tmp_path: Path) -> None:
    """A class that many others contain is reported once."""
    more = "".join(
        f"class Outer{n}(nn.Module):\n    def __init__(self):\n        super().__init__()\n        self.a = Net()\n"
        "        self.b = nn.Linear(4, 4)\n    def forward(self, x):\n        return self.b(self.a(self.a(x)))\n"
        for n in range(3)
    )
    (tmp_path / "net.py").write_text(DROPS + more)
    assert len(scan([tmp_path]).findings) == 1


CHILD = """
import sys

class Blocked:
    def find_spec(self, name, path=None, target=None):
        if name.split(".")[0] in ("torch", "rich", "numpy", "multiprocessing", "concurrent"):
            raise ImportError(name)

sys.meta_path.insert(0, Blocked())
from regcheck.engine.scan import scan
print(*(f"{each.code}:{each.line}" for each in scan(sys.argv[1:]).findings))
"""


def test_scanning_needs_no_torch(tmp_path: Path) -> None:
    """Files are scanned where torch cannot be imported, nor anything else that is slow to load."""
    for number in range(6):
        (tmp_path / f"net{number}.py").write_text(DROPS)
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, sys.path))}
    done = subprocess.run(
        [sys.executable, "-c", CHILD, str(tmp_path)], capture_output=True, text=True, env=environment, check=False
    )
    assert done.stderr == ""
    assert done.stdout.split() == ["REG202:7"] * 6


@pytest.mark.parametrize("frozen", [False, True])
def test_a_scan_leaves_the_collector_as_it_was(tmp_path: Path, frozen: bool) -> None:
    """After a scan the garbage collector is enabled, and objects are frozen only if the program froze some."""
    (tmp_path / "model.py").write_text("import torch\n")
    if frozen:
        gc.freeze()
    try:
        scan([tmp_path])
        assert (gc.isenabled(), gc.get_freeze_count() > 0) == (True, frozen)
    finally:
        gc.unfreeze()
