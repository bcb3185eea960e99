"""Models that the configuration or a conftest names, as items of the suite."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import TYPE_CHECKING, Any

import pytest

from regcheck.core.errors import CannotBuild, RegcheckError, nearest
from regcheck.suite.settings import options_of

if TYPE_CHECKING:
    from regcheck.config.options import Options
    from regcheck.core.report import Report

PREFIX = "regcheck::"
"""What the node ids of these items begin with."""


class ModelItem(pytest.Item):
    """`regcheck::NAME`: builds one model, checks it, and fails when the check fails.

    Then `report` is there, and `model_key`, which is equal for models that are built alike.
    """

    def __init__(self, *, options: Options, make: Callable[[], Any] | None, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self._options = options
        self._make = make
        self.report: Report | None = None
        self.model_key = ""
        self.extra_keyword_matches.add("regcheck")

    def runtest(self) -> None:
        from regcheck import plugins
        from regcheck.auditing import audit
        from regcheck.probe.restore import world_untouched
        from regcheck.probe.seeds import seed_everything

        with world_untouched():
            seed_everything(self._options.seed)
            try:
                model, *inputs = self._built()
            except CannotBuild as error:
                reason = f"not checked: {error}" + (f"; {error.what_to_do}" if error.what_to_do else "")
                (pytest.fail if self._options.strict else pytest.skip)(reason)
            keywords: dict[str, Any] = {}
            if not inputs:
                inputs, keywords = plugins.call("regcheck_inputs", model=model) or (inputs, keywords)
        self.report = audit(model, *inputs, options=self._options, **keywords)
        self.model_key = key_of(model)
        self.report.raise_if_failed()

    def _built(self) -> tuple[Any, ...]:
        """The model, and the inputs where its function gave some."""
        from regcheck.targets import build, made_by

        if self._make is None:
            return (build(self.name, self._options.seed),)
        made = made_by(self._make)
        return made if isinstance(made, tuple) and made else (made,)

    def repr_failure(self, excinfo: pytest.ExceptionInfo[BaseException], *args: Any) -> Any:
        if isinstance(excinfo.value, RegcheckError):
            return str(excinfo.value)
        return super().repr_failure(excinfo, *args)

    def reportinfo(self) -> tuple[Any, int | None, str]:
        return self.config.rootpath / "regcheck", None, f"regcheck of {self.name}"


def key_of(model: Any) -> str:
    """What captures of a model tell it by: equal for models that are built alike."""
    from regcheck.trace.unwrap import unwrapped
    from regcheck.watcher.models import fingerprint

    return fingerprint(unwrapped(model))


class Models:
    """Adds the items. Arguments `regcheck::NAME` are kept from pytest, which would look for such a file."""

    def __init__(self, config: pytest.Config) -> None:
        self._asked = [each.removeprefix(PREFIX) for each in config.args if each.startswith(PREFIX)]
        self._tests_asked = [each for each in config.args if not each.startswith(PREFIX)]
        config.args[:] = self._tests_asked

    @pytest.hookimpl(tryfirst=True)
    def pytest_collection_modifyitems(self, session: pytest.Session, items: list[pytest.Item]) -> None:
        made = targets(session.config)
        for name in self._asked:
            if name not in made:
                raise pytest.UsageError(f"regcheck: there is no model {name!r}{nearest(name, made)} to check")
        single = bool(self._asked) or any("::" in each for each in self._tests_asked)
        options = options_of(session.config) if made else None
        for name in self._asked if single else made:
            items.append(
                ModelItem.from_parent(session, name=name, nodeid=f"{PREFIX}{name}", options=options, make=made[name])
            )


def targets(config: pytest.Config) -> dict[str, Callable[[], Any] | None]:
    """The models to check by name, each with the function that makes it where it is no target of `regcheck audit`.

    Raises:
        pytest.UsageError: a hook returned something else, or two functions have one name.
    """
    found: dict[str, Callable[[], Any] | None] = dict.fromkeys(options_of(config).models)
    for given in config.hook.pytest_regcheck_targets(config=config):
        for name, make in _named(given):
            if make is not None and name in found:
                raise pytest.UsageError(f"regcheck: two models are called {name!r}; give one of them another name")
            found.setdefault(name, make)
    return found


def _named(given: Any) -> Iterator[tuple[str, Callable[[], Any] | None]]:
    """What one `pytest_regcheck_targets` returned."""
    if isinstance(given, Mapping) and all(isinstance(name, str) and callable(make) for name, make in given.items()):
        yield from given.items()
    elif isinstance(given, (list, tuple, set, frozenset)) and all(isinstance(each, str) for each in given):
        yield from ((each, None) for each in given)
    else:
        raise pytest.UsageError(
            "regcheck: `pytest_regcheck_targets` returns a list of targets, or a dictionary from names to functions "
            f"that make a model, not {given!r}"
        )
