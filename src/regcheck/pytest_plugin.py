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
    "extend-select": ("RULES", KEYS["extend-select"].effect),
    "fail-on": ("SEVERITY", f"{KEYS['fail-on'].effect} (default: warning)"),
    "strict": ("", KEYS["strict"].effect),
    "baseline": ("FILE", KEYS["baseline"].effect),
    "device": ("DEVICES", f"{KEYS['devices'].effect} (default: auto)"),
    "budget": ("SECONDS", f"{KEYS['budget'].effect} (default: 2 for a model that a test ran, 60 for others)"),
    "seed": ("SEED", f"{KEYS['seed'].effect} (default: 0)"),
    "show-refuted": ("", "also show suspicions that measurements refuted"),
    "report": ("FORMAT:PATH", "also write the report to a file; repeatable"),
    "fix": ("", "apply safe fixes of confirmed findings, if their tests then no longer show them"),
    "unsafe-fixes": ("", "with --regcheck-fix: also change results"),
}
"""The `--regcheck-…` options: the name of the value, empty for a flag, and the effect."""

OPTIONS_OF_SESSIONS = ("show-refuted", "report", "fix", "unsafe-fixes")
"""Those that have no effect on the fixture `regcheck`."""


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
        names = [name for name in OPTIONS if config.getoption(f"regcheck_{name.replace('-', '_')}") not in (None, [])]
        if names:
            config.pluginmanager.register(Idle(config, names), "regcheck-idle")
        return
    from regcheck.suite import plain_imports

    plain_imports.begin(config)
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
    """Refuses the options that have no effect in a session without `--regcheck`.

    Those of the project's own configuration, and those given to workers, only get a line at the end.
    """

    def __init__(self, config: pytest.Config, names: list[str]) -> None:
        self._config = config
        self._names = names

    def pytest_collection_finish(self, session: pytest.Session) -> None:
        if any("regcheck" in getattr(item, "fixturenames", ()) for item in session.items):
            self._names = [name for name in self._names if name in OPTIONS_OF_SESSIONS]
        words = [str(each).partition("=")[0] for each in self._config.invocation_params.args]
        typed = any(f"--regcheck-{name}" in words for name in self._names)
        if typed and not hasattr(self._config, "workerinput"):
            raise pytest.UsageError(self._message)

    def pytest_terminal_summary(
        self, terminalreporter: pytest.TerminalReporter, exitstatus: int | pytest.ExitCode
    ) -> None:
        if self._names and exitstatus != pytest.ExitCode.USAGE_ERROR:
            terminalreporter.write_line(self._message, yellow=True)

    @property
    def _message(self) -> str:
        need = "needs" if len(self._names) == 1 else "need"
        names = ", ".join(f"--regcheck-{name}" for name in self._names)
        return f"regcheck: no test was watched and no report written: {names} {need} --regcheck"


@pytest.fixture
def regcheck(request: pytest.FixtureRequest) -> Callable[..., Report]:
    """Check a model: `regcheck(model, *inputs)` has the arguments of `regcheck.audit` and may fail the test."""
    try:
        import torch  # noqa: F401, only asked whether it is there
    except ModuleNotFoundError:
        pytest.fail("the fixture `regcheck` needs torch: `pip install 'regcheck[torch]'`", pytrace=False)
    from regcheck.suite.auditor import auditor

    return auditor(request.node)
