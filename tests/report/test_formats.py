"""The registry of formats."""

from __future__ import annotations

import pytest

from regcheck.core.errors import UsageError
from regcheck.core.report import Report
from regcheck.report import FORMATS, rendered


@pytest.mark.parametrize("format", FORMATS)
def test_every_format_renders_the_empty_report(format: str) -> None:
    """Each format of the registry is there, and its text ends in a newline."""
    assert rendered(Report(), format).endswith("\n")


@pytest.mark.parametrize(
    ("format", "says"), [("jsn", "did you mean 'json'"), ("", "known: full, concise, json, sarif")]
)
def test_formats_that_do_not_exist_are_refused(format: str, says: str) -> None:
    """An unknown format is an error that names its nearest neighbour and lists those there are."""
    with pytest.raises(UsageError, match=says):
        rendered(Report(), format)
