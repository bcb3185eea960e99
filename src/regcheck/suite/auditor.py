"""What the `regcheck` fixture hands to a test."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any

import pytest

from regcheck.auditing import audit
from regcheck.config.options import Options
from regcheck.core.report import Report
from regcheck.suite.models import on_devices_in_use
from regcheck.suite.settings import declared_by, options_of


def auditor(item: pytest.Item) -> Callable[..., Report]:
    """`audit` with the session's options, failing the test with the report's text.

    What the test's marker ignores is ignored.
    """

    def regcheck(
        model: Any, *args: Any, optimizer: Any = None, options: Options | Mapping[str, Any] | None = None, **kwargs: Any
    ) -> Report:
        __tracebackhide__ = True
        chosen = options_of(item.config) if options is None else Options.of(options)
        chosen = replace(chosen, ignore=(*chosen.ignore, *(each.pattern for each in declared_by(item, chosen))))
        report = audit(model, *args, optimizer=optimizer, options=on_devices_in_use(chosen), **kwargs)
        if not report.ok:
            pytest.fail(str(report), pytrace=False)
        return report

    return regcheck
