"""A report as text, in a format chosen by name. Each format is one module with `render(report, view)`."""

from __future__ import annotations

from importlib import import_module

from regcheck.core.errors import unknown
from regcheck.core.report import Report
from regcheck.report.view import View

FORMATS = {
    "full": "terminal",
    "concise": "concise",
    "json": "json",
    "json-lines": "json_lines",
    "sarif": "sarif",
    "github": "github",
    "gitlab": "gitlab",
    "junit": "junit",
    "html": "html",
}
"""Every format, and the module of this package that renders it."""


def rendered(report: Report, format: str = "full", view: View | None = None) -> str:
    """The report as text that ends in a newline.

    Raises:
        UsageError: there is no such format, with its nearest neighbour.
    """
    view = view or View()
    module = import_module(f"{__name__}.{FORMATS[checked_format(format)]}")
    text: str = module.render(report, view)
    return text


def checked_format(format: str) -> str:
    """Return the name of a format, if there is such a format.

    Raises:
        UsageError: there is none, with its nearest neighbour.
    """
    if format not in FORMATS:
        raise unknown("output format", format, FORMATS)
    return format
