"""What is process-wide is as it was after an audit, for this thread and for the others."""

from __future__ import annotations

import logging
import os
import sys
import threading
import warnings
from collections import OrderedDict
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from regcheck import audit
from regcheck.core.errors import CannotMeasure
from regcheck.probe import audit_copy
from regcheck.probe.audit_copy import copied, never_run
from regcheck.probe.process_state import world_untouched
from regcheck.tracing.copies.shared import NotCopied

OPTIONS = {"devices": ["cpu"]}


class Forgets(nn.Module):
    """A dropout that ignores the mode."""

    def __init__(self, size: int = 4) -> None:
        super().__init__()
        self.first, self.last = nn.Linear(size, size), nn.Linear(size, 2)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.last(F.dropout(self.first(x), 0.5))


def test_audits_in_several_threads_give_the_verdicts_of_one() -> None:
    """Models audited in four threads at once are judged as one after the other, and the world stays what it was."""
    before = sys.stdout, warnings.filters, list(warnings.filters), logging.Logger.callHandlers

    def found(number: int) -> list[tuple[str, str]]:
        model = Forgets(4 + number) if number % 2 else nn.Sequential(nn.Linear(4 + number, 2), nn.Dropout(0.0))
        report = audit(model, torch.randn(3, 4 + number), options=OPTIONS)
        return [(each.code, each.evidence.verdict.value) for each in report.findings if each.evidence]

    with ThreadPoolExecutor(4) as pool:
        verdicts = list(pool.map(found, range(12)))
    assert verdicts == [[("REG202", "confirmed")] * (number % 2) for number in range(12)]
    assert before == (sys.stdout, warnings.filters, list(warnings.filters), logging.Logger.callHandlers)


def test_only_this_threads_output_is_dropped(capsys: pytest.CaptureFixture[str]) -> None:
    """What an audited model prints or logs is dropped; another thread is heard meanwhile, on the same stream."""
    stream, log = sys.stdout, logging.getLogger("regcheck-test")
    heard: list[Any] = []
    handler = logging.Handler()
    handler.emit = heard.append  # type: ignore[method-assign]  # to hear what is logged
    log.addHandler(handler)

    def other() -> None:
        print("another thread")
        log.error("another thread")

    with world_untouched():
        assert sys.stdout is stream
        print("this thread")
        sys.stderr.write("this thread")
        log.error("this thread")
        thread = threading.Thread(target=other)
        thread.start()
        thread.join()
    print("afterwards")
    log.removeHandler(handler)
    assert capsys.readouterr() == ("another thread\nafterwards\n", "")
    assert [each.getMessage() for each in heard] == ["another thread"]
    assert "write" not in vars(stream)


def test_what_was_warned_of_already_stays_known() -> None:
    """A warning that is shown once for each line is not shown again because something was audited meanwhile."""
    with warnings.catch_warnings(record=True) as seen:
        warnings.simplefilter("default")
        for _ in range(2):
            warnings.warn("once", stacklevel=1)
            with world_untouched():
                warnings.warn("never", stacklevel=1)
    assert [str(each.message) for each in seen] == ["once"]


def test_settings_are_put_back(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whatever a forward sets that is process-wide is as it was."""
    monkeypatch.chdir(tmp_path)
    settings = {
        "autocast": lambda: (torch.is_autocast_enabled("cpu"), torch.get_autocast_dtype("cpu")),
        "default device": torch.get_default_device,
        "dtype": torch.get_default_dtype,
        "matmul": torch.get_float32_matmul_precision,
        "cudnn": lambda: (torch.backends.cudnn.benchmark, torch.backends.cudnn.allow_tf32),
        "deterministic": torch.are_deterministic_algorithms_enabled,
        "threads": torch.get_num_threads,
        "environment": lambda: dict(os.environ),
        "folder": os.getcwd,
        "path": lambda: list(sys.path),
        "filters": lambda: list(warnings.filters),
        "log": lambda: (logging.root.level, logging.root.manager.disable, list(logging.root.handlers)),
        "recursion": sys.getrecursionlimit,
        "anomaly": torch.is_anomaly_enabled,
    }
    before = {name: get() for name, get in settings.items()}
    with world_untouched():
        torch.set_autocast_enabled("cpu", True)
        torch.set_autocast_dtype("cpu", torch.float16)
        torch.set_default_device("meta")
        torch.set_default_dtype(torch.float64)
        torch.set_float32_matmul_precision("medium")
        torch.backends.cudnn.benchmark = not torch.backends.cudnn.benchmark
        torch.backends.cudnn.allow_tf32 = not torch.backends.cudnn.allow_tf32
        torch.use_deterministic_algorithms(True)
        torch.set_num_threads(torch.get_num_threads() + 1)
        torch.autograd.set_detect_anomaly(True)
        os.environ["REGCHECK_TEST"] = "1"
        os.chdir("/")
        sys.path.append("/nowhere")
        warnings.simplefilter("error")
        logging.root.setLevel(1)
        logging.disable(50)
        logging.root.addHandler(logging.NullHandler())
        sys.setrecursionlimit(sys.getrecursionlimit() + 10)
        changed = {name: get() for name, get in settings.items()}
    assert [name for name in before if before[name] == changed[name]] == []
    assert {name: get() for name, get in settings.items()} == before


COUNTS: dict[str, int] = {"calls": 0}
CALLS = 0


class Counts(Forgets):
    """A model that counts its calls on its class, in a global name, and in a global dictionary."""

    calls = 0
    met: list[int] = []  # noqa: RUF012  # as careless models have it

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        note_call()
        Counts.calls += 1
        self.met.append(1)
        return super().forward(x)


def note_call() -> None:
    global CALLS
    CALLS += 1
    COUNTS["calls"] += 1


def test_what_a_class_or_a_name_counts_is_put_back() -> None:
    """Class attributes and global names that a forward changes, also in a function that it calls, are as they were."""
    report = audit(Counts(), torch.randn(2, 4), options=OPTIONS)
    assert [each.code for each in report.findings] == ["REG202"]
    assert (CALLS, COUNTS, Counts.calls, Counts.met) == (0, {"calls": 0}, 0, [])


class Builds(OrderedDict[str, Any]):
    """A table of classes that builds an object at each access, as transformers' table of activations does."""

    def __getitem__(self, key: str) -> Any:
        return super().__getitem__(key)()

    def __iter__(self) -> Iterator[str]:
        raise NotImplementedError

    def __len__(self) -> int:
        raise NotImplementedError


ACTIVATIONS = Builds(relu=nn.ReLU, tanh=nn.Tanh)


class Activated(Forgets):
    """A model that builds its activation from a global table at each call."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return super().forward(ACTIVATIONS["relu"](x))


def test_a_table_that_builds_its_values_keeps_its_classes() -> None:
    """An audit reads and restores what a container holds, not what its class returns."""
    for _ in range(2):
        report = audit(Activated(), torch.randn(2, 4), options=OPTIONS)
        assert [each.code for each in report.findings] == ["REG202"] and report.not_checked == ()
    assert [*OrderedDict.values(ACTIVATIONS)] == [nn.ReLU, nn.Tanh]


KNOWN: dict[str, nn.Module] = {}


class Reaches(Forgets):
    """A model that calls itself by a global name."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        KNOWN["model"].ran = True
        return KNOWN["model"].last(F.dropout(x, 0.5))


def test_a_copy_that_reaches_the_original_is_stopped() -> None:
    """A part of the original that a copy reaches by a global name does not run, and the report says so."""
    model, ran = Reaches(), []
    KNOWN["model"] = model
    model.last.register_forward_hook(lambda *given: ran.append(1))
    report = audit(model, torch.randn(2, 4), options=OPTIONS)
    KNOWN.clear()
    assert ran == [] and "of the original" in report.not_checked[0].reason
    with never_run(model), pytest.raises(NotCopied):
        model.last(torch.zeros(1, 4))


def test_a_copy_onto_a_device_is_sized_before_it_is_made(monkeypatch: pytest.MonkeyPatch) -> None:
    """Where a device has too little memory for a copy, none is begun, and both figures are told."""
    monkeypatch.setattr(audit_copy, "free_bytes", lambda device: 1_000_000)
    with pytest.raises(CannotMeasure, match=r"takes 4\.2.? MB|takes 0\.00\d* GB|takes .*, and .* are free on meta"):
        copied(nn.Linear(2048, 1024), "meta")
