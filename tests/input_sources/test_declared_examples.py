"""Example inputs that a model declares."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import nn

from regcheck.plugins import example_inputs
from regcheck.tracing.example_inputs import candidates

from ..accepted_inputs import accepted, first, shapes


def test_the_examples_of_a_model_come_first() -> None:
    """`example_input_array` and `dummy_inputs` come before anything that is guessed."""
    model = nn.Linear(5, 3)
    model.example_input_array = torch.ones(2, 5)  # type: ignore[assignment]
    assert next(candidates(model, example_inputs(model))).origin == "example_input_array"
    del model.example_input_array
    model.dummy_inputs = {"input": torch.ones(2, 5)}  # type: ignore[assignment]
    assert next(candidates(model, example_inputs(model))).kwargs.keys() == {"input"}


def test_a_pretrained_configuration_comes_before_guesses() -> None:
    """Images have the size that a timm model's weights were trained with."""
    net = nn.Conv2d(3, 4, 3)
    net.pretrained_cfg = {"input_size": (3, 96, 80)}  # type: ignore[assignment]
    assert shapes(next(candidates(net, example_inputs(net)))) == [(4, 3, 96, 80)]


def test_large_images_come_in_smaller_numbers() -> None:
    """A model made for large images is tried on fewer of them."""
    net = nn.Conv2d(3, 4, 3)
    net.pretrained_cfg = {"input_size": (3, 1024, 1024)}  # type: ignore[assignment]
    assert shapes(next(candidates(net, example_inputs(net)))) == [(1, 3, 1024, 1024)]


def test_a_broken_declaration_stops_nothing() -> None:
    """A property that raises, or an odd value, costs only that source of inputs."""

    class Odd(nn.Linear):
        default_cfg = "none"

        @property
        def example_inputs(self) -> Any:
            raise RuntimeError("not ready")

    model = Odd(4, 2)
    assert shapes(first(model, example_inputs(model))) == [(4, 4)]


@pytest.mark.parametrize(
    ("declared", "expected"), [((3, 8, 8), (4, 3, 8, 8)), ((1, 22, 100), (4, 22, 100)), ([5], (4, 5))]
)
def test_declared_shapes_come_before_guesses(declared: Any, expected: tuple[int, ...]) -> None:
    """`input_shape` gives the first inputs to try, with or without its axis of samples."""
    model = nn.Flatten()
    model.input_shape = declared  # type: ignore[assignment]
    assert shapes(next(candidates(model, example_inputs(model)))) == [expected]


def test_a_leading_one_may_be_a_channel() -> None:
    """An `input_shape` of (1, height, width) also runs a convolution of one channel."""
    model = nn.Sequential(nn.Conv2d(1, 4, 3), nn.Flatten(), nn.Linear(4 * 8 * 6, 2))
    model.input_shape = (1, 10, 8)  # type: ignore[assignment]
    assert shapes(accepted(model, 2, example_inputs(model))) == [(4, 1, 10, 8)]


@pytest.mark.parametrize("declared", [(), "abc", (None, 3), (3, -1), (True, 2), (1 << 20, 1 << 20), 7])
def test_other_declared_shapes_are_passed_over(declared: Any) -> None:
    """An `input_shape` that is no shape, or too large, leaves the guesses as they are."""
    model = nn.Linear(5, 2)
    model.input_shape = declared
    assert shapes(next(candidates(model, example_inputs(model)))) == [(4, 5)]
