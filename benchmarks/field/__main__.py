"""Run tools on the cases, each in its own environment, and hold what they say against the labels."""

from __future__ import annotations

import argparse
import json
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Mapping
from pathlib import Path
from types import ModuleType
from typing import Any

from . import VERSION, page, results
from .cases import Case, cases, kinds
from .results import Results
from .tools import tools

ROOT = Path(__file__).parents[2]
ENVIRONMENTS = ROOT / "build" / "field"


def python_of(name: str, tool: ModuleType) -> str:
    """The interpreter of a tool's environment, which is created where it is missing.

    Raises:
        RuntimeError: it cannot be installed.
    """
    if not tool.REQUIREMENTS:
        return sys.executable
    folder = ENVIRONMENTS / name
    python = folder / "bin" / "python"
    ready = folder / "ready"
    if not ready.exists():
        interpreter = shutil.which(getattr(tool, "PYTHON", sys.executable))
        if interpreter is None:
            raise RuntimeError(f"needs {tool.PYTHON}, which is not on PATH")
        subprocess.run([interpreter, "-m", "venv", "--clear", str(folder)], check=True)
        command = [str(python), "-m", "pip", "install", "--quiet", *tool.REQUIREMENTS]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        if done.returncode:
            raise RuntimeError(done.stderr.strip()[-500:])
        ready.touch()
    return str(python)


def answers(name: str, tool: ModuleType, chosen: list[Case]) -> Iterator[tuple[str, dict[str, Any]]]:
    """The worker's answer about each case, in order.

    Raises:
        RuntimeError: the tool cannot be installed or started.
    """
    python = python_of(name, tool)
    with (
        tempfile.TemporaryDirectory() as scratch,
        subprocess.Popen(
            [python, "-m", "benchmarks.field.worker", name],
            cwd=ROOT,
            env={**os.environ, "OMP_NUM_THREADS": "1", "PYTHONDONTWRITEBYTECODE": "1"},
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        ) as worker,
    ):
        assert worker.stdin is not None
        assert worker.stdout is not None
        for number, case in enumerate(chosen):
            folder = Path(scratch) / f"case{number}"
            case.write(folder)
            advice = case.kind if case.advice else ""
            print(
                json.dumps({"folder": str(folder), "model": case.model, "advice": advice}),
                file=worker.stdin,
                flush=True,
            )
            answer = worker.stdout.readline()
            if not answer:
                raise RuntimeError(f"the worker ended with {worker.wait()} at {case.id}")
            yield case.id, json.loads(answer)
        worker.stdin.close()


def run(name: str, tool: ModuleType, chosen: list[Case]) -> Results:
    """What a tool says of the cases, or why it does not run."""
    found = Results(tool.WAY, tuple(tool.REQUIREMENTS))
    seconds = 0.0
    try:
        for case, answer in answers(name, tool, chosen):
            found.note(case, answer)
            seconds += answer["seconds"]
    except RuntimeError as error:
        found.failure = str(error)
    found.seconds = round(seconds / len(chosen), 3)
    return found


def fallen(before: Mapping[str, Results], now: Mapping[str, Results], chosen: list[Case]) -> Iterator[str]:
    """The cases that a tool got right in the stored results and gets wrong now."""
    for name in before.keys() & now.keys():
        for old, new in zip(before[name].judged(chosen), now[name].judged(chosen), strict=True):
            if old.agrees and not new.agrees:
                yield f"{name} {new.case.id}: {page.said(new) or 'missed'}"


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.field", description=__doc__)
    known = tools()
    parser.add_argument(
        "--tool",
        action="append",
        choices=[*known],
        metavar="NAME",
        help=f"run this tool; all by default: {', '.join(known)}",
    )
    parser.add_argument(
        "--kind", action="append", choices=kinds(), metavar="KIND", help="run the cases of this kind, and store nothing"
    )
    parser.add_argument(
        "--check", action="store_true", help="run regcheck's doors; fail if a case is worse than stored"
    )
    parser.add_argument("--disagreements", action="store_true", help="print the cases that a tool gets wrong")
    parser.add_argument("--page", action="store_true", help="write docs/field.md from the stored results, and stop")
    options = parser.parse_args()
    if options.page:
        page.write(*results.load())
        return 0
    chosen = cases(options.kind)
    names = options.tool or [name for name in known if not options.check or name.startswith("regcheck")]
    now: dict[str, Results] = {}
    for name in names:
        now[name] = run(name, known[name], chosen)
        print(page.line(name, now[name], chosen), flush=True)
        if options.disagreements:
            print(*page.disagreements(name, now[name], chosen), sep="\n")
    if options.check:
        worse = sorted(fallen(results.load()[1], now, chosen))
        print(*worse, f"{len(worse)} cases are worse than in {results.FILE.name}", sep="\n")
        return int(bool(worse))
    if not options.kind:
        merged = results.load()[1] | now
        results.store(VERSION, {name: merged[name] for name in known if name in merged})
        page.write(*results.load())
    return 0


if __name__ == "__main__":
    sys.exit(main())
