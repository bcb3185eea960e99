"""Time a scan, the parse of the same files, and other linters, alternately on the same machine.

    python benchmarks/scan.py [FOLDER…]

Each folder (default: torch's own source, and its `nn`) is parsed by `ast.parse`, scanned without a cache in one process
and in one for each core, scanned with the cache of an earlier scan, and checked by TorchFix, torch-preflight and ruff:
those on the PATH, or ones in an environment that this script creates. Prints CPU seconds, absolute and relative to the
parse, and wall time.
"""

from __future__ import annotations

import os
import resource
import shutil
import subprocess
import sys
import tempfile
import venv
from collections.abc import Sequence
from contextlib import suppress
from importlib.util import find_spec
from pathlib import Path
from time import perf_counter

PEERS = {"torchfix": "torchfix==0.7.0", "torch-preflight": "torch-preflight==0.5.0", "ruff": "ruff==0.17.6"}
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


def seconds(command: Sequence[str], runs: int = 2) -> tuple[float, float]:
    """Returns the CPU and wall time of a command and its children, in the run that takes the least CPU time."""
    times = []
    for _ in range(runs):
        began, before = perf_counter(), resource.getrusage(resource.RUSAGE_CHILDREN)
        subprocess.run(command, capture_output=True, check=False)
        after, wall = resource.getrusage(resource.RUSAGE_CHILDREN), perf_counter() - began
        times.append((after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime, wall))
    return min(times)


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


def main(folders: Sequence[str]) -> None:
    """Print a table of times for each folder."""
    torch = find_spec("torch")
    if not folders and torch and torch.origin:
        own = Path(torch.origin).parent
        folders = [str(own), str(own / "nn")]
    with tempfile.TemporaryDirectory() as scratch:
        os.environ["XDG_CACHE_HOME"] = scratch
        others = peers(Path(scratch))
        scan = [sys.executable, "-m", "regcheck", "scan", "--output-format=concise"]
        for folder in folders:
            parse = seconds([sys.executable, "-c", PARSE, folder])
            rows = [("ast.parse", parse)]
            for jobs in ([], ["--jobs=1"]):
                rows.append(
                    (f"regcheck scan --no-cache {' '.join(jobs)}", seconds([*scan, "--no-cache", *jobs, folder]))
                )
            subprocess.run([*scan, folder], capture_output=True, check=False)
            rows.append(("regcheck scan, again", seconds([*scan, folder])))
            if parse[0] < 2:  # the others take minutes for more
                copy = shutil.copytree(folder, Path(scratch, "copy", Path(folder).name))  # one skips what is installed
                for name, path in others.items():
                    words = {"torchfix": ["--select=ALL"], "ruff": ["check", "--no-cache"]}.get(name, ["check"])
                    rows.append((name, seconds([path, *words, str(copy)], runs=1)))
            print(folder)
            for name, (best, wall) in rows:
                print(f"{best:8.2f} s {best / parse[0]:7.2f} ×  {wall:8.2f} s wall  {name}")


if __name__ == "__main__":
    main(sys.argv[1:])
