"""Measure the cost of watching: one module call inside another, and whole test suites with and without `--regcheck`.

    python benchmarks/watch.py
    python benchmarks/watch.py --pairs 5 --python VENV/bin/python --findings FILE.json FOLDER -- PYTEST-ARGUMENTS
    python benchmarks/watch.py --pairs 3 --python VENV/bin/python --suites FOLDER [-- NAME …]

Without a folder the suite is the project in fixtures/. Runs alternate in pairs, without and with. Prints the ratios of
CPU and wall time (median and range), and whether every test has the same outcome; exits 1 if one does not. `--findings`
writes the findings to a file, as JSON. `--suites` runs the public suites of suites.toml, or those with the names, and
writes the findings of each beside its folder; it clones the repositories that FOLDER lacks. VENV needs what they
require: `pip install -c constraints.txt -r benchmarks/suites-requirements.txt`.
"""

from __future__ import annotations

import argparse
import os
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping
from pathlib import Path
from xml.etree import ElementTree

import tomllib
import torch
from torch import nn

from regcheck.runtime.recorder import EventRecorder

ROOT = Path(__file__).parent.parent
INSTALLED = "import sys, importlib.metadata as m; sys.exit(not m.entry_points(group='pytest11', name='regcheck'))"
QUICKSTART = ROOT / "fixtures" / "projects" / "quickstart"


class Through(nn.Module):
    """Calls many modules that do nothing."""

    def __init__(self, calls: int) -> None:
        super().__init__()
        self.weight = nn.Linear(1, 1)
        self.parts = nn.Sequential(*[nn.Identity() for _ in range(calls)])

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        passed: torch.Tensor = self.parts(x)
        return passed


def inner_call(calls: int = 1000, rounds: int = 30) -> tuple[float, float]:
    """Returns microseconds of CPU time for one module call inside another, unwatched, and the cost of watching."""
    model, x = Through(calls), torch.ones(1)
    watch = EventRecorder()
    times: dict[bool, list[float]] = {False: [], True: []}
    for turn in range(2 * rounds):
        watched = bool(turn % 2)
        if watched:
            watch.start()
        model(x)
        start = time.process_time()
        for _ in range(10):
            model(x)
        times[watched].append((time.process_time() - start) / 10 / calls * 1e6)
        watch.stop()
    return min(times[False]), min(times[True]) - min(times[False])


def run(python: str, folder: Path, arguments: list[str], extra: list[str]) -> tuple[float, float, Mapping[str, str]]:
    """Returns CPU and wall seconds of one run of a suite, and the outcome of each test."""
    with tempfile.TemporaryDirectory() as temporary:
        outcomes = Path(temporary) / "outcomes.xml"
        command = [python, "-m", "pytest", "-q", "-p", "no:cacheprovider", *arguments, *extra, f"--junitxml={outcomes}"]
        path = os.pathsep.join([str(ROOT / "src"), "src", os.environ.get("PYTHONPATH", "")])  # "src" is the suite's
        environment = {**os.environ, "PYTHONPATH": path}
        environment.pop("PYTHONDONTWRITEBYTECODE", None)  # an installed package has bytecode
        before, start = resource.getrusage(resource.RUSAGE_CHILDREN), time.perf_counter()
        made = subprocess.run(command, cwd=folder, env=environment, capture_output=True, check=False)
        wall, after = time.perf_counter() - start, resource.getrusage(resource.RUSAGE_CHILDREN)
        cpu = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
        if not outcomes.exists():
            sys.exit(f"pytest did not run: {(made.stdout + made.stderr).decode()}")
        return cpu, wall, outcomes_in(outcomes)


def outcomes_in(report: Path) -> Mapping[str, str]:
    """Returns each test's outcome, from a JUnit report."""
    cases = ElementTree.parse(report).iter("testcase")
    return {
        f"{each.get('classname')}::{each.get('name')}": ",".join(
            child.tag for child in each if child.tag != "properties"
        )
        for each in cases
    }


def main() -> int:
    """Print a table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", nargs="?", type=Path, default=QUICKSTART)
    parser.add_argument("arguments", nargs="*", help="arguments for pytest")
    parser.add_argument("--pairs", type=int, default=1)
    parser.add_argument("--python", default=sys.executable)
    parser.add_argument("--findings", type=Path)
    parser.add_argument("--suites", action="store_true", help="FOLDER holds the suites of suites.toml")
    given = parser.parse_args()
    if given.suites and given.folder == QUICKSTART:
        parser.error("--suites needs a folder")
    plain, added = inner_call()
    print(f"one inner module call: {plain:.2f} µs, watched {added:+.2f} µs", flush=True)
    if not given.suites:
        return 1 if compare(given.python, given.folder, given.arguments, given.pairs, given.findings) else 0
    suites = tomllib.loads((Path(__file__).parent / "suites.toml").read_text())
    changed = False
    for name in given.arguments or suites:
        print(f"{name} {suites[name]['tag']}", flush=True)
        folder = cloned(suites[name]["repository"], suites[name]["tag"], given.folder / name)
        findings = folder.with_suffix(".json").absolute()
        changed |= compare(given.python, folder, suites[name]["tests"], given.pairs, findings)
    return 1 if changed else 0


def cloned(repository: str, tag: str, folder: Path) -> Path:
    """The folder of a repository of GitHub at a tag, which is cloned where there is none."""
    if not folder.exists():
        url = f"https://github.com/{repository}"
        subprocess.run(["git", "clone", "--quiet", "--depth", "1", "--branch", tag, url, str(folder)], check=True)
    return folder


def compare(python: str, folder: Path, arguments: list[str], pairs: int, findings: Path | None) -> bool:
    """Run a suite without and with the option, in pairs, and print the ratios; returns whether an outcome differs."""
    installed = subprocess.run([python, "-c", INSTALLED], check=False).returncode == 0
    watched = ["--regcheck"] if installed else ["-p", "regcheck.pytest_plugin", "--regcheck"]
    if findings:
        watched.append(f"--regcheck-report=json:{findings}")
    changed: dict[str, tuple[str, str]] = {}
    cpu, wall = [], []
    for pair in range(pairs):
        order = -1 if pair % 2 else 1
        runs = [run(python, folder, arguments, extra) for extra in ([], watched)[::order]]
        without, with_ = runs[::order]
        cpu.append(with_[0] / without[0])
        wall.append(with_[1] / without[1])
        for name in without[2].keys() | with_[2].keys():
            one, other = without[2].get(name, "missing"), with_[2].get(name, "missing")
            if one != other:
                changed[name] = (one, other)
        times = f"CPU {without[0]:.1f} s → {with_[0]:.1f} s, wall {without[1]:.1f} s → {with_[1]:.1f} s"
        print(f"pair {pair + 1}: {len(with_[2])} tests, {times}", flush=True)
    for what, ratios in (("CPU", cpu), ("wall", wall)):
        print(f"{what} with / without: median {statistics.median(ratios):.3f}, {min(ratios):.3f} to {max(ratios):.3f}")
    for name, (one, other) in sorted(changed.items()):
        print(f"came out differently: {name}: {one or 'passed'} → {other or 'passed'}")
    return bool(changed)


if __name__ == "__main__":
    sys.exit(main())
