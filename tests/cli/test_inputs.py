"""The forms of `regcheck audit --input`, and the errors about invalid ones."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

from regcheck.cli.inputs import InputSpec, as_arguments, build_arguments, parse_input
from regcheck.cli.main import main
from regcheck.core.errors import CannotBuild, UsageError
from regcheck.tracing.example_inputs import drawn_for


@pytest.mark.parametrize(
    ("text", "given"),
    [
        ("8", InputSpec((8,))),
        ("1x3x224x224", InputSpec((1, 3, 224, 224))),
        ("float16[4, 3,32,32]", InputSpec((4, 3, 32, 32), "float16")),
        ("bool[]", InputSpec((), "bool")),
        ("ids:int64[2,16]", InputSpec((2, 16), "int64", "ids")),
        ("sub/file.py:make_inputs", InputSpec(factory="sub/file.py:make_inputs")),
    ],
)
def test_every_form_is_read(text: str, given: InputSpec) -> None:
    """Shapes, dtypes with a shape, keywords and factories are parsed."""
    assert parse_input(text) == given


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("3x0", "an input is written as `1x3x224x224`"),
        ("ids:int46[2]", "there is no dtype 'int46' (did you mean 'int64'?)"),
        ("float32[2,,3]", "the sizes are written as in [4,3,32,32]"),
        ("float32[0]", "the sizes are written as in [4,3,32,32]"),
        ("file.py", "an input is written as"),
        ("2ids:int64[2]", "an input is written as"),
    ],
)
def test_what_is_no_input_is_refused(text: str, says: str) -> None:
    """A malformed input is wrong usage; the message shows the right form."""
    with pytest.raises(UsageError) as caught:
        parse_input(text)
    assert says in str(caught.value)


X, Y = torch.ones(2), torch.zeros(3)


@pytest.mark.parametrize(
    ("value", "args", "kwargs"),
    [
        (X, [X], {}),
        ((X, Y), [X, Y], {}),
        ({"x": X}, [], {"x": X}),
        (((X,), {"y": Y}), [X], {"y": Y}),
        (([X], {}), [X], {}),
        ([X, Y], [[X, Y]], {}),
    ],
)
def test_a_factory_returns_arguments(value: Any, args: list[Any], kwargs: dict[str, Any]) -> None:
    """A tuple is several arguments, a dict keyword arguments, a pair both, and anything else one argument."""
    assert as_arguments(value, "f") == (args, kwargs)


def test_a_factory_must_return_something() -> None:
    """A factory without `return` is an error that says what to return."""
    with pytest.raises(CannotBuild) as caught:
        as_arguments(None, "file.py:make")
    assert "file.py:make returned nothing" in str(caught.value) and "return a tensor" in caught.value.what_to_do


def test_inputs_add_up() -> None:
    """Several inputs are several arguments; ids are valid for the model's embedding."""
    model = nn.Sequential(nn.Embedding(5, 3))
    args, kwargs = build_arguments(
        [parse_input("int64[2,40]"), parse_input("scale:float64[2]")], partial(drawn_for, model)
    )
    assert args[0].shape == (2, 40) and args[0].max() < 5
    assert kwargs["scale"].dtype == torch.float64


SOURCE = """\
import torch
from torch import nn
import torch.nn.functional as F


class Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.table, self.out = nn.Embedding(9, 4), nn.Linear(4, 2)

    def forward(self, tokens, *, scale):
        return F.dropout(self.out(self.table(tokens) * scale), 0.4)


def make_inputs():
    return (torch.zeros(2, 3, dtype=torch.long),), {"scale": torch.ones(1)}


def raises():
    return torch.zeros(2) @ torch.zeros(3)
"""


@pytest.fixture(autouse=True)
def no_module_stays(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Another test may have a `net` of its own."""
    monkeypatch.delitem(sys.modules, "net", raising=False)
    yield
    sys.modules.pop("net", None)


@pytest.mark.parametrize(
    "inputs",
    [["net.py:make_inputs"], ["int64[2,3]", "scale:float32[1]"]],
    ids=["factory", "tensors"],
)
def test_the_model_runs_on_them(
    inputs: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """An audit from the command line runs the model on the given inputs, and confirms its finding."""
    (tmp_path / "net.py").write_text(SOURCE, encoding="utf-8")
    monkeypatch.chdir(tmp_path)
    asked = [word for each in inputs for word in ("--input", each)]
    assert main(["audit", "net.py:Net", *asked, "--select", "REG202", "--output-format", "concise"]) == 1
    said = capsys.readouterr().out
    assert "net.py:12:" in said and "REG202" in said and "confirmed" in said


def test_a_factory_that_raises_is_named_with_its_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """If a factory raises, the model is not checked, and the entry has the factory's own line."""
    (tmp_path / "net.py").write_text(SOURCE, encoding="utf-8")
    monkeypatch.chdir(tmp_path)
    assert main(["audit", "net.py:Net", "--input", "net.py:raises", "--strict", "--output-format", "concise"]) == 3
    said = capsys.readouterr().out
    assert "net.py:20" in said and "net.py:raises raised: RuntimeError" in said
