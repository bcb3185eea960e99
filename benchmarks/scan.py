"""Time a scan, the parse of the same files, and other linters, alternately on the same machine.

    python benchmarks/scan.py [--table] [FOLDER…]

Each folder (default: torch's own source, and its `nn`) is parsed by `ast.parse`, scanned without a cache in one process
and in one for each core, scanned with the cache of an earlier scan, and checked by TorchFix, torch-preflight and ruff:
those on the PATH, or ones in an environment that this script creates. Prints CPU seconds, absolute and relative to the
parse, and wall time. With `--table` each is only parsed and scanned without a cache on one core, and the result is the
table of docs/performance.md.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tempfile
import venv
from collections.abc import Iterator, Sequence
from contextlib import suppress
from importlib.util import find_spec
from pathlib import Path
from time import perf_counter
from typing import NamedTuple

TABLE = "--table"
PEERS = {"torchfix": "torchfix==0.7.0", "torch-preflight": "torch-preflight==0.5.0", "ruff": "ruff==0.17.6"}
SCAN = [sys.executable, "-m", "regcheck", "scan", "--output-format=concise"]
GOAL, GOALS = 4, {"torch": 1, "transformers": 8}
"""How many times the parse of its files a cold scan of a package should take at most, and of these packages."""
MEMORY = 1_500_000_000
"""The peak memory in bytes that a scan should need at most."""
PARSE = """
import ast, pathlib, sys, warnings
warnings.simplefilter("ignore")
for path in pathlib.Path(sys.argv[1]).rglob("*.py"):
    try:
        ast.parse(path.read_bytes())
    except (SyntaxError, ValueError):
        pass
"""
"""Parses every file: a lower bound for linters that build Python's own syntax trees."""


class Cost(NamedTuple):
    """What a command takes: CPU and wall time in seconds, and the peak memory of one process in bytes."""

    cpu: float
    wall: float
    memory: int


def cost(command: Sequence[str], runs: int = 2) -> Cost:
    """The cost of a command, in the run that takes the least CPU time."""
    costs = []
    for _ in range(runs):
        began = perf_counter()
        with subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as process:
            _, status, used = os.wait4(process.pid, 0)
            process.returncode = os.waitstatus_to_exitcode(status)
        wall = perf_counter() - began
        costs.append(Cost(used.ru_utime + used.ru_stime, wall, used.ru_maxrss * 1024))
    return min(costs)


def table(folders: Sequence[str]) -> Iterator[str]:
    """The lines of a table of cold scans on one core, each beside a parse in a process of its own."""
    yield "| package | files | `ast.parse` | scan | ratio | peak memory | goal |"
    yield "| --- | --- | --- | --- | --- | --- | --- |"
    for folder in folders:
        package = Path(folder).name
        parse, scan = cost([sys.executable, "-c", PARSE, folder]), cost([*SCAN, "--no-cache", "--jobs=1", folder])
        ratio, most = scan.cpu / parse.cpu, GOALS.get(package, GOAL)
        missed = [f"{most} ×"] if ratio > most else []
        missed += [f"{MEMORY / 1e9} GB"] if scan.memory > MEMORY else []
        outcome = f"misses {' and '.join(missed)}" if missed else f"{most} ×"
        yield (
            f"| {package} | {len([*Path(folder).rglob('*.py')])} | {parse.cpu:.2f} s | {scan.cpu:.1f} s | {ratio:.1f} ×"
            f" | {scan.memory / 1e9:.2f} GB | {outcome} |"
        )


def peers(scratch: Path) -> dict[str, str]:
    """Returns the paths of the other linters' commands; those that cannot be installed are left out."""
    missing = [wanted for name, wanted in PEERS.items() if shutil.which(name) is None]
    place = scratch / "peers"
    if missing:
        with suppress(subprocess.CalledProcessError):  # a Python without ensurepip
            venv.create(place, with_pip=True)
            subprocess.run([place / "bin" / "pip", "install", "--quiet", *missing], check=False)
    found = {name: shutil.which(name) or shutil.which(name, path=str(place / "bin")) for name in PEERS}
    return {name: path for name, path in found.items() if path}


def main(arguments: Sequence[str]) -> None:
    """Print the times for each folder, or one table for all."""
    folders = [each for each in arguments if each != TABLE]
    torch = find_spec("torch")
    if not folders and torch and torch.origin:
        own = Path(torch.origin).parent
        folders = [str(own), str(own / "nn")]
    if TABLE in arguments:
        for line in table(folders):
            print(line, flush=True)
        return
    with tempfile.TemporaryDirectory() as scratch:
        os.environ["XDG_CACHE_HOME"] = scratch
        others = peers(Path(scratch))
        for folder in folders:
            parse = cost([sys.executable, "-c", PARSE, folder])
            rows = [("ast.parse", parse)]
            for jobs in ([], ["--jobs=1"]):
                rows.append((f"regcheck scan --no-cache {' '.join(jobs)}", cost([*SCAN, "--no-cache", *jobs, folder])))
            subprocess.run([*SCAN, folder], capture_output=True, check=False)
            rows.append(("regcheck scan, again", cost([*SCAN, folder])))
            if parse.cpu < 2:  # the others take minutes for more
                copy = shutil.copytree(folder, Path(scratch, "copy", Path(folder).name))  # one skips what is installed
                for name, path in others.items():
                    words = {"torchfix": ["--select=ALL"], "ruff": ["check", "--no-cache"]}.get(name, ["check"])
                    rows.append((name, cost([path, *words, str(copy)], runs=1)))
            print(folder)
            for name, each in rows:
                print(f"{each.cpu:8.2f} s {each.cpu / parse.cpu:7.2f} ×  {each.wall:8.2f} s wall  {name}")


if __name__ == "__main__":
    main(sys.argv[1:])
