"""Run on a GPU what has run on CPUs: the selftest, the figures of proofs, and a sample of the zoo.

    python benchmarks/gpu.py

Without a GPU it says so and runs nothing. Each step has a time limit, together less than eight minutes. Exits with 1 if
a step fails or is cut off.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from pathlib import Path

import torch
from zoo.entry import Entry
from zoo.libraries import entries

from regcheck import audit
from regcheck.core.finding import Verdict

HERE = Path(__file__).parent
REGCHECK = [sys.executable, "-m", "regcheck"]
STEPS: dict[str, tuple[Sequence[str], int]] = {
    "selftest": ([*REGCHECK, "selftest", "--device", "cuda"], 180),
    "proofs": ([sys.executable, str(HERE / "proof.py"), "--quick"], 120),
    "zoo": ([sys.executable, __file__, "--zoo"], 170),
}
"""The command of each step, and how many seconds it may take."""

EACH = 4
"""The models of a library in the sample."""

LIBRARIES = ("torch", "torchvision", "timm", "segmentation")
SECONDS = 140
"""After so many seconds the sample begins no further model."""


def main() -> int:
    """Run every step; return the exit code."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--zoo", action="store_true", help="only the sample of the zoo, in this process")
    only_zoo = parser.parse_args().zoo
    if not torch.cuda.is_available():
        print("No GPU is present: nothing was run.")
        return 0
    if only_zoo:
        return audit_sample(sample(), ("cpu", "cuda"))
    print(torch.cuda.get_device_name(), "torch", torch.__version__, flush=True)
    return max([run(*step) for step in STEPS.items()])


def run(name: str, step: tuple[Sequence[str], int]) -> int:
    """Run a step within its time; print how it ended, and return its exit code."""
    command, limit = step
    start = time.perf_counter()
    try:
        code = subprocess.run(command, timeout=limit, check=False).returncode
    except subprocess.TimeoutExpired:
        code = 1
        print(f"{name} was cut off", flush=True)
    print(f"{name}: exit code {code} after {time.perf_counter() - start:.0f} of {limit} s\n", flush=True)
    return min(code, 1)


def sample() -> Iterator[Entry]:
    """The models that the sample holds, of those libraries that are installed."""
    for library in LIBRARIES:
        try:
            found = [*entries(library)]
        except ImportError as error:
            print(f"{library} is left out: {error}")
            continue
        count = min(EACH, len(found))
        yield from (found[index * len(found) // count] for index in range(count))


def audit_sample(models: Iterator[Entry], devices: Sequence[str]) -> int:
    """Audit models on several devices; print a line for each, and return 1 if devices disagree on a verdict."""
    began, code = time.perf_counter(), 0
    for each in models:
        start = time.perf_counter()
        if start - began > SECONDS:
            print(f"{each.library}:{each.name} and those behind it were not begun, for want of time")
            return 1
        torch.manual_seed(0)
        findings = audit(each.build(), options={"devices": [*devices], "select": ["ALL"]}).findings
        proven = [one.evidence for one in findings if one.evidence.verdict is Verdict.CONFIRMED]
        seconds = time.perf_counter() - start
        print(
            f"{each.library}:{each.name}  {len(proven)} of {len(findings)} findings proven, {seconds:.1f} s", flush=True
        )
        for evidence in proven:
            if evidence.device != ", ".join(devices):
                print(f"  devices disagree: {evidence.because}")
                code = 1
    return code


if __name__ == "__main__":
    sys.exit(main())
