"""Where a finished report goes."""

from __future__ import annotations

import os
import sys
from argparse import Namespace
from pathlib import Path

from regcheck import plugins
from regcheck.core.errors import UsageError
from regcheck.core.report import Report
from regcheck.report import rendered
from regcheck.report.view import View


def finish(report: Report, arguments: Namespace) -> int:
    """Tell the plugins, write the report as asked, and return its exit code.

    Raises:
        UsageError: the output file cannot be written.
    """
    plugins.call("regcheck_report", report=report)
    file: Path | None = arguments.output_file
    view = View(arguments.show_refuted, arguments.statistics, color=file is None and colored())
    text = rendered(report, arguments.output_format, view)
    if file is None:
        print(text, end="", flush=True)
    else:
        try:
            file.write_text(text, encoding="utf-8")
        except OSError as error:
            raise UsageError(f"--output-file {file}: cannot be written: {error.strerror}") from None
    return report.exit_code


def colored() -> bool:
    """Whether standard output wants colour: a terminal does, unless the environment says otherwise."""
    if os.environ.get("NO_COLOR"):
        return False
    return bool(os.environ.get("FORCE_COLOR")) or sys.stdout.isatty()
