"""Models that the configuration or a conftest names, as items of the suite."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import TYPE_CHECKING, Any

import pytest

from regcheck.core.errors import CannotBuild, RegcheckError, format_error, nearest
from regcheck.core.finding import NotChecked
from regcheck.core.report import Report, asked_by_name
from regcheck.report.concise import unchecked
from regcheck.suite.auditor import failure_text, on_devices_in_use, store
from regcheck.suite.settings import options_of

if TYPE_CHECKING:
    from regcheck.config.options import Options

PREFIX = "regcheck::"
"""What the node ids of these items begin with."""


class ModelItem(pytest.Item):
    """`regcheck::NAME`: builds and checks one model, and fails when the check fails.

    The check is the item's setup, so that a model which cannot be checked is an error, as a failing fixture is.
    """

    def __init__(self, *, options: Options, make: Callable[[], Any] | None, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self._options = options
        self._make = make
        self._report: Report | None = None
        self.extra_keyword_matches.add("regcheck")

    def setup(self) -> None:
        """Build the model and check it; where it could not be built, traced or run, an error says why."""
        from regcheck.suppression.apply import report_under, shown_path

        model = None
        try:
            model, report = self._checked()
        except Exception as error:
            missed = NotChecked(self.name, f"checking it failed: {format_error(error)}", "please report this")
            if isinstance(error, CannotBuild):
                missed = NotChecked(self.name, str(error), error.what_to_do, shown_path(error.path), error.line)
            elif isinstance(error, RegcheckError):
                missed = NotChecked(self.name, str(error))
            report = report_under(self._options, not_checked=(missed,), subjects=(self.name,))
        self._report = asked_by_name(report, self.name, ran=self._options.run)
        store(self, self._report, model)
        if self._report.blocked:
            pytest.fail("\n".join(map(unchecked, self._report.not_checked)), pytrace=False)

    def runtest(self) -> None:
        assert self._report is not None
        if not self._report.ok:
            pytest.fail(failure_text(self._report, self.config), pytrace=False)

    def _checked(self) -> tuple[Any, Report]:
        from regcheck.engine.audit import audit
        from regcheck.probe.process_state import world_untouched
        from regcheck.probe.seeds import seed_everything

        with world_untouched():
            seed_everything(self._options.seed)
            model, *inputs = self._built()
        return model, audit(model, *inputs, options=on_devices_in_use(self._options))

    def _built(self) -> tuple[Any, ...]:
        """The model, and the inputs where its function gave some."""
        from regcheck.engine.targets import build, made_by

        if self._make is None:
            return (build(self.name, self._options.seed),)
        model = made_by(self._make)
        return model if isinstance(model, tuple) and model else (model,)

    def repr_failure(self, excinfo: pytest.ExceptionInfo[BaseException], *args: Any) -> Any:
        if isinstance(excinfo.value, RegcheckError):
            return str(excinfo.value)
        return super().repr_failure(excinfo, *args)

    def reportinfo(self) -> tuple[Any, int | None, str]:
        return self.config.rootpath / "regcheck", None, f"regcheck of {self.name}"


class Models:
    """Adds the items. Removes arguments `regcheck::NAME`, which pytest would take for files."""

    def __init__(self, config: pytest.Config) -> None:
        self._requested = [each.removeprefix(PREFIX) for each in config.args if each.startswith(PREFIX)]
        self._requested_tests = [each for each in config.args if not each.startswith(PREFIX)]
        config.args[:] = self._requested_tests

    @pytest.hookimpl(tryfirst=True)
    def pytest_collection_modifyitems(self, session: pytest.Session, items: list[pytest.Item]) -> None:
        models = targets(session.config)
        for name in self._requested:
            if name not in models:
                raise pytest.UsageError(f"regcheck: there is no model {name!r}{nearest(name, models)} to check")
        single = bool(self._requested) or any("::" in each for each in self._requested_tests)
        options = options_of(session.config) if models else None
        for name in self._requested if single else models:
            items.append(
                ModelItem.from_parent(session, name=name, nodeid=f"{PREFIX}{name}", options=options, make=models[name])
            )


def targets(config: pytest.Config) -> dict[str, Callable[[], Any] | None]:
    """The models to check by name, each with the function that makes it where it is no target of `regcheck audit`.

    Raises:
        pytest.UsageError: a hook returned something else, or two functions have one name.
    """
    models: dict[str, Callable[[], Any] | None] = dict.fromkeys(options_of(config).models)
    for returned in config.hook.pytest_regcheck_targets(config=config):
        for name, make in _by_name(returned):
            if make is not None and name in models:
                raise pytest.UsageError(f"regcheck: two models are called {name!r}; give one of them another name")
            models.setdefault(name, make)
    return models


def _by_name(returned: Any) -> Iterator[tuple[str, Callable[[], Any] | None]]:
    """The names and functions that one `pytest_regcheck_targets` returned."""
    if isinstance(returned, Mapping) and all(
        isinstance(name, str) and callable(make) for name, make in returned.items()
    ):
        yield from returned.items()
    elif isinstance(returned, (list, tuple, set, frozenset)) and all(isinstance(each, str) for each in returned):
        yield from ((each, None) for each in returned)
    else:
        raise pytest.UsageError(
            "regcheck: `pytest_regcheck_targets` returns a list of targets, or a dictionary from names to functions "
            f"that make a model, not {returned!r}"
        )
