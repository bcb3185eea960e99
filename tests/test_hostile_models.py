"""However hostile a model is, an audit leaves no trace, lets no exception out, and finds what is wrong only."""

from __future__ import annotations

import io
import logging
import os
import random
import sys
import threading
import types
import warnings
from pathlib import Path
from typing import Any

import numpy
import pytest
import torch
from torch import nn

from regcheck import audit
from regcheck.core.finding import Severity

from . import hostile_models as hostile

PLANTED = next(
    number for number, line in enumerate(Path(hostile.__file__).read_text().splitlines(), 1) if "# planted" in line
)
OPTIONS = {"devices": ["cpu"]}


def portrait(value: Any, met: dict[int, int] | None = None, depth: int = 0) -> Any:
    """All that is reached from a value, identities and contents, so that two portraits differ if anything changed."""
    met = {} if met is None else met
    if isinstance(value, (bool, int, float, complex, str, bytes, type, type(None), types.ModuleType)):
        return value
    if id(value) in met or depth > 40:
        return ("met", met.get(id(value)))
    met[id(value)] = len(met)

    def within(each: Any) -> Any:
        return portrait(each, met, depth + 1)

    try:
        own = object.__getattribute__(value, "__dict__")
    except AttributeError:
        own = None
    attributes = [(name, within(each)) for name, each in own.items()] if isinstance(own, dict) else None
    slots = (
        [within(each) for each in (getattr(value, name) for name in ("calls", "seen"))]
        if type(value) is hostile.Stats
        else ()
    )
    contents: Any = None
    if isinstance(value, torch.Tensor):
        gradient = value.grad if value.is_leaf else None
        bits = value.detach().clone().contiguous().numpy().tobytes()
        contents = bits, value._version, value.requires_grad, value.data_ptr(), within(gradient)
    elif isinstance(value, dict):
        contents = [(within(key), within(each)) for key, each in value.items()]
    elif isinstance(value, (list, tuple, set, frozenset)) or type(value).__name__ == "deque":
        contents = [within(each) for each in value]
    elif isinstance(value, (bytearray, numpy.ndarray)):
        contents = bytes(value)
    elif isinstance(value, random.Random):
        contents = value.getstate()
    elif isinstance(value, numpy.random.Generator):
        contents = str(value.bit_generator.state)
    elif isinstance(value, numpy.random.RandomState):
        contents = str(value.get_state())
    elif isinstance(value, torch.Generator):
        contents = value.get_state().numpy().tobytes()
    elif isinstance(value, types.FunctionType):
        contents = [within(each.cell_contents) for each in value.__closure__ or ()]
    elif isinstance(value, types.MethodType):
        contents = within(value.__self__)
    elif isinstance(value, io.StringIO):
        contents = value.getvalue()
    elif type(value).__name__ in ("count", "list_iterator"):
        contents = repr(value.__reduce__())
    return id(value), type(value).__name__, contents, attributes, slots


def world() -> dict[str, Any]:
    """What is process-wide, and what the file of the models keeps by name."""
    return {
        "torch random": torch.get_rng_state().numpy().tobytes(),
        "python random": random.getstate(),
        "numpy random": str(numpy.random.get_state()),
        "grad": torch.is_grad_enabled(),
        "dtype": torch.get_default_dtype(),
        "cudnn": torch.backends.cudnn.benchmark,
        "deterministic": torch.are_deterministic_algorithms_enabled(),
        "threads": threading.enumerate(),
        "streams": (id(sys.stdout), id(sys.stderr), "write" in vars(sys.stdout), "write" in vars(sys.stderr)),
        "filters": (id(warnings.filters), list(warnings.filters), id(warnings.showwarning)),
        "environment": dict(os.environ),
        "folder": os.getcwd(),
        "path": list(sys.path),
        "log": (logging.getLogger("hostile").level, logging.root.level, logging.Logger.callHandlers),
        "modules": (nn.Module.__call__, "training" in vars(nn.Module)),
        "class": (hostile.Net.calls, dict(hostile.Net.cache), hostile.Stats.total, set(vars(hostile.Net))),
        "names": (hostile.CALLS, dict(hostile.COUNTS)),
    }


def differing(before: dict[str, Any], after: dict[str, Any]) -> list[str]:
    return [name for name in before if before[name] != after[name]]


def wrong(model: Any) -> list[str]:
    """What an audit of one hostile model does that it may not."""
    net, x, loss = model.built()
    around, inside = world(), portrait(net)
    try:
        report = audit(net, x, options=OPTIONS)
    except BaseException as error:
        if isinstance(error, KeyboardInterrupt):
            raise
        return [f"{model}: {type(error).__name__} escaped"]
    faults = [f"{model}: {name} changed" for name in differing(around, world())]
    if model.seed in hostile.Finalized.gone:
        faults.append(f"{model}: a copy was finalized")
    if portrait(net) != inside:
        faults.append(f"{model}: the model changed")
    found = [each for each in report.findings if each.severity is Severity.ERROR]
    faults += [f"{model}: {each.code} at {each.line}" for each in found if (each.line, model.faulty) != (PLANTED, True)]
    proven = [each for each in found if each.evidence and each.evidence.verdict.value == "confirmed"]
    if not model.raises and (bool(proven), bool(report.not_checked)) != (model.faulty, False):
        faults.append(f"{model}: found {len(proven)}, not checked {[each.reason for each in report.not_checked]}")
    if loss is not None:
        loss.backward()
    if "file" in vars(net):
        net.file.close()
    return faults


@pytest.fixture(autouse=True)
def _settings(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(hostile, "COUNTS", {"calls": 0})


@pytest.mark.filterwarnings("ignore")  # what torch says of old weight norms and of threads is not what is tested
@pytest.mark.parametrize("start", range(0, 48, 12))
def test_hostile_models_are_left_alone(start: int, capfd: pytest.CaptureFixture[str]) -> None:
    """No trace, no escape, no wrong finding, and nothing on the streams, for models that make it hard."""
    faults = [fault for seed in range(start, start + 12) for fault in wrong(hostile.Hostile(seed))]
    assert faults == []
    assert capfd.readouterr() == ("", "")


@pytest.mark.slow
@pytest.mark.timeout(7200)
@pytest.mark.filterwarnings("ignore")  # as above
@pytest.mark.parametrize("start", range(1000, 3400, 100))
def test_thousands_of_hostile_models_are_left_alone(start: int, capfd: pytest.CaptureFixture[str]) -> None:
    """The same for 2,400 models."""
    faults = [fault for seed in range(start, start + 100) for fault in wrong(hostile.Hostile(seed))]
    assert faults == []
    assert capfd.readouterr() == ("", "")
