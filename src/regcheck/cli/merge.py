"""`regcheck merge REPORT…`: join the reports of shards, machines or ranks into one."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from regcheck.cli.common_options import Parser, add_output_options
from regcheck.cli.output import publish
from regcheck.config.options import Options
from regcheck.core.errors import UsageError
from regcheck.core.join import join
from regcheck.core.report import Report
from regcheck.report.parse import read_report


def argument_parser() -> Parser:
    """Returns the parser of the verb's arguments."""
    parser = Parser("regcheck merge", "Join reports into one, and exit as the run of all of them would.")
    parser.add_argument(
        "reports",
        metavar="REPORT",
        nargs="*",
        type=Path,
        help="a report in JSON or JSON Lines, as `--output-format json` and `--regcheck-report json:FILE` write it",
    )
    parser.add_argument(
        "--expect",
        metavar="N",
        type=int,
        help="the number of reports: fewer (a shard that died before it wrote one) or more are wrong usage",
    )
    add_output_options(parser)
    parser.add_argument("--show-refuted", action="store_true", help="also show suspicions that measurements refuted")
    parser.set_defaults(write_baseline=False)
    return parser


def run(argv: Sequence[str]) -> int:
    """Publish one report of all, and return its exit code."""
    arguments = argument_parser().parse(argv)
    files: list[Path] = arguments.reports
    if not files:
        raise UsageError("name the reports to merge, as in `regcheck merge shard-*.json`")
    if arguments.expect not in (None, len(files)):
        raise UsageError(f"{arguments.expect} reports expected, and {len(files)} named")
    reports = {file: read_report(file) for file in files}
    refuse_unlike(reports)
    return publish(join(reports.values()), arguments, Options())


def refuse_unlike(reports: dict[Path, Report]) -> None:
    """Refuse reports that say different things by the same words.

    Raises:
        UsageError: some are of scans and others of running models, or their seeds differ; with two of their names.
    """
    (first, one), *others = reports.items()
    for file, other in others:
        if one.live != other.live:
            scan, run = (first, file) if other.live else (file, first)
            raise UsageError(f"{scan} is of a scan, which measures nothing, and {run} is not: merge them separately")
        if one.seed != other.seed:
            raise UsageError(f"{first} has the seed {one.seed}, and {file} the seed {other.seed}: use one seed")
