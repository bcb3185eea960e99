"""The candidates that a model accepts: those on which it runs in both modes."""

from __future__ import annotations

from collections.abc import Iterable
from itertools import islice

import torch
from torch import nn

from regcheck.tracing.example_inputs import Answer, Inputs, candidates, moved


def accepted(model: nn.Module, within: int = 12, answers: Iterable[Answer] = ()) -> Inputs:
    """The first candidate that the model runs on in both modes."""
    for each in islice(candidates(model, answers), within):
        try:
            for mode in (True, False):
                with torch.no_grad():
                    model.train(mode)(*moved(each.args), **moved(each.kwargs))
        except Exception:
            continue
        return each
    raise AssertionError("no candidate runs")


def first(model: nn.Module, answers: Iterable[Answer] = ()) -> Inputs:
    """The first candidate, which must run in both modes."""
    return accepted(model, 1, answers)


def shapes(inputs: Inputs) -> list[tuple[int, ...]]:
    return [tuple(each.shape) for each in (*inputs.args, *inputs.kwargs.values())]
