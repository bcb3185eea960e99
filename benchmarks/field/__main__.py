"""Run tools on the cases: see `python -m benchmarks.field --help`."""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
import venv
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

from . import VERSION, page
from .cases import Case, cases
from .score import judge
from .tools import tools

ROOT = Path(__file__).parents[2]
ENVIRONMENTS = ROOT / "build" / "field"
RESULTS = Path(__file__).parent / "results.json"


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
        venv.create(folder, clear=True, with_pip=True)
        command = [str(python), "-m", "pip", "install", "--quiet", *tool.REQUIREMENTS]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        if done.returncode:
            raise RuntimeError(done.stderr.strip()[-500:])
        ready.touch()
    return str(python)


def results_of(name: str, tool: ModuleType, chosen: list[Case]) -> Iterator[dict[str, Any]]:
    """The tool's result on each case, in order."""
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
            task = {
                "id": case.id,
                "folder": str(folder),
                "model": case.model,
                "advice": case.kind if case.advice else "",
            }
            print(json.dumps(task), file=worker.stdin, flush=True)
            answer = worker.stdout.readline()
            if not answer:
                raise RuntimeError(f"{name} ended with {worker.wait()} at {case.id}")
            yield json.loads(answer)
        worker.stdin.close()


def run(names: list[str], chosen: list[Case]) -> dict[str, Any]:
    """The results of each tool by case, or why there are none."""
    table: dict[str, Any] = {}
    known = tools()
    for name in names:
        try:
            found = {result.pop("id"): result for result in results_of(name, known[name], chosen)}
            table[name] = {"way": known[name].WAY, "requirements": known[name].REQUIREMENTS, "cases": found}
        except RuntimeError as error:
            table[name] = {"way": known[name].WAY, "requirements": known[name].REQUIREMENTS, "error": str(error)}
        print(page.line(name, table[name], chosen), flush=True)
    return table


def fallen(before: dict[str, Any], now: dict[str, Any], chosen: list[Case]) -> list[str]:
    """The cases that a tool got right in the stored results and gets wrong now."""
    worse = []
    for name, table in now.items():
        old = before.get(name, {}).get("cases", {})
        for case in chosen:
            if case.id not in old:
                continue
            result = judge(case, table.get("cases", {}).get(case.id, {}).get("messages", []))
            if judge(case, old[case.id]["messages"]).agrees and not result.agrees:
                worse.append(f"{name} {case.id}: {'missed' if not result.hit else result.wrong[0]}")
    return worse


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.field", description=__doc__)
    parser.add_argument("--tool", action="append", choices=[*tools()], help="run this tool; all by default")
    parser.add_argument("--kind", action="append", help="run the cases of this kind, and store nothing")
    parser.add_argument(
        "--check", action="store_true", help="run regcheck's doors; exit 1 if a case is worse than stored"
    )
    parser.add_argument("--disagreements", action="store_true", help="print the cases that a tool gets wrong")
    parser.add_argument("--page", action="store_true", help="write docs/field.md from the stored results, and stop")
    options = parser.parse_args()
    stored = json.loads(RESULTS.read_text(encoding="utf-8")) if RESULTS.exists() else {"tools": {}}
    if options.page:
        page.write(stored)
        return 0
    chosen = cases(options.kind)
    names = options.tool or [name for name in tools() if not options.check or name.startswith("regcheck")]
    now = run(names, chosen)
    if options.disagreements:
        print(*page.disagreements(now, chosen), sep="\n")
    if options.check:
        worse = fallen(stored["tools"], now, chosen)
        print(*worse, f"{len(worse)} cases are worse than in results.json", sep="\n")
        return int(bool(worse))
    if not options.kind:
        merged = {name: now.get(name) or stored["tools"].get(name) for name in tools()}
        stored = {"version": VERSION, "tools": {name: table for name, table in merged.items() if table}}
        RESULTS.write_text(json.dumps(stored, indent=1) + "\n", encoding="utf-8")
        page.write(stored)
    return 0


if __name__ == "__main__":
    sys.exit(main())
