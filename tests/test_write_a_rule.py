"""The plugin that "Write a rule" builds: installed as a user installs it, its rule fires in every way in."""

from __future__ import annotations

import importlib
import json
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from regcheck.core.rule import Rule
from regcheck.testing import check_rule

PAGE = Path(__file__).parent.parent / "docs" / "how-to" / "write-a-rule.md"
TITLED = re.compile(r"^~~~\w+ title=\"(\S+)\"\n(.*?)^~~~$", re.MULTILINE | re.DOTALL)
FILES = dict(TITLED.findall(PAGE.read_text(encoding="utf-8")))

SOFTMAX = "return torch.softmax(x, dim=1)"
LOSS = "loss = criterion(model(x), y)"
FAULTY = {
    "as_on_the_page": ("net.py", "", ""),
    "loss_is_a_function": ("train.py", LOSS, "loss = nn.functional.cross_entropy(model(x), y)"),
    "result_has_a_name": ("train.py", LOSS, "scores = model(x)\n    loss = nn.functional.cross_entropy(scores, y)"),
}
SOUND = {
    "logits": ("net.py", SOFTMAX, "return x"),
    "log_probabilities": ("net.py", SOFTMAX, "return torch.log_softmax(x, dim=1)"),
    "softmax_for_predictions": ("net.py", SOFTMAX, "return x if self.training else x.softmax(dim=1)"),
    "gated_linear_unit": ("net.py", SOFTMAX, "return x * x.softmax(dim=1)"),
    "loss_of_logarithms": ("train.py", LOSS, "loss = criterion(model(x).log(), y)"),
    "named_logarithms": (
        "train.py",
        LOSS,
        "scores = model(x)\n    scores = scores.log()\n    loss = nn.functional.cross_entropy(scores, y)",
    ),
    "another_loss": ("train.py", LOSS, "loss = nn.MSELoss()(model(x), torch.eye(4)[y])"),
    "loss_of_another_tensor": ("train.py", LOSS, "loss = criterion(x[:, :4], y) + model(x).square().sum()"),
}
DOORS = {
    "scan of files": ("regcheck", "scan", "--no-cache", "FILES"),
    "scan of a folder": ("regcheck", "scan", "--no-cache", "."),
    "audit": ("regcheck", "audit", "TARGETS"),
    "run": ("regcheck", "run", "everything.py"),
    "pytest": ("pytest", "-q", "-p", "no:randomly", "-p", "no:cacheprovider", "--regcheck"),
}


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder on the path that holds the plugin as an installer leaves it."""
    folder = tmp_path_factory.mktemp("site")
    for title, text in FILES.items():
        if title.startswith("acme_rules/"):
            (folder / title).parent.mkdir(exist_ok=True)
            (folder / title).write_text(text, encoding="utf-8")
    info = folder / "acme_rules-1.0.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: acme-rules\nVersion: 1.0\n", encoding="utf-8")
    (point,) = re.findall(r"^\[project\.entry-points\.regcheck\]\n(\w+) = \"(\w+)\"$", FILES["pyproject.toml"], re.M)
    (info / "entry_points.txt").write_text(f"[regcheck]\n{' = '.join(point)}\n", encoding="utf-8")
    return folder


@pytest.fixture(scope="module")
def project(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The page's program, whole and with one change each: `net_NAME.py` and `train_NAME.py`, and what runs them all."""
    folder = tmp_path_factory.mktemp("project")
    for name, (changed, old, new) in {**FAULTY, **SOUND}.items():
        for file in ("net", "train"):
            text = FILES[f"{file}.py"].replace("from net import", f"from net_{name} import")
            if changed == f"{file}.py":
                assert old in text
                text = text.replace(old, new, 1)
            (folder / f"{file}_{name}.py").write_text(text, encoding="utf-8")
    programs = [f"train_{name}" for name in (*FAULTY, *SOUND)]
    imports = "".join(f"import {each}\n" for each in programs)
    calls = "".join(f"{each}.main()\n" for each in programs)
    (folder / "everything.py").write_text(f"{imports}\n{calls}", encoding="utf-8")
    tests = "".join(f"\n\ndef test_{each}_{turn}():\n    {each}.main()\n" for each in programs for turn in range(2))
    (folder / "test_everything.py").write_text(f"{imports}{tests}", encoding="utf-8")
    return folder


@pytest.mark.parametrize("door", DOORS)
def test_the_rule_fires_in_every_way_in(site: Path, project: Path, tmp_path: Path, door: str) -> None:
    """A softmax whose very result goes into a cross entropy in another file is reported, once, and no other is."""
    names = {
        "FILES": [each.name for each in sorted(project.glob("*.py"))],
        "TARGETS": [f"train_{name}:Classifier" for name in (*FAULTY, *SOUND)],
    }
    command = [word for each in DOORS[door] for word in names.get(each, [each])]
    report = tmp_path / "report.json"
    select = ["--regcheck-select=ACME", f"--regcheck-report=json:{report}"]
    if door != "pytest":
        select = ["--select=ACME", "--output-format=json", f"--output-file={report}"]
        command[2:2] = select
    else:
        command += select
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join([str(site), os.environ.get("PYTHONPATH", "")])}
    done = subprocess.run(
        [sys.executable, "-m", *command], cwd=project, env=environment, capture_output=True, text=True, timeout=400
    )
    document = json.loads(report.read_text(encoding="utf-8"))
    assert document["not_checked"] == [], done.stdout + done.stderr
    (line,) = (number for number, text in enumerate(FILES["net.py"].splitlines(), 1) if SOFTMAX in text)
    assert [(each["path"], each["line"]) for each in document["findings"]] == [
        (f"net_{name}.py", line) for name in FAULTY
    ]


def test_the_rule_keeps_its_promises(site: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The page's own test passes."""
    monkeypatch.syspath_prepend(site)
    check_rule(Rule.from_module(importlib.import_module("acme_rules.softmax_before_cross_entropy")))
