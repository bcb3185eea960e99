"""The models named in `[tool.regcheck]`, as items of the suite."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any

import pytest
import torch

from regcheck.auditing import audit
from regcheck.config.options import Options
from regcheck.core.errors import CannotBuild, RegcheckError
from regcheck.suite.findings import Findings
from regcheck.targets import build


class ModelItem(pytest.Item):
    """`regcheck::TARGET`: builds one configured model, checks it, and fails when the check fails."""

    def __init__(self, *, options: Options, findings: Findings, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self._options = options
        self._findings = findings
        self.extra_keyword_matches.add("regcheck")

    def runtest(self) -> None:
        with torch.random.fork_rng():
            torch.manual_seed(self._options.seed)
            try:
                model = build(self.name)
            except CannotBuild as error:
                reason = f"not checked: {error}" + (f"; {error.what_to_do}" if error.what_to_do else "")
                (pytest.fail if self._options.strict else pytest.skip)(reason)
        report = audit(model, options=self._options)
        self._findings.add(report, self.nodeid)
        self._findings.models[self.nodeid] = None
        report.raise_if_failed()

    def repr_failure(self, excinfo: pytest.ExceptionInfo[BaseException], *args: Any) -> Any:
        if isinstance(excinfo.value, RegcheckError):
            return str(excinfo.value)
        return super().repr_failure(excinfo, *args)

    def reportinfo(self) -> tuple[Any, int | None, str]:
        return self.config.rootpath / "regcheck", None, f"regcheck of {self.name}"


def model_items(session: pytest.Session, options: Options, findings: Findings) -> Iterator[pytest.Item]:
    """An item for each configured model."""
    for target in _distinct(options.models):
        yield ModelItem.from_parent(
            session, name=target, nodeid=f"regcheck::{target}", options=options, findings=findings
        )


def _distinct(targets: Iterable[str]) -> Iterable[str]:
    return dict.fromkeys(targets)
