"""The pytest plugin: options, marker, hook and fixture. Everything else is loaded when `--regcheck` asks for it."""

from __future__ import annotations

import importlib.util
import sys
from collections.abc import Callable, Iterable, Mapping
from typing import TYPE_CHECKING, Any

import pytest

from regcheck.config.keys import KEYS

if TYPE_CHECKING:
    from regcheck.core.report import Report

MARKER = (
    "regcheck(ignore=[CODE, …], reason=…): the findings of these rules that this test shows are intended, "
    "and this is why"
)


OPTIONS = {
    "select": ("RULES", KEYS["select"].effect),
    "ignore": ("RULES", KEYS["ignore"].effect),
    "fail-on": ("SEVERITY", f"{KEYS['fail-on'].effect} (default: warning)"),
    "strict": ("", KEYS["strict"].effect),
    "baseline": ("FILE", KEYS["baseline"].effect),
    "device": ("DEVICES", f"{KEYS['devices'].effect} (default: auto)"),
    "budget": ("SECONDS", f"{KEYS['budget'].effect} (default: 2 for a model that a test ran, 60 for others)"),
    "report": ("FORMAT:PATH", "also write the report to a file; repeatable"),
}
"""The `--regcheck-…` options: the name of the value, empty for a flag, and the effect."""


class Hooks:
    """The hooks that a conftest.py, or any other plugin of pytest, can implement."""

    @staticmethod
    def pytest_regcheck_targets(config: pytest.Config) -> Iterable[str] | Mapping[str, Callable[[], Any]]:
        """Name models to check under `--regcheck`, each as an item of the suite, `regcheck::NAME`.

        Give targets as `models` in `[tool.regcheck]` lists them, or a dictionary from names to functions without
        arguments. A function returns a model, or a tuple of the model and the inputs of its `forward`. It runs when
        its item does.
        """
        raise NotImplementedError


def pytest_addhooks(pluginmanager: pytest.PytestPluginManager) -> None:
    pluginmanager.add_hookspecs(Hooks)


def pytest_addoption(parser: pytest.Parser) -> None:
    group = parser.getgroup("regcheck", "dropout, regularization and train/eval mistakes (regcheck)")
    group.addoption("--regcheck", action="store_true", help="check and measure every model that the tests run")
    for name, (metavar, effect) in OPTIONS.items():
        if name == "report":
            form: dict[str, Any] = {"metavar": metavar, "action": "append", "default": []}
        else:
            form = {"metavar": metavar} if metavar else {"action": "store_true", "default": None}
        group.addoption(f"--regcheck-{name}", help=effect, **form)
    parser.addini("regcheck", "always run as with --regcheck", type="bool", default=False)
    parser.addini("regcheck_fail_on", "as --regcheck-fail-on, which overrules it")


def pytest_configure(config: pytest.Config) -> None:
    config.addinivalue_line("markers", MARKER)
    if not config.getoption("regcheck") and not config.getini("regcheck"):
        given = [f"--regcheck-{name}" for name in OPTIONS if config.getoption(f"regcheck_{name.replace('-', '_')}")]
        if given:
            config.pluginmanager.register(Idle(given), "regcheck-idle")
        return
    from regcheck.suite.configured_models import Models

    config.pluginmanager.register(Models(config), "regcheck-models")
    if config.getoption("collectonly"):
        return
    if not _is_installed("torch"):
        raise pytest.UsageError("--regcheck needs torch: `pip install 'regcheck[torch]'`")
    from regcheck.suite.report_plugin import begin

    begin(config)


def _is_installed(name: str) -> bool:
    """Whether a module can be imported. The suite decides when it is, and under which settings."""
    try:
        return name in sys.modules or importlib.util.find_spec(name) is not None
    except ImportError:
        return False


class Idle:
    """Prints at the end of a session without `--regcheck` which of the other options had no effect."""

    def __init__(self, given: list[str]) -> None:
        self._given = given

    def pytest_terminal_summary(self, terminalreporter: pytest.TerminalReporter) -> None:
        need = "needs" if len(self._given) == 1 else "need"
        line = f"regcheck: no test was watched and no report written: {', '.join(self._given)} {need} --regcheck"
        terminalreporter.write_line(line, yellow=True)


@pytest.fixture
def regcheck(request: pytest.FixtureRequest) -> Callable[..., Report]:
    """Check a model: `regcheck(model, *inputs)` has the arguments of `regcheck.audit` and may fail the test."""
    try:
        import torch  # noqa: F401, only asked whether it is there
    except ModuleNotFoundError:
        pytest.fail("the fixture `regcheck` needs torch: `pip install 'regcheck[torch]'`", pytrace=False)
    from regcheck.suite.auditor import auditor

    return auditor(request.node)
