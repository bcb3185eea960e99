"""Plugins as a user installs them: a distribution with an entry point of the group `regcheck`."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from regcheck.rules.mode import missing_eval

PLUGIN = """\
from pathlib import Path

from regcheck.hookspecs import hookimpl


@hookimpl
def regcheck_rules():
    import acme_rule
    return [acme_rule]


@hookimpl
def regcheck_targets(target):
    if target.startswith("acme:"):
        from torch import nn
        return nn.Linear(int(target[5:]), 2)


@hookimpl
def regcheck_inputs(model):
    import torch
    return (torch.zeros(3, model.in_features),), {}


@hookimpl
def regcheck_report(report):
    Path("told.txt").write_text(f"{len(report.findings)} {report.subjects}")
"""


NO_START = PLUGIN.replace("return [acme_rule]", "acme_rule.BEGINS_AT = ()\n    return [acme_rule]")
WRONG_START = NO_START.replace("= ()", "= ('softmax',)")


def rule(code: str, name: str = "acme_rule") -> str:
    source = Path(missing_eval.__file__ or "").read_text(encoding="utf-8")
    return source.replace('CODE = "REG201"', f'CODE = "{code}"').replace("Predictions made", f"{name} made")


@pytest.fixture
def site(tmp_path: Path) -> Path:
    """A folder on the path with an installed plugin."""
    info = tmp_path / "acme-1.0.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: acme\nVersion: 1.0\n", encoding="utf-8")
    (info / "entry_points.txt").write_text("[regcheck]\nacme = acme_plugin\n", encoding="utf-8")
    (tmp_path / "acme_plugin.py").write_text(PLUGIN, encoding="utf-8")
    (tmp_path / "acme_rule.py").write_text(rule("ACME201"), encoding="utf-8")
    return tmp_path


def regcheck(site: Path, *argv: str, cwd: Path | None = None, **variables: str) -> subprocess.CompletedProcess[str]:
    path = os.pathsep.join(filter(None, [str(site), os.environ.get("PYTHONPATH")]))
    environment = {**os.environ, "PYTHONPATH": path, **variables}
    command = [sys.executable, "-m", "regcheck", *argv]
    return subprocess.run(command, cwd=cwd or site, env=environment, capture_output=True, text=True, timeout=120)


def test_a_plugins_rule_runs_beside_ours(site: Path) -> None:
    """A plugin's rule is listed, has its page, and can be selected."""
    assert "ACME201  acme-rule" in regcheck(site, "rule").stdout
    assert regcheck(site, "rule", "acme-rule").stdout.startswith("# ACME201 acme-rule")
    assert regcheck(site, "scan", "--select", "ACME", "acme_plugin.py").returncode == 0


@pytest.mark.parametrize("changed", ["acme_rule.py", "acme_words.py"])
def test_a_result_is_reused_until_the_plugin_changes(site: Path, changed: str) -> None:
    """A scan's result depends on the file of a plugin's rule, and on the other files of its package."""
    package = site / "acme"
    package.mkdir()
    (package / "__init__.py").write_text("", encoding="utf-8")
    (package / "acme_words.py").write_text('WORD = "acme"\n', encoding="utf-8")
    (package / "acme_rule.py").write_text(rule("ACME201"), encoding="utf-8")
    (site / "acme_plugin.py").write_text(PLUGIN.replace("import acme_rule", "from acme import acme_rule"))
    (site / "net.py").write_text("import torch\nwith torch.no_grad(): net(x)\n", encoding="utf-8")
    cache = site / "cache"
    for count in (1, 1, 2):
        if count == 2:
            (package / changed).write_text((package / changed).read_text() + "# changed\n", encoding="utf-8")
        done = regcheck(site, "scan", "--select", "ACME", "net.py", XDG_CACHE_HOME=str(cache))
        assert done.returncode == 0, done.stdout + done.stderr
        assert len([*cache.rglob("*.json")]) == count


@pytest.mark.parametrize("where", ["acme.egg/EGG-INFO", "acme.egg-info", "site.zip"])
def test_a_plugin_is_found_however_it_is_installed(
    site: Path, tmp_path_factory: pytest.TempPathFactory, where: str
) -> None:
    """Eggs and archives on the path may hold plugins, too."""
    home = tmp_path_factory.mktemp("home")
    if where.endswith(".zip"):
        shutil.make_archive(str(home / "site"), "zip", site)
        path = home / where
    else:
        path = (home / where).parent
        shutil.copytree(site, path, dirs_exist_ok=True)
        (path / "acme-1.0.dist-info").rename(home / where)
    assert "ACME201  acme-rule" in regcheck(path, "rule", cwd=home).stdout


def test_a_plugin_builds_its_targets_and_hears_of_the_report(site: Path) -> None:
    """A plugin can claim a prefix, give a model its inputs, and is told of the finished report."""
    done = regcheck(site, "audit", "acme:6", "--strict")
    assert done.returncode == 0, done.stdout + done.stderr
    assert (site / "told.txt").read_text(encoding="utf-8") == "0 ('Linear', 'acme:6')"


@pytest.mark.parametrize(
    ("code", "plugin", "says"),
    [
        ("REG201", PLUGIN, "acme_rule and regcheck.rules.mode.missing_eval are both called REG201"),
        ("ACME1", PLUGIN, "CODE 'ACME1' is not letters followed by three digits"),
        ("ACME201", NO_START, "acme_rule: `check` takes a usage, and BEGINS_AT names nothing in one"),
        ("ACME201", WRONG_START, "acme_rule: BEGINS_AT 'softmax' is no Kind, no Trait and no type of Event"),
        ("ACME201", "import nothing_there", "plugin 'acme' (acme_plugin) cannot be loaded: No module named"),
        ("ACME201", PLUGIN.replace("regcheck_rules", "regcheck_rulez"), "unknown hook 'regcheck_rulez'"),
    ],
)
def test_a_broken_plugin_stops_the_run(site: Path, code: str, plugin: str, says: str) -> None:
    """A rule that reuses a code, or a plugin that cannot be loaded, is named; nothing is silently left out."""
    (site / "acme_plugin.py").write_text(plugin, encoding="utf-8")
    (site / "acme_rule.py").write_text(rule(code), encoding="utf-8")
    done = regcheck(site, "scan", "acme_plugin.py")
    assert done.returncode == 2
    assert says in done.stderr


ASKED = """\
import torch
from regcheck.hookspecs import hookimpl


@hookimpl
def regcheck_inputs(model):
    return {answer}
"""


@pytest.mark.parametrize(
    ("answer", "inputs"),
    [
        ("(torch.zeros(3, 6),), {}", "(3, 6)"),
        ("[((torch.zeros(1),), {}), ((torch.zeros(5, 6),), {})]", "(5, 6)"),
        ("None", "(2, 6)"),
    ],
    ids=["a pair", "several", "none"],
)
def test_a_plugins_inputs_come_before_those_that_a_model_declares(site: Path, answer: str, inputs: str) -> None:
    """A plugin decides on inputs, or lists some to try first, or leaves the model to regcheck's own implementations."""
    (site / "acme_plugin.py").write_text(ASKED.format(answer=answer), encoding="utf-8")
    (site / "program.py").write_text(
        "import torch, regcheck\n"
        "class Net(torch.nn.Linear):\n"
        "    example_inputs = (torch.zeros(2, 6),)\n"
        "    def forward(self, x):\n"
        "        result = super().forward(x)\n"
        "        open('shapes.txt', 'a').write(f'{tuple(x.shape)}\\n')\n"
        "        return result\n"
        "assert not regcheck.audit(Net(6, 2)).not_checked\n",
        encoding="utf-8",
    )
    path = os.pathsep.join(filter(None, [str(site), os.environ.get("PYTHONPATH")]))
    command = [sys.executable, "program.py"]
    environment = {**os.environ, "PYTHONPATH": path}
    done = subprocess.run(command, cwd=site, env=environment, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stdout + done.stderr
    assert {*(site / "shapes.txt").read_text(encoding="utf-8").splitlines()} == {inputs}
