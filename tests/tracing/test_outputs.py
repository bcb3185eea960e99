"""Results of every kind are followed, or the report says that they were not."""

from __future__ import annotations

import array
import asyncio
import functools
import io
import time
from collections import deque
from collections.abc import AsyncIterator, Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from multiprocessing.pool import AsyncResult, ThreadPool
from pathlib import Path
from types import SimpleNamespace
from typing import Any, NamedTuple

import attr
import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import nn

from regcheck import audit
from regcheck.core.finding import Verdict
from regcheck.core.report import Report
from regcheck.tracing.record import NO_OUTPUT

X = torch.randn(16, 8, generator=torch.Generator().manual_seed(0))


class Net(nn.Module):
    """Drops in eval mode too, unless told not to, and gives its result the form it is told."""

    def __init__(self, form: Callable[[torch.Tensor], Any], sound: bool = False) -> None:
        super().__init__()
        self.first, self.second, self.form, self.sound = nn.Linear(8, 64), nn.Linear(64, 8), form, sound

    def forward(self, x: torch.Tensor) -> Any:
        h = F.dropout(self.first(x), 0.5, training=self.training or not self.sound)
        return self.form(self.second(h))


@dataclass
class Scores:
    values: list[float]
    label: str = "cat"


@attr.s(auto_attribs=True, slots=True)
class Slotted:
    scores: Any


class Named(NamedTuple):
    score: float
    size: int


def running(work: Callable[[], Any]) -> Any:
    return ThreadPoolExecutor(1).submit(work)


def pooled(work: Callable[[], Any]) -> AsyncResult[Any]:
    pool = ThreadPool(1)
    result = pool.apply_async(work)
    pool.close()
    return result


def done(value: Any) -> Future[Any]:
    future: Future[Any] = Future()
    future.set_result(value)
    return future


def promised(value: Any) -> torch.futures.Future[Any]:
    future: torch.futures.Future[Any] = torch.futures.Future()
    future.set_result(value)
    return future


async def soon(y: torch.Tensor) -> torch.Tensor:
    await asyncio.sleep(0.001)
    return y * 2


async def rows(y: torch.Tensor) -> AsyncIterator[torch.Tensor]:
    for row in y:
        await asyncio.sleep(0)
        yield row


FOLLOWED: dict[str, Callable[[torch.Tensor], Any]] = {
    "a tensor": lambda y: y,
    "an array": lambda y: y.detach().numpy(),
    "an array computed from one": lambda y: np.tanh(y.detach().numpy()) * 2,
    "an array of objects": lambda y: np.array([row.tolist() for row in y], dtype=object),
    "a number": lambda y: y.mean().item(),
    "a float": lambda y: float(y.mean()),
    "a NumPy number": lambda y: y.detach().numpy().mean(),
    "a rounded number": lambda y: round(y.mean().item(), 4),
    "a complex number": lambda y: complex(y.mean()),
    "a whole number": lambda y: int(1000 * y.mean()),
    "a list": lambda y: y.tolist(),
    "a list of numbers": lambda y: [each.item() for each in y.mean(1)],
    "a list of parts of a list": lambda y: [row[0] for row in y.tolist()],
    "an array of numbers": lambda y: array.array("d", y.mean(1).tolist()),
    "a dict of numbers": lambda y: {"first": float(y[0, 0]), "label": "cat", "none": None},
    "rows of several lengths": lambda y: [[0.5] * (i % 3) + row[i % 5 :] for i, row in enumerate(y.tolist())],
    "a set": lambda y: {float(y.mean())},
    "values": lambda y: {"a": y.mean().item()}.values(),
    "a deque": lambda y: deque([y.mean().item()]),
    "decisions": lambda y: [bool(each) for each in y.flatten() > 0],
    "choices": lambda y: [0.5 if each else 0.2 for each in y.flatten() > 0],
    "a generator": lambda y: (row for row in y),
    "a generator that computes": lambda y: (F.relu(row).tolist() for row in y),
    "a map": lambda y: map(torch.sigmoid, y),
    "an endless iterator": lambda y: iter(lambda: y[0], None),
    "a future": lambda y: done(y.tolist()),
    "a future at work": lambda y: running(lambda: y * 2),
    "torch's future": lambda y: promised(y),
    "a pool's result": lambda y: pooled(y.sigmoid),
    "a coroutine": soon,
    "an asynchronous generator": rows,
    "a dataclass": lambda y: Scores(y.mean(1).tolist()),
    "a namespace": lambda y: SimpleNamespace(score=float(y.sum()), tags=["a"]),
    "slots": lambda y: Slotted([y.mean(1).tolist()]),
    "a named tuple": lambda y: Named(y.mean().item(), len(y)),
    "a distribution": lambda y: torch.distributions.Normal(y, 1.0),
    "a distribution of distributions": lambda y: torch.distributions.Independent(
        torch.distributions.Categorical(logits=y), 1
    ),
    "a transformed distribution": lambda y: torch.distributions.TransformedDistribution(
        torch.distributions.Normal(torch.zeros_like(y), 1.0), [torch.distributions.AffineTransform(y, 2.0)]
    ),
    "a packed sequence": lambda y: nn.utils.rnn.pack_padded_sequence(y[:, None], torch.ones(len(y)), True),
    "a sparse tensor": lambda y: y.to_sparse(),
    "a sparse matrix": lambda y: y.to_sparse_csr(),
    "a nested tensor": lambda y: torch.nested.nested_tensor([y[:3], y[3:]]),
    "a jagged tensor": lambda y: torch.nested.as_nested_tensor([y[:3], y[3:]], layout=torch.jagged),
    "a view of an array": lambda y: {"rows": y.detach().cpu().numpy()[3:]},
    "a function": lambda y: lambda x: x * y,
    "numbers beside tensors": lambda y: (X, round(y.mean().item(), 4)),
    "a time beside a number": lambda y: {"score": y.mean().item(), "at": time.time()},
}


@pytest.mark.filterwarnings("ignore:Sparse")
@pytest.mark.parametrize("form", FOLLOWED.values(), ids=FOLLOWED)
def test_a_dropout_is_followed_into_results_of_every_kind(form: Callable[[torch.Tensor], Any]) -> None:
    """A dropout that stays on in eval mode is found and proved, whatever the result is made of."""
    report = audit(Net(form), X)
    (found,) = [each for each in report.findings if each.code == "REG202"]
    assert found.evidence.verdict is Verdict.CONFIRMED, found.evidence


@pytest.mark.filterwarnings("ignore:Sparse")
@pytest.mark.parametrize("form", FOLLOWED.values(), ids=FOLLOWED)
def test_a_sound_model_stays_silent_whatever_it_returns(form: Callable[[torch.Tensor], Any]) -> None:
    """The same results of a dropout that heeds the mode give no finding, and leave nothing unchecked."""
    report = audit(Net(form, sound=True), X)
    assert report.findings == ()
    unread = {
        FOLLOWED["an endless iterator"]: "`output` yields more than 64 items; the rest was not read",
        FOLLOWED["a function"]: "forward returns a function (`output`), and calls of it were not recorded",
    }
    assert [each.reason for each in report.not_checked] == ([unread[form]] if form in unread else [])


class Later:
    """A prediction that is computed when it is asked for."""

    def __init__(self, net: nn.Module, x: torch.Tensor) -> None:
        self.net, self.x = net, x

    def value(self) -> Any:
        return self.net(self.x)


UNFOLLOWED: dict[str, tuple[Callable[[torch.Tensor], Any], str]] = {
    "nothing": (lambda y: None, NO_OUTPUT),
    "no parts": (lambda y: [None, {}], NO_OUTPUT),
    "a word": (lambda y: ["cat", "dog"][int(y.mean() > 0)], NO_OUTPUT),
    "a number that nobody computed": (lambda y: 0.5, NO_OUTPUT),
    "a number of another thread": (lambda y: running(lambda: y.tolist()), NO_OUTPUT),
    "an object": (lambda y: object(), NO_OUTPUT),
    "a file": (lambda y: io.StringIO(str(y.tolist())), NO_OUTPUT),
    "a plain function": (lambda y: print, NO_OUTPUT),
    "a module": (
        lambda y: nn.Linear(8, 8),
        "forward returns a module (`output`), and calls of it were not recorded",
    ),
    "a method": (
        lambda y: functools.partial(nn.Linear(8, 8).forward, y),
        "forward returns a function (`output`), and calls of it were not recorded",
    ),
    "what is computed later": (
        lambda y: Later(nn.Linear(8, 8), y),
        "forward returns a module (`net`), and calls of it were not recorded",
    ),
}


@pytest.mark.parametrize(("form", "reason"), UNFOLLOWED.values(), ids=UNFOLLOWED)
def test_a_result_that_cannot_be_followed_is_not_checked(form: Callable[[torch.Tensor], Any], reason: str) -> None:
    """Nothing in a result that tensors could be followed to is told, with the line of forward."""
    report = audit(Net(form, sound=True), X)
    assert report.findings == ()
    (missed, *_) = [each for each in report.not_checked if each.reason == reason]
    assert (missed.subject, missed.line) == ("Net", Net.forward.__code__.co_firstlineno)
    assert missed.path is not None and Path(missed.path).resolve() == Path(__file__)


def test_a_result_of_one_mode_is_told_with_the_mode() -> None:
    """A forward that returns nothing in train mode alone was not checked in that mode."""

    class Trains(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.layer = nn.Linear(8, 8)

        def forward(self, x: torch.Tensor) -> torch.Tensor | None:
            return None if self.training else self.layer(x)

    report = audit(Trains(), X)
    assert [(each.subject, each.reason) for each in report.not_checked] == [("Trains in train mode", NO_OUTPUT)]


def test_a_result_is_told_where_there_are_no_inputs_either() -> None:
    """A model that is followed without inputs and returns nothing was not checked."""

    class Two(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.first, self.second = nn.Linear(3, 2), nn.Linear(5, 2)

        def forward(self, a: torch.Tensor, b: torch.Tensor) -> None:
            self.kept = self.first(a.view(-1, 3)) + self.second(b.view(-1, 5)) + a.view(7, 11, 13).sum()

    report = audit(Two())
    assert report.coverage[0].how == "symbolic"
    assert [each.reason for each in report.not_checked] == [NO_OUTPUT]


def test_a_generator_of_the_programs_own_is_not_read() -> None:
    """What a call gave before it was watched, or is handed in, stays unread: a copy is consumed alone."""
    net = Net(lambda y: (row for row in y), sound=True)
    before = net(X)
    audit(net, X)
    assert len([*before]) == len([*net(X)]) == len(X)


def test_a_coroutine_is_run_where_a_loop_runs_already() -> None:
    """An audit in a notebook, whose loop is running, follows an asynchronous forward all the same."""

    async def main() -> Report:
        return audit(Net(soon), X)

    report = asyncio.run(main())
    assert [each.code for each in report.findings] == ["REG202"]


def test_an_iterator_that_raises_is_an_error_of_forward() -> None:
    """What a generator raises as it is read is told with its line, as what forward raises is."""

    def failing(y: torch.Tensor) -> Iterator[torch.Tensor]:
        yield y
        raise ValueError("no more")

    report = audit(Net(failing), X)
    assert report.findings == ()
    assert any("forward raised ValueError: no more" in each.reason for each in report.not_checked)


def test_dropped_numbers_are_outputs() -> None:
    """A dropout right before its values leave as numbers is one on the output."""

    class Dropped(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.layer, self.drop = nn.Linear(8, 64), nn.Dropout(0.5)

        def forward(self, x: torch.Tensor) -> list[list[float]]:
            scores: list[list[float]] = self.drop(self.layer(x)).tolist()
            return scores

    (found,) = audit(Dropped(), X).findings
    assert (found.code, found.evidence.verdict) == ("REG101", Verdict.CONFIRMED)
