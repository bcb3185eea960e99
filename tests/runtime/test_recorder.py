"""What a watch sees, keeps and leaves alone."""

from __future__ import annotations

import gc
import itertools
import weakref
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from torch import nn
from torch.optim.optimizer import _global_optimizer_post_hooks

from regcheck.core.usage import Backward, Called, ModeSet, Stepped, WeightsTrained
from regcheck.runtime import captures
from regcheck.runtime.recorder import EventRecorder, Observation

See = Callable[..., Observation]


class Net(nn.Module):
    """Changes its input in place, and has a part that depends on the mode."""

    def __init__(self) -> None:
        super().__init__()
        self.body = nn.Sequential(nn.Linear(8, 8), nn.Dropout(0.5))
        self.head = nn.Linear(8, 2)

    def forward(self, x: torch.Tensor, scale: float = 1.0) -> torch.Tensor:
        x.mul_(scale)
        result: torch.Tensor = self.head(self.body(x))
        return result


def patched() -> list[object]:
    return [
        vars(nn.Module)["__call__"],
        vars(nn.Module)["train"],
        torch.autograd.backward,
        vars(torch.optim.Optimizer)["__init__"],
        len(_global_optimizer_post_hooks),
    ]


def test_stop_restores_every_attribute() -> None:
    """After `stop()` torch is as it was, however often the watch was started."""
    before = patched()
    for _ in range(2):
        with EventRecorder() as watch:
            watch.start()
            assert patched() != before
        assert patched() == before


def test_what_a_constructor_tries_out_is_no_call(see: See) -> None:
    """A part that its owner's constructor runs to learn its shape is first seen when the owner is called."""
    seen = see(
        """
        class Probing(nn.Module):
            def __init__(self):
                super().__init__()
                self.body = nn.Sequential(nn.Linear(8, 8), nn.Dropout(0.5))
                with torch.no_grad():
                    width = self.body(torch.empty(1, 8)).shape[1]
                self.head = nn.Linear(width, 2)

            def forward(self, x):
                return self.head(self.body(x))


        model = Probing()
        model(x)
        """
    )
    assert [event.model.name for event in seen.usage.events if isinstance(event, Called)] == ["Probing"]
    assert len(seen.captures) == 1


@pytest.mark.parametrize("order", [*itertools.permutations(range(3))])
def test_watches_that_overlap_leave_no_trace(order: tuple[int, ...]) -> None:
    """Watches end in any order: those that go on see everything, and after the last torch is as it was."""
    before = patched()
    watches = [EventRecorder() for _ in order]
    for each in watches:
        each.start()
    standing = set(order)
    for number in order:
        watches[number].stop()
        standing.remove(number)
        net = Net().eval()
        optimizer = torch.optim.SGD(net.parameters(), lr=0.1)
        net(torch.ones(1, 8)).sum().backward()
        optimizer.step()
        for other in standing:
            kinds = [type(each) for each in watches[other].drain().usage.events]
            assert kinds == [ModeSet, Called, Backward, Stepped]
        assert all(not watches[other].drain().usage.events for other in set(order) - standing)
    assert patched() == before


def test_a_watch_that_ends_below_another_is_not_called_any_more() -> None:
    """The wrapper of the watch that goes on calls torch itself, not the other one's, and says so by `__wrapped__`."""
    before = vars(nn.Module)["__call__"]
    first, second = EventRecorder(), EventRecorder()
    first.start()
    second.start()
    first.stop()
    try:
        wrapper = vars(nn.Module)["__call__"]
        assert wrapper.__wrapped__ is before
        assert before in [each.cell_contents for each in wrapper.__closure__]
    finally:
        second.stop()


def test_what_others_wrapped_meanwhile_is_kept() -> None:
    """A wrapper that someone put around the watch's stays in place, and nothing is noted any more."""
    original = vars(nn.Module)["train"]
    watch = EventRecorder()
    watch.start()
    inner = vars(nn.Module)["train"]
    outer = lambda self, mode=True: inner(self, mode)  # noqa: E731
    try:
        nn.Module.train = outer  # type: ignore[method-assign]
        watch.stop()
        assert vars(nn.Module)["train"] is outer
        assert not Net().train(False).body[1].training
        assert watch.drain().usage.events == ()
    finally:
        nn.Module.train = original  # type: ignore[method-assign]


def test_program_sees_the_same_values_and_errors() -> None:
    """Outputs, identities, random streams and exceptions are those of an unwatched run."""
    marker = torch.ones(2, 8)

    class Same(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.layer = nn.Linear(8, 8)

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            if x is not marker:
                raise KeyError("another")
            return x

    def run() -> list[torch.Tensor]:
        torch.manual_seed(3)
        net = Net()
        optimizer = torch.optim.Adam(net.parameters(), weight_decay=0.1)
        net(torch.ones(2, 8)).sum().backward()
        optimizer.step()
        return [net(torch.ones(2, 8)), *net.parameters(), torch.get_rng_state()]

    plain = run()
    with EventRecorder() as watch:
        watched = run()
        assert Same()(marker) is marker
        with pytest.raises(KeyError, match="another"):
            Same()(marker.clone())
        assert nn.Linear(2, 2)(torch.ones(1, 2)).requires_grad
    assert all(torch.equal(one, other) for one, other in zip(plain, watched, strict=True))
    seen = watch.drain()
    assert not seen.skipped
    assert not seen.uncaptured


def test_inputs_are_copied_before_the_forward() -> None:
    """A capture holds the inputs as they were handed in, though the forward changes them, and every module's flag."""
    net, x = Net(), torch.full((3, 8), 2.0)
    net.body.eval()
    with EventRecorder() as watch:
        net(x, scale=0.0)
    (capture,) = watch.drain().captures
    assert torch.equal(capture.args[0], torch.full((3, 8), 2.0))
    assert capture.kwargs == {"scale": 0.0}
    assert capture.modes == {"": True, "body": False, "body.0": False, "body.1": False, "head": True}
    assert capture.model is net
    assert not x.any()


def test_a_known_structure_is_captured_once() -> None:
    """Models built alike are captured once in each state; another rate makes another structure."""

    def kept(watch: EventRecorder, model: nn.Module, **options: bool) -> int:
        with torch.set_grad_enabled(options.get("grad", False)):
            for _ in range(3):
                model(torch.ones(1, 8))
        return len(watch.drain().captures)

    with EventRecorder() as watch:
        assert kept(watch, Net().eval()) == 1
        assert kept(watch, Net().eval()) == 0
        other = Net().eval()
        other.body[1].p = 0.25
        assert kept(watch, other) == 1
        assert kept(watch, other.eval(), grad=True) == 1


def test_a_structure_is_captured_until_it_is_trained() -> None:
    """A smoke test does not stand for a training step: the first call that is trained through is captured as well."""
    counts = []
    with EventRecorder() as watch:
        for trained in (False, False, True, False, True):
            result = Net()(torch.ones(1, 8))
            if trained:
                result.sum().backward()
            counts.append(len(watch.drain().captures))
    assert counts == [1, 1, 1, 0, 0]


def test_prediction_in_train_mode_is_captured_in_every_take(see: See) -> None:
    """What a suspicion may rest on is captured each time, so that it can be measured."""
    source = """
        def evaluate(model):
            with torch.no_grad():
                return model(x)
        evaluate(Net())
    """
    for _ in range(2):
        seen = see(source)
        (call,) = [each for each in seen.usage.events if isinstance(each, Called)]
        assert call.capture is not None
        assert seen.captures[call.capture].model_key


def test_large_inputs_are_not_kept(monkeypatch: pytest.MonkeyPatch) -> None:
    """Inputs beyond the limit are left, and that is said."""
    monkeypatch.setattr(captures, "MOST_ELEMENTS", 7)
    with EventRecorder() as watch:
        Net()(torch.ones(1, 8))
    seen = watch.drain()
    assert seen.captures == ()
    (missed,) = seen.uncaptured.values()
    assert (missed.subject, "more than 7 elements" in missed.reason) == ("Net", True)


def test_nothing_is_held_after_take() -> None:
    """Once a take is let go of, models and optimizers can die."""
    with EventRecorder() as watch:
        net = Net()
        optimizer = torch.optim.SGD(net.parameters(), lr=0.1)
        net(torch.ones(1, 8)).sum().backward()
        optimizer.step()
        references = [weakref.ref(net), weakref.ref(optimizer)]
        seen = watch.drain()
        assert list(seen.optimizers.values()) == [optimizer]
        del net, optimizer, seen
        gc.collect()
        assert [each() for each in references] == [None, None]


def test_parts_are_told_from_whole_models(see: See) -> None:
    """A module called by a method of the module that contains it is a part; one called from outside is whole."""
    seen = see("""
        class Coder(nn.Module):
            def __init__(self):
                super().__init__()
                self.encoder = nn.Sequential(nn.Linear(8, 4), nn.Dropout(0.1))
                self.decoder = nn.Linear(4, 8)
            def encode(self, x):
                return self.encoder(x)
            def forward(self, x):
                return self.decoder(self.encode(x))
        Coder().encode(x)
        Coder()(x)
    """)
    assert [(type(each.model).__name__, each.whole) for each in seen.captures] == [
        ("Sequential", False),
        ("Coder", True),
    ]


def test_loops_are_written_down_once(see: See) -> None:
    """A training loop takes as little room as its first round."""
    source = """
        def train(model, optimizer, steps):
            for _ in range(steps):
                model.train()
                optimizer.zero_grad()
                model(x).sum().backward()
                optimizer.step()
                model.eval()
                with torch.no_grad():
                    model(x).sum()
        model = Net()
        train(model, torch.optim.SGD(model.parameters(), lr=0.1), {})
    """
    few, many = (len(see(source.replace("{}", steps)).usage.events) for steps in ("2", "50"))
    assert few == many


def test_optimizers_are_placed_where_they_are_built(see: See, tmp_path: Path) -> None:
    """A step is noted at the line that built the optimizer, also through subclasses, in the function that steps."""
    seen = see("""
        class Mine(torch.optim.Adam):
            def __init__(self, parameters, **options):
                super().__init__(parameters, **options)
        class Own(torch.optim.Adam):
            def step(self, closure=None):
                return None
        class Scratch(torch.optim.Optimizer):
            def __init__(self, parameters):
                super().__init__(parameters, {"weight_decay": 0.5})
            def step(self, closure=None):
                return None
        def build(model):
            return [
                Mine(model.parameters(), weight_decay=0.25),
                Own(model.parameters(), weight_decay=0.25),
                Scratch(model.parameters()),
                torch.optim.AdamW(model.parameters()),
                torch.optim.Adam(model.parameters(), weight_decay=0.5, decoupled_weight_decay=True),
            ]
        def step(model):
            optimizers = build(model)
            model(x).sum().backward()
            for each in optimizers:
                each.step()
        step(Net())
    """)
    stepped = [each for each in seen.usage.events if isinstance(each, Stepped)]
    lines = (tmp_path / "program.py").read_text().splitlines()
    names = [lines[each.place.line - 1].strip().split("(")[0] for each in stepped if each.place]
    assert names == ["Mine", "Own", "Scratch", "torch.optim.AdamW", "torch.optim.Adam"]
    assert not seen.skipped
    assert not seen.uncaptured
    assert [each.optimizer.update_rule for each in stepped] == ["Adam", None, None, "AdamW", "Adam"]
    assert [each.optimizer.groups[0].weight_decay for each in stepped] == [0.25, 0.25, 0.5, 0.01, 0.5]
    assert [each.optimizer.groups[0].decoupled for each in stepped] == [False, False, False, True, True]
    assert {each.function.rpartition(":")[0].rpartition(":")[2] for each in stepped} == {"step"}
    assert set(seen.optimizers) == {each.optimizer.key for each in stepped}


def test_what_an_optimizer_holds_is_told_by_the_owners(see: See) -> None:
    """Biases and norm scales are told by the model that was called; frozen and unowned vectors are left open."""
    seen = see("""
        class ScaleNorm(nn.Module):
            def __init__(self):
                super().__init__()
                self.g = nn.Parameter(torch.ones(4))
            def forward(self, x):
                return x * self.g
        class Small(nn.Module):
            def __init__(self):
                super().__init__()
                self.body = nn.Linear(4, 4)
                self.norm = nn.LayerNorm((2, 4))
                self.own = ScaleNorm()
                self.head = nn.Linear(4, 2)
                self.head.bias.requires_grad_(False)
                self.temperature = nn.Parameter(torch.ones(()))
            def forward(self, x):
                return self.head(self.own(self.norm(self.body(x)))) * self.temperature
        model = Small()
        alone = nn.Parameter(torch.ones(3))
        optimizer = torch.optim.SGD([*model.parameters(), alone], lr=0.1, weight_decay=0.1)
        model(torch.ones(3, 2, 4)).sum().backward()
        optimizer.step()
    """)
    (group,) = next(each for each in seen.usage.events if isinstance(each, Stepped)).optimizer.groups
    kinds = ("", "weights", "biases", "norm scales", "biases", "norm scales", "weights", "", "")
    assert group.parameter_kinds == kinds
    assert group.is_mixed


def test_events_carry_what_is_declared_around_them(see: See) -> None:
    """A call, a mode and a step within a block say so; the same event inside and outside of it is two."""
    seen = see("""
        import contextlib, regcheck
        def step(model, optimizer, around):
            with around:
                model.train()
                model(x).sum().backward()
                optimizer.step()
        model = Net()
        with regcheck.ignore("REG301"):
            optimizer = torch.optim.Adam(model.parameters())
        for around in (contextlib.nullcontext(), regcheck.ignore("REG206"), contextlib.nullcontext()):
            step(model, optimizer, around)
    """)
    acts = [each for each in seen.usage.events if not isinstance(each, WeightsTrained)]
    found = [(type(each), *(one.pattern for one in each.intended)) for each in acts]
    assert sorted(found, key=str) == sorted(
        [
            *[(each,) for each in (ModeSet, Called, Backward)],
            *[(each, "REG206") for each in (ModeSet, Called)],
            *[(Stepped, "REG301"), (Stepped, "REG301", "REG206")],
        ],
        key=str,
    )
    assert [*seen.structures.values()] == [()]


def test_events_come_in_order_with_their_places(see: See) -> None:
    """Mode, call, backward and step are noted in order; `train()` of parts inside `train()` is not."""
    seen = see("""
        model = Net()
        optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
        model.train()
        loss = model(x).sum()
        loss.backward()
        optimizer.step()
        model.eval()
    """)
    assert [type(each) for each in seen.usage.events] == [ModeSet, Called, Backward, Stepped, ModeSet]
    modes = [each.training for each in seen.usage.events if isinstance(each, ModeSet)]
    assert modes == [True, False]
    assert all(each.place and each.place.path.endswith("program.py") for each in seen.usage.events)


@pytest.mark.parametrize(
    "act",
    [
        lambda net, x: torch.fx.symbolic_trace(net),
        lambda net, x: torch.export.export(net, (x,)),
        lambda net, x: torch.jit.trace(net.eval(), (x,)),
        lambda net, x: torch.compile(net, backend="eager", fullgraph=True)(x),
        lambda net, x: torch.func.functional_call(net, dict(net.named_parameters()), (x,)),
        lambda net, x: torch.func.vmap(net.eval())(x),
    ],
    ids=["fx", "export", "jit", "compile", "functional_call", "vmap"],
)
@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_tracers_work_as_before(act: Callable[[nn.Module, torch.Tensor], object]) -> None:
    """Symbolic, exported, scripted, compiled and functional runs pass through."""
    with EventRecorder() as watch:
        act(nn.Sequential(nn.Linear(8, 8), nn.Dropout(0.0), nn.Linear(8, 2)), torch.ones(2, 8))
    assert not [each for each in watch.drain().skipped if "failed" in each.reason]


def test_a_failure_of_the_watch_stays_in_the_watch(monkeypatch: pytest.MonkeyPatch) -> None:
    """When noting goes wrong the program runs on, and what was missed is said."""

    def broken(*arguments: object) -> str:
        raise ZeroDivisionError("no")

    monkeypatch.setattr("regcheck.runtime.models.fingerprint", broken)
    with EventRecorder() as watch:
        assert Net()(torch.ones(1, 8)).shape == (1, 2)
    (missed,) = watch.drain().skipped
    assert missed.reason == "recording failed: ZeroDivisionError: no"
