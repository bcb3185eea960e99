"""Measure the cost of proofs: audits of a ResNet-50 in eager forwards, an optimizer's proof, reading masks, memory.

    python benchmarks/proof.py [--quick]

Prints processor time on one thread (medians of paired runs, so that a busy machine shows less), and peak memory beside
a model in copies of its weights, measured in a process of its own each. How fast a mask of 1 GB is read is told in the
bandwidth of a copy of it, which reads and writes as many bytes; beside it stands the same reduction as `torch.compile`
makes it. `--quick` makes one pair, of 64 MB, and leaves out memory and what is compiled. On a GPU it prints wall time,
and no memory; that is read from Linux's /proc.
"""

from __future__ import annotations

import argparse
import multiprocessing
import statistics
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from record import resnet50
from torch import nn

from regcheck import audit
from regcheck.core.finding import Verdict
from regcheck.core.graph import Mode
from regcheck.probe.measurements.decay import measure_decay
from regcheck.probe.reductions import tally

DEVICE = "cuda" if torch.cuda.is_available() else "cpu"
FINDINGS = ("REG101", "REG202", "REG401")
CLEAN = "a clean bill"


class Faulty(nn.Module):
    """A network with one mistake before its last layer, or after it."""

    def __init__(self, code: str) -> None:
        super().__init__()
        layers = [*resnet50().children()]
        self.layers, self.head, self.code = nn.Sequential(*layers[:-1]), layers[-1], code

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        features = self.layers(x)
        if self.code == "REG202":
            features = F.dropout(features, 0.1)
        if self.code == "REG401":
            features = F.dropout(features, 0.9, self.training)
        scores: torch.Tensor = self.head(features)
        return F.dropout(scores, 0.1, self.training) if self.code == "REG101" else scores


def seconds(run: Callable[..., Any], *args: Any, **kwargs: Any) -> float:
    """Returns processor time, or wall time if an accelerator computes."""
    clock = time.process_time if DEVICE == "cpu" else time.perf_counter
    start = clock()
    run(*args, **kwargs)
    if DEVICE != "cpu":
        torch.accelerator.synchronize()
    return clock() - start


def paired(pairs: int, code: str) -> tuple[float, float]:
    """Returns an eager forward in seconds, and an audit in such forwards; asserts that it confirms the mistake."""
    model, x = (Faulty(code).to(DEVICE).eval(), torch.randn(4, 3, 224, 224, device=DEVICE))
    options = {"devices": [DEVICE], "select": [code]} if code != CLEAN else {"devices": [DEVICE]}
    found = audit(model, x, options=options).findings
    assert [each.code for each in found] == [code] * (code != CLEAN)
    assert all(each.evidence.verdict is Verdict.CONFIRMED for each in found)
    forwards, audits = [], []
    for _ in range(pairs):
        with torch.no_grad():
            forwards.append(seconds(model, x))
        audits.append(seconds(audit, model, x, options=options) / forwards[-1])
    return statistics.median(forwards), statistics.median(audits)


def optimizer_proof(pairs: int) -> float:
    """Returns the seconds for proving coupled decay of an optimizer with ten million parameters."""
    model = nn.Sequential(*(nn.Linear(1000, 1000) for _ in range(10))).to(DEVICE)
    optimizer = torch.optim.Adam(model.parameters(), weight_decay=0.01)
    times = [seconds(measure_decay, optimizer, "Adam", seed=0, device=DEVICE) for _ in range(pairs + 1)]
    return statistics.median(times[1:])


def counts(values: torch.Tensor, axes: tuple[int, ...]) -> torch.Tensor:
    """The counts of a tally, as one function for the compiler."""
    zero = values == 0
    changes = [(zero != zero.narrow(axis, 0, 1)).sum() for axis in axes]
    return torch.stack([zero.sum(), *changes])


def bandwidth(pairs: int, spatial: bool, elements: int) -> tuple[float, float]:
    """Returns the bandwidth of a copy in bytes per second, and of a tally of a mask relative to it."""
    values, other = mask(spatial, elements)
    copies, tallies = [], []
    for _ in range(pairs + 1):
        copies.append(2 * values.nbytes / seconds(other.copy_, values))
        tallies.append(values.nbytes / seconds(tally, values) / copies[-1])
    return statistics.median(copies[1:]), statistics.median(tallies[1:])


def compiled(pairs: int, spatial: bool, elements: int) -> tuple[float, float]:
    """Returns the seconds until the compiled reduction has run once, and its bandwidth relative to a copy's."""
    values, other = mask(spatial, elements)
    made, axes = torch.compile(counts, dynamic=False), tally(values).constant
    began = time.perf_counter()
    found = made(values, axes).tolist()
    first = time.perf_counter() - began
    assert found == [tally(values).zeros] + [0] * len(axes)
    ratios = [
        values.nbytes / seconds(made, values, axes) / (2 * values.nbytes / seconds(other.copy_, values))
        for _ in range(pairs)
    ]
    return first, statistics.median(ratios)


def mask(spatial: bool, elements: int) -> tuple[torch.Tensor, torch.Tensor]:
    """Returns the result of an elementwise or spatial dropout on ones, and memory for a copy."""
    ones = torch.ones(16, elements // 2**20, 256, 256, device=DEVICE)
    made = (F.dropout2d if spatial else F.dropout)(ones, 0.2)
    return made, ones


def memory_of(code: str, audited: bool, answer: Any) -> None:
    """Returns the peak memory in bytes of forwards in both modes, or of an audit."""
    torch.set_num_threads(1)
    model, x = Faulty(code), torch.randn(1, 3, 64, 64)
    if audited:
        audit(model, x, options={"devices": ["cpu"]})
    else:
        with torch.no_grad():
            for mode in Mode:
                model.train(mode is Mode.TRAIN)(x)
    status = Path("/proc/self/status").read_text()  # getrusage includes the parent's peak
    answer.put(1024 * int(status.split("VmHWM:")[1].split()[0]))


def copies(code: str) -> float:
    """Returns the peak memory of an audit beyond that of plain forwards, in copies of the weights."""
    processes = multiprocessing.get_context("spawn")
    peaks: list[int] = []
    for audited in (False, True):
        answer = processes.SimpleQueue()
        worker = processes.Process(target=memory_of, args=(code, audited, answer))
        worker.start()
        peaks.append(answer.get())
        worker.join()
    weights: int = sum(each.numel() * each.element_size() for each in Faulty(code).state_dict().values())
    return (peaks[1] - peaks[0]) / weights


def main() -> None:
    """Print a line per figure."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--quick", action="store_true", help="one pair of each, and no memory")
    quick = parser.parse_args().quick
    torch.set_num_threads(1)
    pairs = 1 if quick else 5
    for code in (CLEAN, *FINDINGS):
        forward, ratio = paired(pairs, code)
        print(f"resnet50, batch 4, {code:12} {ratio:6.1f} eager forwards of {1000 * forward:.0f} ms", flush=True)
    print(f"10 M parameters, REG301 proven  {optimizer_proof(pairs):6.2f} s", flush=True)
    for spatial in (False, True):
        what, elements = "of maps" if spatial else "of elements", 2**24 if quick else 2**28
        speed, share = bandwidth(pairs, spatial, elements)
        line = f"mask {what:11}, {4 * elements / 1e9:4.2f} GB     {share:6.0%} of the {speed / 1e9:.1f} GB/s of a copy"
        if not quick:
            first, share = compiled(pairs, spatial, elements)
            line += f"; compiled, in {first:.1f} s: {share:.0%}"
        print(line, flush=True)
    if Path("/proc/self/status").exists() and DEVICE == "cpu" and not quick:
        for code in (CLEAN, *FINDINGS):
            print(f"resnet50, memory, {code:12} {copies(code):6.2f} copies of the weights", flush=True)


if __name__ == "__main__":
    main()
