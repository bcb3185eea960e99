"""The `regcheck` fixture, and the reports of the audits that tests and items request."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any, NamedTuple

import pytest

from regcheck.config.options import Options
from regcheck.core.report import Report
from regcheck.suite.settings import declared_by, options_of


class RequestedReport(NamedTuple):
    """A report that an item requested, and its model's structural key: equal for models that are built alike."""

    report: Report
    model_key: str = ""


REQUESTED: pytest.StashKey[list[RequestedReport]] = pytest.StashKey()
"""The reports that an item requested so far, in its stash; the monitor reads them when the item is over."""


def store(item: pytest.Item, report: Report, model: Any = None) -> None:
    """Store a report for the monitor. A test may change folders, so the paths become absolute."""
    findings = tuple(each.at(_absolute(each.path)) for each in report.findings)
    missed = tuple(replace(each, path=_absolute(each.path)) for each in report.not_checked)
    report = replace(report, findings=findings, not_checked=missed)
    key = "" if model is None else key_of(model)
    item.stash.setdefault(REQUESTED, []).append(RequestedReport(report, key))


def _absolute(path: str | None) -> str | None:
    return path if path is None or path.startswith("<") else os.path.abspath(path)


def key_of(model: Any) -> str:
    """The structural key of a model, as its captures have it."""
    from regcheck.runtime.models import fingerprint
    from regcheck.tracing.unwrap import unwrapped

    return fingerprint(unwrapped(model))


def auditor(item: pytest.Item) -> Callable[..., Report]:
    """`audit` with the session's options, failing the test with the report's text.

    The test's markers suppress findings as a block around the audit does.
    """
    from regcheck.engine.audit import audit
    from regcheck.suppression.declare import declaring

    def regcheck(
        model: Any, *args: Any, optimizer: Any = None, options: Options | Mapping[str, Any] | None = None, **kwargs: Any
    ) -> Report:
        __tracebackhide__ = True
        chosen = options_of(item.config) if options is None else Options.of(options)
        with declaring(declared_by(item, chosen)):
            report = audit(model, *args, optimizer=optimizer, options=on_devices_in_use(chosen), **kwargs)
        store(item, report, model)
        if not report.ok:
            pytest.fail(failure_text(report, item.config), pytrace=False)
        return report

    return regcheck


def failure_text(report: Report, config: pytest.Config) -> str:
    """Why a check failed its item: the places alone where the section of this session shows the findings."""
    if not config.pluginmanager.has_plugin("regcheck-watching"):
        return str(report)
    lines = [f"{each.where} {each.title}" for each in (*report.failures, *report.doubts)]
    return "\n".join([*lines, f"{report.headline}; the section `regcheck` below says more"])


def on_devices_in_use(options: Options) -> Options:
    """The options with the devices that the suite uses already in place of `auto`, which would initialize another."""
    from regcheck.probe import devices

    return replace(options, devices=devices.chosen(options.devices, watched=True))
