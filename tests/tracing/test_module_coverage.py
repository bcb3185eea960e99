"""What a report says of how much of a model was looked at."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from regcheck import audit, scan, watch
from regcheck.core.coverage import Coverage
from regcheck.core.report import Report

X = torch.randn(4, 8)


def covered(report: Report) -> Coverage:
    (coverage,) = report.coverage
    return coverage


class Parts(nn.Module):
    """A module of every sort: called, called in one mode, read, held, passive, never called."""

    def __init__(self) -> None:
        super().__init__()
        self.called = nn.Linear(8, 8)
        self.drop = nn.Dropout(0.1)
        self.aux = nn.Sequential(nn.Linear(8, 8), nn.Dropout(0.1))
        self.late = nn.Linear(8, 8)
        self.read = nn.Linear(8, 8)
        self.held = nn.Sequential(nn.Linear(8, 8), nn.ReLU())
        self.blocks = nn.ModuleList([nn.Linear(8, 8)])
        self.unused = nn.Identity()
        self.attention = nn.MultiheadAttention(8, 2)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = self.drop(self.called(x))
        if self.training:
            x = x + self.late(x)
        x = F.linear(x, self.read.weight)
        for layer in self.held:
            x = layer(x)
        x = self.blocks[0](x)
        return self.attention(x, x, x)[0]


def test_each_module_is_counted_for_what_it_did() -> None:
    """Read and held modules are traced, containers do not count, and only what ran nowhere was never called."""
    coverage = covered(audit(Parts(), X))
    assert coverage.never_called == ("aux", "aux.0", "aux.1")
    assert coverage.opaque == ()
    assert (coverage.train_only, coverage.eval_only) == (("late",), ())
    # The model, called, drop, late, read, held and its two, blocks.0, attention and its out_proj; and the three above.
    assert (coverage.traced, coverage.modules) == (11, 14)


def test_the_means_are_told() -> None:
    """Given and inferred inputs are told apart, and a trace without inputs says so."""
    assert covered(audit(Parts(), X)).line.startswith("Parts: 11 of 14 modules traced on the inputs given; never")
    assert "on inputs inferred from shape of called (Linear)" in covered(audit(Parts())).line

    class Two(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.first, self.second = nn.Linear(3, 2), nn.Linear(5, 2)

        def forward(self, a: torch.Tensor, b: torch.Tensor) -> torch.Tensor:
            return self.first(a.view(-1, 3)) + self.second(b.view(-1, 5)) + a.view(7, 11, 13).sum()

    coverage = covered(audit(Two()))
    assert (coverage.how, coverage.inputs) == ("symbolic", "")
    assert coverage.line == "Two: 3 of 3 modules traced without inputs"


def test_a_model_that_cannot_be_run_is_not_covered() -> None:
    """Of a model whose forward always raises nothing was traced, and the report says that too."""

    class Broken(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.weight = nn.Parameter(torch.zeros(8))

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            raise RuntimeError("no")

    report = audit(Broken(), X)
    assert report.not_checked
    assert covered(report) == Coverage("Broken", "none", modules=1)
    assert "Broken: 0 of 1 module traced" in str(report)


def test_a_model_that_runs_in_one_mode_is_covered_in_that_mode() -> None:
    """Where train mode raises, the modes say so and nothing counts as running in one mode alone."""

    class EvalOnly(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.layer = nn.Linear(8, 8)

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            if self.training:
                raise RuntimeError("no")
            return self.layer(x)

    coverage = covered(audit(EvalOnly(), X))
    assert (coverage.modes, coverage.eval_only) == (("eval",), ())
    assert coverage.line == "EvalOnly: 2 of 2 modules traced on the inputs given, in eval mode only"


class Forked(nn.Module):
    """Runs its part in another thread of TorchScript, which cannot be run op by op."""

    def __init__(self, part: nn.Module) -> None:
        super().__init__()
        self.part = part

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        future: torch.jit.Future[torch.Tensor] = torch.jit.fork(self.part, x)
        return torch.jit.wait(future)


@pytest.mark.parametrize("rate", [0.0, 0.3])
def test_opaque_parts_are_listed_and_those_that_drop_are_not_checked(rate: float) -> None:
    """A script with an unknown node is opaque; if it holds a dropout with a rate, the report says what to do."""
    inner = Forked(nn.Dropout(rate) if rate else nn.ReLU())
    report = audit(nn.Sequential(nn.Linear(8, 8), torch.jit.script(inner)), X)
    coverage = covered(report)
    assert coverage.opaque == ("1", "1.part")
    assert (coverage.traced, coverage.never_called) == (2, ())
    said = [(each.subject, each.reason, each.what_to_do) for each in report.not_checked]
    reason = "cannot be traced, and contains nn.Dropout"
    assert said == ([("Sequential.1", reason, "audit it before it is scripted or traced")] if rate else [])


@pytest.mark.parametrize(
    "made_by", [lambda model: torch.jit.trace(model, X), torch.jit.script], ids=["trace", "script"]
)
def test_a_traced_or_scripted_model_is_covered_with_its_parts(made_by: Callable[[nn.Module], nn.Module]) -> None:
    """TorchScript is followed op by op, so that a report without findings calls it clean."""
    report = audit(made_by(nn.Sequential(nn.Linear(8, 8), nn.ReLU(), nn.Linear(8, 8), nn.Tanh())), X)
    assert (covered(report).traced, covered(report).modules) == (5, 5)
    assert not report.not_checked


def test_a_model_that_is_opaque_as_a_whole_is_not_checked() -> None:
    """A script with an unknown node shows nothing of itself, so a report without findings does not call it clean."""
    report = audit(torch.jit.script(Forked(nn.Linear(8, 8))), X, options={"strict": True})
    assert (covered(report).traced, covered(report).modules) == (0, 2)
    assert [each.reason for each in report.not_checked] == ["none of its modules could be traced"]
    assert report.exit_code == 3


def test_scripted_code_that_takes_statistics_is_not_checked() -> None:
    """A batch norm inside an opaque script acts by the mode out of sight."""
    inner = Forked(nn.BatchNorm1d(8))
    report = audit(nn.Sequential(nn.Linear(8, 8), torch.jit.script(inner)), X)
    assert [each.reason for each in report.not_checked] == ["cannot be traced, and contains torch.batch_norm"]


class DropsByHand(nn.Module):
    """Fills a mask in place, in train mode."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x * torch.empty_like(x).bernoulli_(0.5) if self.training else x


def test_scripted_code_that_draws_in_place_is_not_checked() -> None:
    """A function that draws into a tensor is known by its name without the underscore."""
    model = nn.Sequential(nn.Linear(8, 8), torch.jit.script(Forked(DropsByHand()).eval())).eval()
    reasons = [each.reason for each in audit(model, X).not_checked]
    assert reasons == ["cannot be traced, and contains torch.bernoulli"]


class Drops(nn.Module):
    """Has a dropout in its code, and none among its layers."""

    def __init__(self) -> None:
        super().__init__()
        self.layer = nn.Linear(8, 8)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return F.dropout(self.layer(x), 0.5)


class Plain(nn.Module):
    """Builds with draws, and computes without."""

    def __init__(self) -> None:
        super().__init__()
        self.layer = nn.Linear(8, 8)
        with torch.no_grad():
            self.layer.weight.copy_(torch.randn(8, 8))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return torch.relu(self.layer(x))


class Straight(nn.Module):
    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return F.dropout(x, 0.5, self.training)


class Idle(nn.Module):
    """Keeps a module beside a layer that it calls."""

    def __init__(self, idle: nn.Module, straight: bool = False) -> None:
        super().__init__()
        self.layer, self.idle, self.straight = nn.Linear(8, 8), idle, straight

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        if self.straight:
            x = self.idle.forward(x)
        return self.layer(x)


@pytest.mark.parametrize(
    ("idle", "said"),
    [
        (Drops(), "never called: idle, with F.dropout"),
        (nn.Sequential(nn.Linear(8, 8), nn.Dropout(0.1)), "never called: idle, with nn.Dropout"),
        (nn.ModuleList([Drops() for _ in range(5)]), "never called: idle.0, idle.1, idle.2 and 2 more, with F.dropout"),
        (nn.Sequential(nn.Linear(8, 8), nn.Dropout(0.0)), ""),
        (nn.Sequential(nn.Linear(8, 8), nn.BatchNorm1d(8)), ""),
        (nn.Dropout(0.1), ""),
        (Plain(), ""),
    ],
)
def test_a_module_that_is_not_called_is_not_checked_where_it_may_drop(idle: nn.Module, said: str) -> None:
    """One entry names what was never called and drops or draws; what does neither is in the coverage alone."""
    report = audit(Idle(idle), X)
    assert report.findings == ()
    assert [each.reason for each in report.not_checked] == ([said] if said else [])
    assert covered(report).never_called


def test_a_module_whose_forward_is_called_straight_is_judged() -> None:
    """A call of `forward` itself passes by what counts calls, and its dropouts were seen all the same."""
    report = audit(Idle(Straight(), straight=True), X)
    assert covered(report).never_called == ("idle",)
    assert report.not_checked == ()


def test_a_part_that_the_program_calls_itself_is_judged_there() -> None:
    """Under watch, what the whole does not call is checked by its own calls."""
    model, alone = Idle(nn.Sequential(nn.Linear(8, 8), nn.Dropout(0.1), nn.Linear(8, 8))).eval(), Idle(Drops()).eval()
    with watch() as watching:
        model(X), model.idle(X), alone(X)
    assert [each.reason for each in watching.report.not_checked] == ["never called: idle, with F.dropout"]


class Forks(nn.Module):
    """Calls its parts in threads of its own."""

    def __init__(self, part: nn.Module) -> None:
        super().__init__()
        self.part = part

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        with ThreadPoolExecutor(2) as pool:
            return torch.stack([*pool.map(self.part, [x, x])]).sum(0)


@pytest.mark.parametrize("part", [Drops(), nn.Sequential(nn.Linear(8, 8), nn.Dropout(0.1))], ids=["code", "layers"])
def test_what_a_forward_calls_in_threads_is_not_checked(part: nn.Module) -> None:
    """A model's own threads are out of sight: what may drop in them is told."""
    report = audit(Forks(part), X)
    assert report.findings == ()
    assert report.not_checked


def test_a_dropout_that_ran_is_judged_whatever_opaque_code_is_beside_it() -> None:
    """A tensor of an old constructor is made out of torch's sight; the dropouts around it were seen all the same."""

    class Pooled(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.hidden, self.drop, self.head = nn.Linear(8, 8), nn.Dropout(0.3), nn.Linear(8, 2)

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            x = x / (x.norm() + torch.FloatTensor([1e-8]))
            return nn.functional.dropout(self.head(self.drop(self.hidden(x))))

    report = audit(Pooled(), X)
    assert covered(report).opaque == ("",)
    assert report.not_checked == ()
    assert sorted(each.code for each in report.findings) == ["REG101", "REG202"]


def test_a_scan_says_which_classes_it_read(tmp_path: Path) -> None:
    """A scan covers each file whose model classes can matter, and counts those that it could follow."""
    source = (
        "from torch import nn\n\n\nclass Net(nn.Module):\n    def forward(self, x):\n        return nn.Dropout(0)(x)\n"
    )
    (tmp_path / "a.py").write_text(source)
    (tmp_path / "b.py").write_text(source)
    (tmp_path / "c.py").write_text("import torch\n")
    report = scan([tmp_path])
    assert [(each.how, each.traced, each.modules) for each in report.coverage] == [("source", 1, 1)] * 2
    assert "2 files: 2 of 2 model classes read" in str(report)
