"""Count the functions of regcheck that one call enters, from a ten-line model to the terminal, and show its path.

    python benchmarks/trips.py [NAME…]

A trip runs in a fresh process under `sys.setprofile`: `audit` (a live model to the terminal), `scan` (a file to a
finding) and `pytest` (a test to the summary). Prints for each trip the number of distinct functions, the packages in
the order of their calls, and the packages that one caller enters more than once. `engine(probe(tracing) report)` reads:
engine calls probe, which calls tracing; then engine calls report. Repeated calls count as one visit where at most one
other package comes between them, which is how a loop looks. `files`, `core` and `torch_api` hold values that every
package uses; their functions count, and the path leaves them out.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
import textwrap
import threading
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from inspect import CO_OPTIMIZED
from pathlib import Path
from types import CodeType, FrameType
from typing import Any

SOURCE = Path(__file__).parent.parent / "src" / "regcheck"
VALUES = frozenset({"files", "core", "torch_api"})

MODEL = """
import torch
from torch import nn
from torch.nn import functional as F
class Net(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.head = nn.Linear(8, 2)
    def forward(self, x: torch.Tensor) -> torch.Tensor:
        hidden = F.dropout(x, 0.5)
        return self.head(hidden)
"""
TEST = """
import torch
from model import Net
def test_shape() -> None:
    assert Net().eval()(torch.ones(4, 8)).shape == (4, 2)
"""


@dataclass
class Visit:
    """One package, entered from another, and the packages that it enters meanwhile."""

    package: str
    inner: list[Visit] = field(default_factory=list)

    def fold(self) -> None:
        """Merge each inner visit with one to the same package before it, if at most one other comes between."""
        merged: list[Visit] = []
        for visit in self.inner:
            earlier = next((each for each in merged[-2:] if each.package == visit.package), None)
            if earlier:
                earlier.inner += visit.inner
            else:
                merged.append(visit)
        self.inner = merged
        for visit in merged:
            visit.fold()

    def path(self) -> str:
        inner = " ".join(visit.path() for visit in self.inner)
        return f"{self.package}({inner})" if inner else self.package

    def walk(self) -> Iterator[Visit]:
        yield self
        for visit in self.inner:
            yield from visit.walk()


class Tracker:
    """A profile function that records each function of regcheck and the nesting of the packages."""

    def __init__(self) -> None:
        self.functions: set[CodeType] = set()
        self.root = Visit("python")
        self._stacks: dict[int, list[Visit]] = {}

    def __call__(self, frame: FrameType, event: str, _: Any) -> None:
        code = frame.f_code
        in_function = code.co_flags & CO_OPTIMIZED  # a module's body and a class's body are no functions
        if event not in ("call", "return") or not in_function or not code.co_filename.startswith(str(SOURCE)):
            return
        if not code.co_name.startswith("<"):  # lambdas and comprehensions belong to the function around them
            self.functions.add(code)
        package = Path(code.co_filename).relative_to(SOURCE).parts[0].removesuffix(".py")
        if package in VALUES:
            return
        stack = self._stacks.setdefault(threading.get_ident(), [self.root])
        if event == "return":
            if len(stack) > 1:
                stack.pop()
        elif stack[-1].package == package:
            stack.append(stack[-1])
        else:
            visit = Visit(package)
            stack[-1].inner.append(visit)
            stack.append(visit)


def command_line(*arguments: str) -> Callable[[], object]:
    from regcheck.cli.main import main

    return lambda: main(list(arguments))


def pytest_session(*arguments: str) -> Callable[[], object]:
    import pytest

    return lambda: pytest.main(list(arguments))


TRIPS: dict[str, tuple[str, Callable[[], Callable[[], object]]]] = {
    "audit": ("audit → terminal", lambda: command_line("audit", "model.py:Net")),
    "scan": ("scan → finding", lambda: command_line("scan", "model.py")),
    "pytest": (
        "pytest → summary",
        lambda: pytest_session("--regcheck", "-p", "no:cacheprovider", "-p", "no:randomly", "-p", "no:xdist", "."),
    ),
}


def follow(name: str, results: Path) -> None:
    """Take one trip in this process, and write what it entered as JSON."""
    trip, tracker = TRIPS[name][1](), Tracker()
    threading.setprofile(tracker)
    sys.setprofile(tracker)
    try:
        trip()
    except SystemExit:
        pass
    finally:
        sys.setprofile(None)
    tracker.root.fold()
    again = Counter(
        f"{visit.package} → {package}"
        for visit in tracker.root.walk()
        if visit is not tracker.root
        for package, times in Counter(inner.package for inner in visit.inner).items()
        for _ in range(times - 1)
    )
    path = " ".join(visit.path() for visit in tracker.root.inner)
    results.write_text(json.dumps({"functions": len(tracker.functions), "path": path, "again": again}))


def main(names: Sequence[str]) -> None:
    """Print the trips."""
    for name in names or TRIPS:
        with tempfile.TemporaryDirectory() as scratch:
            project, results = Path(scratch, "project"), Path(scratch, "results.json")
            project.mkdir()
            (project / "model.py").write_text(MODEL)
            (project / "test_model.py").write_text(TEST)
            path = os.pathsep.join([str(SOURCE.parent), str(project)])
            environment = {**os.environ, "PYTHONPATH": path, "XDG_CACHE_HOME": str(Path(scratch, "cache"))}
            command = [sys.executable, __file__, "--follow", name, str(results)]
            done = subprocess.run(command, cwd=project, env=environment, capture_output=True, text=True)
            if "1 finding" not in done.stdout:
                sys.exit(f"{name} did not report the model's finding:\n{done.stdout}{done.stderr}")
            trip = json.loads(results.read_text())
        print(f"{TRIPS[name][0]}: {trip['functions']} functions")
        print(textwrap.fill(trip["path"], 116, initial_indent="    ", subsequent_indent="    ", break_on_hyphens=False))
        repeats = ", ".join(f"{pair} ({times} more)" for pair, times in trip["again"].items())
        print(
            textwrap.fill(f"entered again: {repeats or 'none'}", 116, initial_indent="    ", subsequent_indent="    ")
        )


if __name__ == "__main__":
    if sys.argv[1:2] == ["--follow"]:
        follow(sys.argv[2], Path(sys.argv[3]))
    else:
        main(sys.argv[1:])
