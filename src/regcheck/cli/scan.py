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
    add_common(parser)
    arguments = parser.parse(argv)
    return finish(scan(arguments.paths or ["."], options=options_from(arguments)), arguments)
