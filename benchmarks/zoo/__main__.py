"""Examine the zoo, one process per model, and write a JSON line for each.

    PYTHONPATH=src:benchmarks python -m zoo --out zoo.jsonl              every library
    PYTHONPATH=src:benchmarks python -m zoo timm --sample 40             forty of one, spread evenly
    PYTHONPATH=src:benchmarks python -m zoo --summary zoo.jsonl          the table, and every finding by its place

Models that the file already holds are skipped, so an interrupted run can be taken up again.
"""

from __future__ import annotations

import argparse
import json
import os
from collections.abc import Iterator
from fnmatch import fnmatch
from pathlib import Path

import torch
from rich.progress import Progress
from torch import nn

from regcheck import audit
from zoo.drive import Limits, rows
from zoo.entry import Entry
from zoo.libraries import LIBRARIES, entries
from zoo.summary import summary


def main() -> None:
    options = parsed()
    if options.summary:
        read = [json.loads(line) for path in options.summary for line in path.read_text().splitlines()]
        print(summary(read))
        return
    os.environ.setdefault("HF_HUB_OFFLINE", "1")
    torch.set_num_threads(1)
    audit(nn.Linear(2, 2), torch.zeros(1, 2))  # loads, before the first fork, whatever an audit loads
    done = set()
    if options.out.exists():
        done = {(row["library"], row["model"]) for row in map(json.loads, options.out.read_text().splitlines())}
    for library in options.libraries or LIBRARIES:
        todo = [each for each in chosen(library, options.only, options.sample) if each.key not in done]
        with Progress() as progress, options.out.open("a") as out:
            task = progress.add_task(library, total=len(todo))
            for row in rows(todo, options.jobs, Limits(options.timeout, options.memory, not options.untimed)):
                out.write(json.dumps(row) + "\n")
                out.flush()
                progress.advance(task)


def chosen(library: str, only: str | None, sample: int | None) -> Iterator[Entry]:
    """Returns the models whose names match, or a sample of them, spread evenly."""
    found = [each for each in entries(library) if only is None or fnmatch(each.name, only)]
    count = min(sample or len(found), len(found))
    return (found[index * len(found) // count] for index in range(count))


def parsed() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="python -m zoo", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("libraries", nargs="*", metavar="LIBRARY", help=f"of {', '.join(LIBRARIES)}; all by default")
    parser.add_argument("--out", type=Path, default=Path("zoo.jsonl"), help="the file to add to (default: %(default)s)")
    parser.add_argument("--only", metavar="PATTERN", help="models whose names match, as in 'resnet*'")
    parser.add_argument("--sample", type=int, metavar="N", help="so many of each library, always the same")
    parser.add_argument("--jobs", type=int, default=1, help="models at a time (default: %(default)s)")
    parser.add_argument(
        "--timeout", type=float, default=60.0, help="processor seconds for each model (default: %(default)s)"
    )
    parser.add_argument("--memory", type=float, default=8.0, help="gigabytes for each model (default: %(default)s)")
    parser.add_argument("--untimed", action="store_true", help="do not time what recording costs")
    parser.add_argument("--summary", type=Path, nargs="+", metavar="FILE", help="tell what the files hold, run nothing")
    options = parser.parse_args()
    unknown = [each for each in options.libraries if each not in LIBRARIES]
    if unknown:
        parser.error(f"unknown: {', '.join(unknown)}; there are {', '.join(LIBRARIES)}")
    return options


if __name__ == "__main__":
    main()
