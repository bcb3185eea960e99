"""What the command line, the configuration and the markers of a test session ask for."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from regcheck import report
from regcheck.config import select
from regcheck.config.baseline import Baseline
from regcheck.config.load import load
from regcheck.config.options import Options, severity
from regcheck.core.errors import RegcheckError, UsageError
from regcheck.plugins import catalogue


def _words(text: str) -> tuple[str, ...]:
    return tuple(word.strip() for word in text.split(",") if word.strip())


_READERS: dict[str, tuple[str, Callable[[Any], Any]]] = {
    "select": ("select", _words),
    "ignore": ("ignore", _words),
    "fail_on": ("fail_on", severity),
    "device": ("devices", _words),
    "strict": ("strict", bool),
    "baseline": ("baseline", str),
}
"""The field of `Options` that each `--regcheck-…` option gives, and how its text is read."""


def options_of(config: pytest.Config) -> Options:
    """The options of the project's configuration, with what the command line says in their place.

    Raises:
        pytest.UsageError: one of them cannot be understood.
    """
    try:
        given = {name: config.getoption(f"regcheck_{name}") for name in _READERS}
        said: dict[str, Any] = {
            field: read(given[name]) for name, (field, read) in _READERS.items() if given[name] is not None
        }
        options = replace(load(config.rootpath), **said)
        if options.baseline:
            options = replace(options, baseline=str(config.invocation_params.dir / options.baseline))
            Baseline.read(Path(options.baseline))
        select.chosen(catalogue(), options)
    except RegcheckError as error:
        raise pytest.UsageError(f"regcheck: {error}") from None
    return options


def report_files_of(config: pytest.Config) -> tuple[tuple[str, Path], ...]:
    """The formats and paths of `--regcheck-report`.

    Raises:
        pytest.UsageError: one of them is not of the form FORMAT:PATH, or there is no such format.
    """
    files = []
    for given in config.getoption("regcheck_report"):
        form, colon, path = given.partition(":")
        try:
            if not colon or not path:
                raise UsageError(f"--regcheck-report takes FORMAT:PATH, as in json:regcheck.json, not {given!r}")
            files.append((report.known(form), config.invocation_params.dir / path))
        except UsageError as error:
            raise pytest.UsageError(f"regcheck: {error}") from None
    return tuple(files)


def ignored_by(item: pytest.Item, options: Options) -> tuple[str, ...]:
    """The rules that the markers on a test ignore.

    Raises:
        UsageError: a marker that cannot be understood, names no rule, or lacks the reason that the options require.
    """
    patterns: list[str] = []
    for marker in item.iter_markers("regcheck"):
        unknown = set(marker.kwargs) - {"ignore", "reason"}
        if marker.args or unknown:
            raise UsageError(f"{item.nodeid}: write the marker as `regcheck(ignore=[…], reason=…)`")
        given = marker.kwargs.get("ignore", ())
        codes = (given,) if isinstance(given, str) else tuple(given)
        for code in codes:
            if not any(select.ignores(rule.code, (code,), rule.name) for rule in catalogue()):
                raise UsageError(f"{item.nodeid}: {select.unknown_rule(code, catalogue())}")
        if codes and options.require_reason and not marker.kwargs.get("reason"):
            raise UsageError(f"{item.nodeid}: the marker ignores {', '.join(codes)} without a reason")
        patterns += codes
    return tuple(patterns)
