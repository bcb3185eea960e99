"""Leave no trace: whatever an audit runs, the program's state is as it was afterwards."""

from __future__ import annotations

import copy
import random
import sys
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import nn

from regcheck.core.errors import CannotMeasure


@contextmanager
def world_untouched() -> Iterator[None]:
    """Put back every random stream, grad mode, default dtype and device, and silence warnings meanwhile."""
    numpy = sys.modules.get("numpy")
    python_state, torch_state = random.getstate(), torch.get_rng_state()
    numpy_state = numpy.random.get_state() if numpy is not None else None
    cuda_used = torch.cuda.is_initialized()  # type: ignore[no-untyped-call]
    cuda_states = torch.cuda.get_rng_state_all() if cuda_used else []
    grad, dtype = torch.is_grad_enabled(), torch.get_default_dtype()
    detecting = torch.is_anomaly_enabled()
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        random.setstate(python_state)
        torch.set_rng_state(torch_state)
        if numpy is not None and numpy_state is not None:
            numpy.random.set_state(numpy_state)
        if cuda_states:
            torch.cuda.set_rng_state_all(cuda_states)
        torch.set_grad_enabled(grad)
        torch.set_default_dtype(dtype)
        torch.autograd.set_detect_anomaly(detecting)


@contextmanager
def workspace(model: nn.Module) -> Iterator[nn.Module]:
    """A copy of `model` to run and to change; where it cannot be copied, the model itself, put back afterwards."""
    try:
        twin = copy.deepcopy(model)
    except Exception:
        state = State(model)
        try:
            yield model
        finally:
            state.restore()
        return
    yield twin


def copied(model: nn.Module) -> nn.Module:
    """A copy of `model`, for measurements that move it or change its modes.

    Raises:
        CannotMeasure: the model cannot be copied.
    """
    try:
        return copy.deepcopy(model)
    except Exception as error:
        raise CannotMeasure(f"the model cannot be copied: {type(error).__name__}: {error}") from error


class State:
    """Everything a forward can change on the modules of a model: tensors, flags, hooks, plain attributes."""

    def __init__(self, model: nn.Module) -> None:
        self._attributes = [(module, _shallow(vars(module))) for module in model.modules()]
        self._parameters = [(each, each._version, each.detach().clone()) for each in model.parameters()]
        self._buffers = [(each, each.detach().clone()) for each in model.buffers()]

    def restore(self) -> None:
        """Put it back. Parameters that were not written to are left alone."""
        for module, saved in self._attributes:
            attributes = vars(module)
            for name in [name for name in attributes if name not in saved]:
                del attributes[name]
            attributes.update(_shallow(saved))
        with torch.no_grad():
            for index, (parameter, version, value) in enumerate(self._parameters):
                if parameter._version != version:
                    parameter.copy_(value)
                    self._parameters[index] = (parameter, parameter._version, value)
            for buffer, value in self._buffers:  # batch norm's kernel writes without counting a version
                buffer.copy_(value)


def _shallow(attributes: dict[str, Any]) -> dict[str, Any]:
    """Attributes with their containers copied one level, so that what is registered or appended later can be undone."""
    return {
        name: copy.copy(value) if isinstance(value, (dict, list, set)) else value for name, value in attributes.items()
    }
