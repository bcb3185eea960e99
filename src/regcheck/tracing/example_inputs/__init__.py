"""Example inputs for a model that the user audits without any."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from typing import Any, TypeAlias

import torch
from torch import nn

from .arguments import drawn_for, guessed_inputs
from .call_inputs import Inputs, elsewhere, fit_to_model, home_of, mapped, moved, with_another_sample
from .drawing import smooth

__all__ = [
    "Answer",
    "InputSources",
    "Inputs",
    "candidates",
    "decided",
    "drawn_for",
    "elsewhere",
    "home_of",
    "mapped",
    "moved",
    "smooth",
    "with_another_sample",
]

Pair: TypeAlias = tuple[Sequence[Any], Mapping[str, Any]]
"""`(args, kwargs)` of a forward."""

Answer: TypeAlias = Pair | Iterable[Pair | Inputs]
"""The answer of one implementation of the hook `regcheck_inputs`: the inputs to use, or inputs to try in order."""

InputSources: TypeAlias = Callable[[nn.Module], Sequence[Answer]]
"""Asks every implementation of the hook for the inputs of a model; the first answer comes first."""


def decided(answers: Iterable[Answer]) -> Inputs | None:
    """The first answer that is one `(args, kwargs)` pair: a plugin's decision, as if the user had passed the inputs."""
    pairs = (each for each in answers if _is_pair(each))
    return next((_inputs(each) for each in pairs), None)


def candidates(model: nn.Module, answers: Iterable[Answer] = ()) -> Iterator[Inputs]:
    """Inputs to try, on the model's device and in its dtype: those of the answers, then guesses from its layers.

    Runs nothing, and draws each candidate only when the caller asks for it.
    """
    for source in (*answers, guessed_inputs(model)):
        with suppress(Exception):  # a model's declarations may be anything: a broken source costs its own inputs only
            drawn = iter(source)
            while (inputs := _next(drawn)) is not None:
                yield fit_to_model(_inputs(inputs), model)


def _next(drawn: Iterator[Any]) -> Any:
    """The next inputs, drawn on the CPU whatever the program's default device."""
    with torch.device("cpu"):
        return next(drawn, None)


def _inputs(answer: Any) -> Inputs:
    return answer if isinstance(answer, Inputs) else Inputs(tuple(answer[0]), dict(answer[1]), "a plugin")


def _is_pair(answer: Any) -> bool:
    return isinstance(answer, tuple) and len(answer) == 2 and isinstance(answer[1], Mapping)
