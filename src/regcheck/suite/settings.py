"""The options and markers of a test session: command line, configuration, suite."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from regcheck import report
from regcheck.config import select
from regcheck.config.load import load
from regcheck.config.options import Options, severity
from regcheck.core.errors import RegcheckError, UsageError
from regcheck.core.suppressions import CodeSuppression
from regcheck.files.place import Place
from regcheck.files.text import lines_of
from regcheck.plugins import catalogue, manager
from regcheck.suppression.baseline import Baseline

WATCHED_BUDGET = 2.0
"""The default budget for proving the findings of one watched model, in seconds of one ordinary core."""

_FORM = '@pytest.mark.regcheck(ignore=["…"])'


def _words(text: str) -> tuple[str, ...]:
    return tuple(word.strip() for word in text.split(",") if word.strip())


def _seconds(text: str) -> float:
    try:
        seconds = float(text)
    except ValueError:
        seconds = -1.0
    if not seconds >= 0:
        raise UsageError(f"--regcheck-budget takes a number of seconds, zero or more, not {text!r}")
    return seconds


def _seed(text: str) -> int:
    if not text.isdecimal():
        raise UsageError(f"--regcheck-seed takes a number, zero or more, not {text!r}")
    return int(text)


READERS: dict[str, tuple[str, Callable[[Any], Any]]] = {
    "select": ("select", _words),
    "ignore": ("ignore", _words),
    "extend_select": ("extend_select", _words),
    "fail_on": ("fail_on", severity),
    "device": ("devices", _words),
    "budget": ("budget", _seconds),
    "seed": ("seed", _seed),
    "strict": ("strict", bool),
    "baseline": ("baseline", str),
}
"""The field of `Options` for each `--regcheck-…` option, and the function that reads its text."""


def options_of(config: pytest.Config, *, watched: bool = False) -> Options:
    """The options of the project's configuration, overridden by the command line.

    `watched` selects the options for models that the tests run, rather than for models that are named.

    Raises:
        pytest.UsageError: one of them cannot be understood.
    """
    try:
        values = {name: config.getoption(f"regcheck_{name}") for name in READERS}
        values["fail_on"] = values["fail_on"] or config.getini("regcheck_fail_on") or None
        said: dict[str, Any] = {
            field: read(values[name]) for name, (field, read) in READERS.items() if values[name] is not None
        }
        options = load(config.rootpath, defaults={"budget": WATCHED_BUDGET} if watched else None)
        options = replace(options, budget_named="`--regcheck-budget`", **said)
        if options.baseline:
            options = replace(options, baseline=str(config.invocation_params.dir / options.baseline))
            Baseline.read(Path(options.baseline))
        if manager() is not None or any(select.patterns_of(options)):  # else no rule is needed before a model is called
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
    for option in config.getoption("regcheck_report"):
        form, colon, name = option.partition(":")
        try:
            if not colon or not name:
                raise UsageError(f"--regcheck-report takes FORMAT:PATH, as in json:regcheck.json, not {option!r}")
            files.append((report.checked_format(form), config.invocation_params.dir / name))
        except UsageError as error:
            raise pytest.UsageError(f"regcheck: {error}") from None
    return tuple(files)


def declared_by(item: pytest.Item, options: Options) -> tuple[CodeSuppression, ...]:
    """What the markers on a test ignore.

    Raises:
        UsageError: a marker that cannot be understood, names no rule, or lacks the reason that the options require.
    """
    declared: list[CodeSuppression] = []
    for node, marker in item.iter_markers_with_node("regcheck"):
        unknown = set(marker.kwargs) - {"ignore", "reason"}
        if marker.args or unknown:
            raise UsageError(f"{item.nodeid}: write the marker as `regcheck(ignore=[…], reason=…)`")
        patterns, reason = marker.kwargs.get("ignore", ()), marker.kwargs.get("reason", "")
        codes = (patterns,) if isinstance(patterns, str) else tuple(patterns)
        for code in codes:
            if not any(select.ignores(rule.code, (code,), rule.name) for rule in catalogue()):
                raise UsageError(f"{item.nodeid}: {select.unknown_rule(code, catalogue())}")
        if codes and options.require_reason and not reason:
            raise UsageError(f"{item.nodeid}: the marker ignores {', '.join(codes)} without a reason")
        declared += [CodeSuppression(code, str(reason), _place(node, code), _FORM) for code in codes]
    return tuple(declared)


def _place(node: Any, code: str) -> Place:
    """Where the marker of a function, a class or a module stands: the first line from there on that looks like it."""
    path, first = str(node.path), (node.reportinfo()[1] or 0) + 1 if hasattr(node, "reportinfo") else 1
    lines = lines_of(path)
    near = (number for number, line in enumerate(lines[first - 1 :], first) if "regcheck" in line and code in line)
    number = next(near, first)
    source = (lines[number - 1 :] or [""])[0]
    return Place(path, number, len(source) - len(source.lstrip()) + 1)
