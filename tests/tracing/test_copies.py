"""Copies that are made part by part: what is copied, what is shared, and what stands aside."""

from __future__ import annotations

import copy
import functools
import io
import itertools
import logging
import queue
import random
import threading
import weakref
from typing import Any

import numpy
import pytest
import torch
from torch import nn
from torch.nn.utils import prune

from regcheck.tracing.copies import objects
from regcheck.tracing.copies.objects import Copier
from regcheck.tracing.copies.shared import CannotDuplicate, NotCopied


def duplicate(value: Any) -> Any:
    return Copier().copy(value)


class Keeps:
    """Whatever it is given, and a slot."""

    __slots__ = ("__dict__", "slot")

    def __init__(self, **kept: Any) -> None:
        self.__dict__.update(kept)
        self.slot = [1]


def test_what_is_shared_stays_shared_and_what_is_tied_stays_tied() -> None:
    """Tied parameters, views of a storage, containers in two places and cycles are the same in the copy."""
    model = nn.Sequential(nn.Linear(2, 2), nn.Linear(2, 2))
    model[1].weight = model[0].weight
    model.register_buffer("view", model[0].weight.data[:1])
    model.kept = model.again = [model]
    twin = duplicate(model)
    assert twin[1].weight is twin[0].weight is not model[0].weight
    assert twin.view.data_ptr() == twin[0].weight.data_ptr() != model.view.data_ptr()
    assert twin.kept is twin.again and twin.kept[0] is twin


def test_attributes_of_parameters_and_of_tensors_go_along() -> None:
    """What a program has written on parameters and buffers is on those of the copy, and not shared."""
    model = nn.BatchNorm1d(2)
    model.weight.calls, model.running_mean.seen = 3, [1]
    twin = duplicate(model)
    assert twin.weight.calls == 3 and twin.running_mean.seen == [1]
    assert twin.running_mean.seen is not model.running_mean.seen


@pytest.mark.filterwarnings("ignore:.*weight_norm")  # which is deprecated, and still used
def test_what_has_a_history_is_detached() -> None:
    """Old weight norms, pruned weights and outputs that are kept are copied without their history."""
    model = nn.Sequential(nn.utils.weight_norm(nn.Linear(2, 2)), prune.l1_unstructured(nn.Linear(2, 2), "weight", 1))
    model.kept = model(torch.ones(1, 2))
    twin = duplicate(model)
    assert twin.kept.equal(model.kept) and twin.kept.grad_fn is None
    assert twin(torch.ones(1, 2)).equal(model(torch.ones(1, 2)))
    assert model.kept._version == 0


def test_functions_close_over_the_copies() -> None:
    """Closures, bound methods, partial functions, defaults and hooks of the copy refer to parts of the copy."""
    model, seen, number = nn.Linear(2, 2), [], 0

    def note(*given: Any, where: list[Any] = seen) -> nn.Module:
        nonlocal number
        number += 1
        where.append(number)
        return model

    model.note, model.part, model.bound, model.add = note, functools.partial(note, model), model.extra_repr, seen.append
    model.memo = functools.lru_cache(model.extra_repr)
    model.register_forward_hook(note)
    twin = duplicate(model)
    assert twin.note() is twin and twin.part.args == (twin,) and twin.bound.__self__ is twin
    twin.add(7)
    assert (seen, number) == ([], 0)
    assert twin.add.__self__ is twin.note.__kwdefaults__["where"] == [1, 7]
    assert twin.memo.__wrapped__.__self__ is twin
    assert next(iter(twin._forward_hooks.values())) is twin.note


def test_objects_of_plain_classes_are_copied_without_being_asked() -> None:
    """Neither `__deepcopy__` nor `__reduce__`, `__getstate__`, the constructor or the finalizer of a class is run."""
    called = []

    class Loud(Keeps):
        def __init__(self) -> None:
            super().__init__(kept=[1])
            called.append("made")

        def __deepcopy__(self, memo: Any) -> Any:
            called.append("copied")
            return self

        def __getstate__(self) -> Any:
            called.append("taken apart")

        def __del__(self) -> None:
            called.append("gone")

    loud = Loud()
    twin = duplicate(loud)
    assert isinstance(twin, Loud) and twin.kept == [1] == twin.slot
    assert twin.kept is not loud.kept and twin.slot is not loud.slot
    del twin
    assert called == ["made"]


def test_random_streams_arrays_and_iterators_go_on_from_where_they_are() -> None:
    """Streams and iterators give the copy what they would have given next, and go on where they were afterwards."""
    kept = Keeps(
        dice=random.Random(1),
        rng=numpy.random.default_rng(1),
        state=numpy.random.RandomState(1),
        generator=torch.Generator().manual_seed(1),
        count=itertools.count(3),
        items=iter([1, 2]),
        array=numpy.zeros(2),
        objects=numpy.array([[1], None], dtype=object),
        some=bytearray(2),
    )
    expected = copy.deepcopy(kept.rng).random(), random.Random(1).random()
    twin = duplicate(kept)
    twin.array[0] = twin.some[0] = 5
    twin.objects[0].append(2)
    assert (twin.rng.random(), twin.dice.random(), next(twin.count), next(twin.items)) == (*expected, 3, 1)
    assert twin.state.rand() == kept.state.rand()
    assert torch.rand(1, generator=twin.generator).equal(torch.rand(1, generator=kept.generator))
    assert (kept.rng.random(), kept.dice.random(), next(kept.count), next(kept.items)) == (*expected, 3, 1)
    assert kept.array[0] == kept.some[0] == 0 and kept.objects[0] == [1]


def test_the_streams_of_the_process_are_shared() -> None:
    """`random.random` kept as a function draws from the stream that is put back, as it does in the original."""
    assert duplicate([random.random])[0].__self__ is random.random.__self__
    assert duplicate([torch.default_generator])[0] is torch.default_generator


def test_locks_are_new_and_open() -> None:
    """A lock that is held is free in the copy, and a condition waits on the copy of its lock."""
    kept = Keeps(lock=threading.Lock(), again=threading.RLock(), condition=threading.Condition(), queue=queue.Queue())
    kept.lock.acquire()
    kept.queue.put(1)
    twin = duplicate(kept)
    assert not twin.lock.locked() and twin.lock is not kept.lock and twin.again is not kept.again
    with twin.condition:
        twin.condition.notify()
    assert twin.queue.get(timeout=1) == 1 and kept.queue.qsize() == 1


def test_a_queue_with_a_thread_at_its_end_is_refused() -> None:
    """A model that holds a queue and a thread that runs would wait for ever, or send what nobody has computed."""
    stop = threading.Event()
    thread = threading.Thread(target=stop.wait)
    thread.start()
    try:
        with pytest.raises(CannotDuplicate, match="queue"):
            duplicate(Keeps(queue=queue.Queue(), thread=thread))
    finally:
        stop.set()
        thread.join()


def test_what_stands_for_something_outside_is_shared() -> None:
    """Logs, modules, classes, threads and functions that keep nothing are those of the original."""
    kept = Keeps(log=logging.getLogger("net"), module=torch, cls=nn.Linear, act=torch.relu, thread=threading.Thread())
    assert vars(duplicate(kept)) == vars(kept)


def test_what_cannot_be_copied_raises_where_it_is_used() -> None:
    """A generator and an open file are out of reach: the original's are not advanced, read or written."""
    with open(__file__, encoding="utf-8") as file:
        kept = Keeps(lazy=(each for each in (1, 2)), file=file, text=io.StringIO("begun"))
        twin = duplicate(kept)
        with pytest.raises(NotCopied, match="generator"):
            next(twin.lazy)
        with pytest.raises(NotCopied, match="TextIOWrapper"):
            twin.file.read()
        twin.text.write("other")
        assert next(kept.lazy) == 1 and file.tell() == 0 and kept.text.getvalue() == "begun"


def test_what_a_copy_writes_to_a_file_is_dropped(tmp_path: Any) -> None:
    """The file that the original writes to has nothing from its copies."""
    with open(tmp_path / "log.txt", "w", encoding="utf-8") as file:
        duplicate(Keeps(file=file)).file.write("once more")
    assert (tmp_path / "log.txt").read_text() == ""


def test_weak_references_refer_to_the_copies_of_parts() -> None:
    """References to modules, tables by module, and handles of hooks lead to the copy."""
    model = nn.Sequential(nn.Linear(2, 2))
    model.reference, model.table = weakref.ref(model[0]), weakref.WeakKeyDictionary({model[0]: [1]})
    model.handle = model[0].register_forward_hook(lambda *given: None)
    twin = duplicate(model)
    assert twin.reference() is twin[0] and [*twin.table] == [twin[0]]
    twin.handle.remove()
    assert len(model[0]._forward_hooks) == 1 and len(twin[0]._forward_hooks) == 0


def test_a_tensor_that_gives_itself_as_its_copy_is_noticed() -> None:
    """Only its class knows how a tensor of its own is copied; one that is not is refused, with the way to it."""

    class Single(torch.Tensor):
        def __deepcopy__(self, memo: Any) -> Any:
            return self

    model = nn.Sequential(nn.Linear(2, 2))
    model[0].kept = torch.zeros(2).as_subclass(Single)
    with pytest.raises(CannotDuplicate, match=r"^`0\.kept`: a tensor of the class Single returns itself"):
        duplicate(model)


def test_what_refers_to_everything_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    """A copy ends at a number of objects, and at what is nested too deeply."""
    monkeypatch.setattr(objects, "MOST", 100)
    with pytest.raises(CannotDuplicate, match="more than 100 objects"):
        duplicate([[number] for number in range(200)])
    monkeypatch.undo()
    deep: list[Any] = []
    for _ in range(10_000):
        deep = [deep]
    with pytest.raises(CannotDuplicate, match="nested too deeply"):
        duplicate(deep)


def test_nothing_waits_for_the_garbage_collector() -> None:
    """A copy that is let go of is gone at once."""
    gone = weakref.ref(duplicate(nn.Sequential(nn.Linear(2, 2), nn.Dropout())))
    assert gone() is None
