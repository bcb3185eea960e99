"""`regcheck scan [PATH…]`: source only, without torch."""

from __future__ import annotations

from collections.abc import Sequence

from regcheck.cli.arguments import Parser, add_common, options_from
from regcheck.cli.output import finish
from regcheck.scanning import scan


def run(argv: Sequence[str]) -> int:
    """Scan and report; return the exit code."""
    parser = Parser("regcheck scan", "Examine Python source for the same faults, without importing it or torch.")
    parser.add_argument("paths", metavar="PATH", nargs="*", default=["."], help="files and folders (default: here)")
    parser.add_argument("--no-cache", action="store_true", help="scan anew, and keep no result for the next time")
    add_common(parser)
    arguments = parser.parse(argv)
    report = scan(arguments.paths or ["."], options_from(arguments), cached=not arguments.no_cache)
    return finish(report, arguments)
