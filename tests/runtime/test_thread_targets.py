"""Models that are handed to a thread or a pool as what it shall call are seen where they are handed over."""

from __future__ import annotations

import _thread
import os
import signal
import sys
import textwrap
import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from multiprocessing.pool import Pool, ThreadPool
from pathlib import Path

import pytest
import torch
from torch import nn

import regcheck
from regcheck.core.usage import Called
from regcheck.runtime.recorder import EventRecorder, Observation

from .conftest import See

WAYS = {
    "map": """\
        with ThreadPoolExecutor(2) as pool:
            results = list(pool.map(net, [x, x]))  # <-
    """,
    "submit": """\
        with ThreadPoolExecutor(2) as pool:
            results = [each.result() for each in [pool.submit(net, x)]]  # <-
    """,
    "a partial": """\
        with ThreadPoolExecutor(2) as pool:
            results = [pool.submit(functools.partial(net, x)).result()]  # <-
    """,
    "a method": """\
        with ThreadPoolExecutor(2) as pool:
            results = [pool.submit(net.__call__, x).result()]  # <-
    """,
    "without gradients": """\
        with ThreadPoolExecutor(2) as pool:
            results = [pool.submit(torch.no_grad()(net), x).result()]  # <-
    """,
    "a thread": """\
        thread = threading.Thread(target=net, args=(x,))
        thread.start()  # <-
        thread.join()
    """,
    "a timer": """\
        timer = threading.Timer(0.01, net, (x,))
        timer.start()  # <-
        timer.join()
    """,
    "to_thread": """\
        async def main():
            return await asyncio.to_thread(net, x)  # <-
        results = [asyncio.run(main())]
    """,
    "run_in_executor": """\
        async def main():
            return await asyncio.get_running_loop().run_in_executor(None, net, x)  # <-
        results = [asyncio.run(main())]
    """,
    "a callback": """\
        async def main():
            asyncio.get_running_loop().call_soon(net, x)
            await asyncio.sleep(0.01)
        asyncio.run(main())  # <-
    """,
    "a pool's map": """\
        with ThreadPool(2) as pool:
            results = pool.map(net, [x, x])  # <-
    """,
    "a pool's starmap": """\
        with ThreadPool(2) as pool:
            results = pool.starmap(net, [(x,), (x,)])  # <-
    """,
    "a pool's imap": """\
        with ThreadPool(2) as pool:
            results = list(pool.imap(func=net, iterable=[x, x]))  # <-
    """,
    "a pool's imap in chunks": """\
        with ThreadPool(2) as pool:
            results = list(pool.imap_unordered(net, [x, x], 2))  # <-
    """,
    "a pool's apply": """\
        with ThreadPool(2) as pool:
            results = [pool.apply(net, (x,))]  # <-
    """,
    "a function of the program's": """\
        def predict(x):
            return net(x)  # <-
        with ThreadPoolExecutor(2) as pool:
            results = list(pool.map(predict, [x, x]))
    """,
    "a partial of a function of the program's": """\
        def predict(net, x):
            return net(x)  # <-
        with ThreadPoolExecutor(2) as pool:
            results = list(pool.map(functools.partial(predict, net), [x, x]))
    """,
}

IMPORTS = """\
import asyncio, functools, threading
from concurrent.futures import ThreadPoolExecutor
from multiprocessing.pool import ThreadPool
"""


def program(body: str, before: str = "net = Net().eval()") -> str:
    return f"{IMPORTS}{before}\n{textwrap.dedent(body)}"


def marked(path: Path) -> int:
    (line,) = [i for i, each in enumerate(path.read_text().splitlines(), 1) if "# <-" in each]
    return line


def calls(seen: Observation) -> list[Called]:
    return [call for _, call in seen.usage.calls()]


@pytest.mark.parametrize("body", WAYS.values(), ids=WAYS)
def test_a_call_stands_where_its_model_was_handed_over(see: See, tmp_path: Path, body: str) -> None:
    """However a model comes to run in another thread, its call is captured, at the line that handed it over."""
    seen = see(program(body))
    (call,) = {(each.place, each.grad): each for each in calls(seen)}.values()
    assert call.place is not None
    assert (call.place.path, call.place.line) == (str(tmp_path / "program.py"), marked(tmp_path / "program.py"))
    assert [type(each.model).__name__ for each in seen.captures] == ["Net"]


@pytest.mark.parametrize("body", WAYS.values(), ids=WAYS)
@pytest.mark.parametrize("sound", [False, True], ids=["faulty", "sound"])
def test_a_model_that_a_thread_calls_is_checked(tmp_path: Path, body: str, sound: bool) -> None:
    """A dropout that ignores the mode is found in a model that only other threads call, and no other is."""
    gate = ", training=self.training" if sound else ""
    text = f"""\
import torch
from torch import nn
import torch.nn.functional as F

class Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.first, self.second = nn.Linear(8, 16), nn.Linear(16, 2)

    def forward(self, x):
        return self.second(F.dropout(self.first(x), 0.5{gate}))

x = torch.ones(4, 8)
"""
    path = tmp_path / "serve.py"
    path.write_text(text + program(body))
    with regcheck.watch() as watching:
        exec(compile(path.read_text(), str(path), "exec"), {"__name__": "serve"})
    assert [(each.code, each.line) for each in watching.report.findings] == ([] if sound else [("REG202", 11)])
    assert watching.report.not_checked == ()


def test_a_thread_has_gradients_of_its_own(see: See) -> None:
    """That the main thread runs without gradients says nothing of a call in a pool."""
    seen = see(
        program(
            """\
            with torch.no_grad(), ThreadPoolExecutor(1) as pool:
                scores = [each.argmax(1) for each in pool.map(net, [x])]
            """,
            "net = Net()",
        )
    )
    assert [(each.training, each.grad) for each in calls(seen)] == [(True, True)]


def test_a_prediction_in_train_mode_stands_at_the_line_that_hands_over(
    missing_evals: Callable[..., list[str]],
) -> None:
    """Work that keeps gradients off itself predicts, in train mode, where it is handed over."""
    lines = missing_evals(
        program(
            """\
            def main():
                with ThreadPoolExecutor(1) as pool:
                    return pool.submit(torch.no_grad()(net), x).result().argmax(1)
            main()
            """,
            "net = Net()",
        )
    )
    assert lines == ["return pool.submit(torch.no_grad()(net), x).result().argmax(1)"]


def test_what_a_thread_computes_for_nobody_is_no_prediction(missing_evals: Callable[..., list[str]]) -> None:
    """The result of a thread's work is lost, so that nothing is predicted by it."""
    body = "threads = [threading.Thread(target=torch.no_grad()(net), args=(x,))]\n[each.start() for each in threads]\n"
    assert missing_evals(program(body + "[each.join() for each in threads]\n", "net = Net()")) == []


def test_what_a_model_hands_to_threads_is_part_of_its_call(see: See) -> None:
    """The parts that a forward calls in threads of its own are no models of the program."""
    seen = see(
        program(
            """\
            class Ensemble(nn.Module):
                def __init__(self):
                    super().__init__()
                    self.members = nn.ModuleList([Net(), Net()])

                def forward(self, x):
                    with ThreadPoolExecutor(2) as pool:
                        first = sum(pool.map(lambda member: member(x), self.members))
                        first = first + sum(pool.map(lambda member: member(x), self.members))
                    thread = threading.Thread(target=lambda: self.members[0](x))
                    thread.start()
                    thread.join()
                    with ThreadPool(1) as pool:
                        return first + sum(pool.map(lambda member: member(x), self.members))

            ensemble = Ensemble().eval()
            y = ensemble(x)
            """
        )
    )
    assert {each.model.name for each in calls(seen)} == {"Ensemble"}


def test_a_pool_that_a_forward_has_made_serves_the_program_too(see: See) -> None:
    """A pool's thread that was started in a model's call tells calls of the program's from those of the model."""
    seen = see(
        program(
            """\
            pool = ThreadPoolExecutor(1)

            class Outer(nn.Module):
                def __init__(self):
                    super().__init__()
                    self.net = Net()

                def forward(self, x):
                    return pool.submit(self.net, x).result()

            outer = Outer().eval()
            y = outer(x)
            z = pool.submit(net, x).result()
            w = pool.submit(lambda: net(x)).result()
            pool.shutdown()
            """
        )
    )
    assert [each.model.name for each in calls(seen)] == ["Outer", "Net", "Net"]


def test_a_thread_of_which_nobody_tells_is_seen_at_forward(see: See, tmp_path: Path) -> None:
    """A model that a thread took from a place out of sight is captured, and its call is no prediction."""
    seen = see(
        program(
            """\
            worker = threading.Thread(target=list, args=(map(net, [x]),))
            worker.start()
            worker.join()
            """
        )
    )
    (call,) = calls(seen)
    assert (
        call.place is not None
        and call.place.line
        == Path(tmp_path / "program.py").read_text().splitlines().index("    def forward(self, x):") + 1
    )
    assert call.result == "discarded"
    assert len(seen.captures) == 1


@pytest.mark.skipif(not hasattr(os, "fork"), reason="there is no fork here")
@pytest.mark.filterwarnings("ignore:.*fork.*:DeprecationWarning")  # forking with threads is what this is about
def test_a_forked_process_starts_threads_whatever_ran_as_it_was_forked(tmp_path: Path) -> None:
    """A note that another thread was taking at a fork does not keep the child from starting a thread."""
    with EventRecorder(root=str(tmp_path)) as watch:
        held, over = threading.Event(), threading.Event()

        def hold() -> None:
            with watch._lock:
                held.set()
                over.wait(60)

        holder = threading.Thread(target=hold)
        holder.start()
        held.wait(60)
        child = os.fork()
        if child == 0:
            signal.alarm(20)
            started = threading.Thread(target=int)
            started.start()
            started.join()
            os._exit(0)
        _, status = os.waitpid(child, 0)
        over.set()
        holder.join()
    assert status == 0


def test_a_thread_may_begin_with_a_model(tmp_path: Path) -> None:
    """Where a model, its mode or a backward pass is the bottom of a thread's stack, it runs as it does unwatched."""
    net, ran = nn.Sequential(nn.Linear(8, 8), nn.Dropout(0.5)).eval(), threading.Event()
    loss = net(torch.ones(4, 8)).sum()
    net.register_forward_hook(lambda *_: ran.set())
    failed: list[object] = []
    before, sys.unraisablehook = sys.unraisablehook, failed.append
    try:
        with EventRecorder(root=str(tmp_path)):
            _thread.start_new_thread(net, (torch.ones(4, 8),))
            assert ran.wait(60)
            _thread.start_new_thread(net.train, ())
            _thread.start_new_thread(torch.autograd.backward, (loss,))
            for _ in range(6000):
                if failed or (net.training and net[0].weight.grad is not None):
                    break
                time.sleep(0.01)
    finally:
        sys.unraisablehook = before
    assert failed == []
    assert net.training and net[0].weight.grad is not None


class Adds(nn.Module):
    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x + 1


def test_the_doors_are_put_back(tmp_path: Path) -> None:
    """When a watch ends, threads and pools are as they were."""
    doors = [(threading.Thread, "start"), (ThreadPoolExecutor, "submit")]
    doors += [(Pool, name) for name in ("apply_async", "_map_async", "imap", "imap_unordered")]
    before = [vars(owner)[name] for owner, name in doors]
    with EventRecorder(root=str(tmp_path)):
        assert all(vars(owner)[name] is not kept for (owner, name), kept in zip(doors, before, strict=True))
    assert [vars(owner)[name] for owner, name in doors] == before


def test_pools_work_as_they_do(tmp_path: Path) -> None:
    """Results, exceptions and refusals are those of the pool, and processes get the very work."""

    def fails() -> None:
        raise ValueError("mine")

    with EventRecorder(root=str(tmp_path)):
        with ThreadPoolExecutor(1) as pool:
            assert pool.submit(Adds(), torch.zeros(2)).result().tolist() == [1, 1]
            assert isinstance(pool.submit(fails).exception(), ValueError)
            with pytest.raises(TypeError):
                pool.submit()  # type: ignore[call-arg]
        with pytest.raises(RuntimeError, match="after shutdown"):
            pool.submit(fails)
        with ThreadPool(1) as threads:
            assert threads.map(Adds(), [torch.zeros(1)])[0].item() == 1
            with pytest.raises(ValueError, match="mine"):
                threads.apply(fails)
        known = threading.enumerate()
    assert threading.enumerate() == known
