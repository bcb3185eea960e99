"""Odd models and programs: the watch changes nothing for them, loses nothing that it saw, and comes to an end."""

from __future__ import annotations

import random
import subprocess
import sys
import textwrap

import numpy
import pytest
import torch
from torch import nn

from regcheck.core.finding import Verdict
from regcheck.runtime import captures
from regcheck.runtime.recorder import EventRecorder
from regcheck.session.session import Session

from .conftest import See

SCORES = """
def scores(model):
    with torch.no_grad():
        return model(x).softmax(1)

"""

ODD = {
    "raises in its second call": """
        class Odd(Net):
            calls = 0
            def forward(self, x):
                self.calls += 1
                if self.calls == 2:
                    raise KeyError("second")
                return super().forward(x)
        model = Odd()
        scores(model)
        try:
            scores(model)
        except KeyError:
            pass
        model.calls = -100
    """,
    "is given sparse matrices, one of them with room for billions": """
        import warnings
        class Odd(Net):
            def forward(self, x, table, *links):
                for each in links:
                    x = each @ x
                return super().forward(x)
        links = torch.eye(len(x)).to_sparse()
        size = (len(x), 2**30)
        table = torch.sparse_coo_tensor(links.indices(), links.values(), size, check_invariants=True)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # such layouts are in beta state, torch says
            rows, columns = links.to_sparse_csr(), links.to_sparse_csc()
        model = Odd()
        with torch.no_grad():
            model(x, table, links, rows, columns).softmax(1)
    """,
    "deletes itself": """
        class Odd(Net):
            def forward(self, x):
                globals().pop("model", None)
                return super().forward(x)
        model = Odd()
        scores(model)
        assert "model" not in globals()
    """,
    "hooks itself in its forward": """
        class Odd(Net):
            def forward(self, x):
                handle = self.head.register_forward_hook(lambda module, args, output: output + 1)
                try:
                    return super().forward(x)
                finally:
                    handle.remove()
        scores(Odd())
    """,
    "has slots": """
        class Odd(Net):
            __slots__ = ("other",)
        scores(Odd())
    """,
    "has a hostile getattr and an own idea of equality": """
        class Odd(Net):
            def __getattr__(self, name):
                if name.startswith("_") or name in vars(self)["_modules"]:
                    return super().__getattr__(name)
                raise RuntimeError(f"no {name} here")
            def __eq__(self, other):
                raise RuntimeError("not comparable")
            def __hash__(self):
                return 1
        scores(Odd())
    """,
    "overrides its call": """
        class Odd(Net):
            def __call__(self, x):
                return super().__call__(x.clone())  # <-
        scores(Odd())
    """,
    "is compiled in place": """
        model = Net()
        model.compile(backend="eager")
        scores(model)
    """,
    "runs in many threads": """
        import threading
        model = Net()
        threads = [threading.Thread(target=scores, args=(model,)) for _ in range(8)]
        for each in threads:
            each.start()
        for each in threads:
            each.join()
    """,
    "is replicated": """
        scores(nn.DataParallel(Net()))
    """,
}


@pytest.mark.parametrize("case", ODD)
def test_what_was_seen_of_odd_models_is_kept(case: str, see: See) -> None:
    """A prediction in train mode is reported once, and nothing of the watch failed."""
    seen = see(SCORES + textwrap.dedent(ODD[case]))
    assert [each.reason for each in (*seen.skipped, *seen.uncaptured.values())] == []
    report = Session({"select": ["REG201"], "devices": ["cpu"]}).examine(seen).ledger.report()
    assert [each.code for each in report.findings] == ["REG201"]


SCRIPTED = """
import warnings
warnings.simplefilter("ignore")
class Small(nn.Module):
    def __init__(self):
        super().__init__()
        self.body, self.norm, self.head = nn.Linear(8, 16), nn.BatchNorm1d(16), nn.Linear(16, 2)
        self.drop, self.idle = nn.Dropout(0.5), nn.Dropout(0.0)
    def forward(self, x):
        return self.head(self.idle(self.drop(self.norm(self.body(x)))))
def scores(model):
    with torch.no_grad():
        return model(x).softmax(1)
def validate(model):
    model.eval()
    return scores(model)
def train(model):
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    for _ in range(2):
        model(x).sum().backward()
        optimizer.step()
        validate(model)
def saved(model):
    import io
    file = io.BytesIO()
    torch.jit.save(model, file)
    file.seek(0)
    return torch.jit.load(file)
"""

OF_SCRIPTED = {
    "scores(torch.jit.script(Small()))": ["REG201"],
    "scores(saved(torch.jit.script(Small())))": ["REG201"],
    "scores(nn.Sequential(nn.Linear(8, 8), torch.jit.script(Small())))": ["REG201"],
    "train(torch.jit.script(Small()))": ["REG206"],
    "scores(torch.jit.script(Small()).eval())": [],
    "scores(torch.jit.script(nn.Sequential(nn.Linear(8, 2), nn.Dropout(0.0))))": [],
    "scores(torch.jit.script(nn.Dropout(0.5)))": [],
    "scores(torch.jit.trace(Small().eval(), x))": [],
    "scores(torch.jit.trace(Small().eval(), x).train())": [],
    "scores(saved(torch.jit.trace(Small().eval(), x)).train())": [],
    "scores(torch.jit.freeze(torch.jit.script(Small()).eval()))": [],
    "scores(nn.Sequential(nn.Linear(8, 8), torch.jit.freeze(torch.jit.script(Small()).eval())))": [],
}
"""What is found about modes in scripted models: what is traced or frozen has none that matters any more."""


@pytest.mark.parametrize("program", OF_SCRIPTED)
def test_modes_of_scripted_models_are_judged_where_they_matter(program: str, see: See) -> None:
    """A scripted model's mode is seen, also where it was loaded from a file, and what it changes is measured."""
    seen = see(SCRIPTED + program)
    assert [each.reason for each in (*seen.skipped, *seen.uncaptured.values())] == []
    report = Session({"select": ["REG201", "REG206"], "devices": ["cpu"], "budget": 60}).examine(seen).ledger.report()
    assert [each.code for each in report.findings] == OF_SCRIPTED[program]
    assert all(each.evidence.verdict is Verdict.CONFIRMED for each in report.findings), str(report)


def test_scripted_models_are_followed(see: See) -> None:
    """A scripted model that predicts in eval mode is clean, and nothing of it is unseen."""
    seen = see(SCRIPTED + "scores(torch.jit.script(Small()).eval())")
    report = Session({"devices": ["cpu"]}).examine(seen).ledger.report()
    assert (report.findings, report.not_checked) == ((), ())


def training(watched: bool) -> list[torch.Tensor | object]:
    """Everything that a small training leaves behind, under seeds."""
    torch.manual_seed(0)
    random.seed(0)
    numpy.random.seed(0)
    net = nn.Sequential(nn.Linear(8, 16), nn.BatchNorm1d(16), nn.Dropout(0.3), nn.Linear(16, 2))
    mean = torch.optim.swa_utils.AveragedModel(net)
    optimizer = torch.optim.Adam(net.parameters(), weight_decay=0.1)
    scheduler = torch.optim.lr_scheduler.StepLR(optimizer, 2)
    kept: list[torch.Tensor | object] = []
    with EventRecorder() if watched else torch.enable_grad() as watch:
        for _ in range(3):
            net.train()
            for _ in range(3):
                x = torch.randn(6, 8, requires_grad=True)
                result = torch.utils.checkpoint.checkpoint(net, x, use_reentrant=False)
                (slope,) = torch.autograd.grad(net(x).square().sum(), x, create_graph=True)
                optimizer.zero_grad()
                (nn.functional.mse_loss(result, torch.ones(6, 2)) + slope.norm()).backward()
                optimizer.step()
                mean.update_parameters(net)
                kept += [result.detach().clone(), x.grad]
            scheduler.step()
            with torch.no_grad():
                kept.append(net(torch.randn(6, 8)))
            if isinstance(watch, EventRecorder):
                Session({"devices": ["cpu"], "budget": 2}).examine(watch.drain()).ledger.report()
    kept += [*net.state_dict().values(), *mean.state_dict().values(), torch.get_rng_state()]
    return [*kept, random.getstate(), str(numpy.random.get_state()), optimizer.state_dict()["param_groups"]]


def test_a_watched_and_judged_training_is_the_same_bit_for_bit() -> None:
    """Weights, statistics, outputs, gradients and all random streams are those of an unwatched run."""
    plain, watched = training(False), training(True)
    assert len(plain) == len(watched)
    for one, other in zip(plain, watched, strict=True):
        if isinstance(one, torch.Tensor) and isinstance(other, torch.Tensor):
            assert torch.equal(one, other)
        else:
            assert one == other


@pytest.mark.parametrize(
    ("call", "reason"),
    [
        ("net(x.as_subclass(Image))", "an input is of the class Image, and only plain tensors are copied"),
        (
            "torch.func.vmap(net)(x)",
            "an input only lives inside a transform of torch.func",
        ),
    ],
)
def test_why_inputs_are_not_kept_is_said(see: See, call: str, reason: str) -> None:
    """Tensors of a class of their own and those inside a transform cannot be kept; each is told by what it is."""
    seen = see(f"net = nn.Sequential(nn.Linear(8, 4))\nclass Image(torch.Tensor): pass\n{call}")
    assert [each.reason for each in seen.uncaptured.values()] == [f"its inputs were not captured: {reason}"]


def test_what_a_program_lets_go_of_is_gone(see: See) -> None:
    """Models and optimizers die when the program deletes them, and are judged all the same."""
    seen = see("""
        import gc, weakref
        def scores(model):
            with torch.no_grad():
                return model(x).softmax(1)
        model = Net()
        optimizer = torch.optim.Adam(model.parameters(), weight_decay=0.1)
        model(x).sum().backward()
        optimizer.step()
        scores(model)
        references = [weakref.ref(model), weakref.ref(optimizer)]
        del model, optimizer
        gc.collect()
        assert [each() for each in references] == [None, None]
    """)
    report = Session({"devices": ["cpu"]}).examine(seen).ledger.report()
    assert {"REG201", "REG301"} <= {each.code for each in report.findings}


def test_models_beyond_what_is_kept_are_said_to_be_gone(see: See, monkeypatch: pytest.MonkeyPatch) -> None:
    """Of deleted models only so many bytes are kept; of the others it is said that they could not be checked."""
    monkeypatch.setattr(captures, "MOST_BYTES", 3000)
    seen = see("""
        for width in (2, 3, 4, 5):
            nn.Sequential(nn.Linear(8, 50), nn.Linear(50, width))(x)
    """)
    assert [len(each.model) for each in seen.captures if isinstance(each.model, nn.Sequential)] == [2]
    missed = {(each.subject, "it was gone" in each.reason) for each in seen.uncaptured.values()}
    assert (len(seen.uncaptured), missed) == (3, {("Sequential", True)})


MEMORY = """
import gc, sys, torch
from torch import nn
from regcheck.session.session import Session
from regcheck.runtime.recorder import EventRecorder

class Net(nn.Module):
    def __init__(self, number):
        super().__init__()
        self.body = nn.Linear(4 + number % 50, 8)
        self.head = nn.Sequential(nn.Linear(8, 4 + number // 50), nn.Dropout(0.1), nn.Linear(4 + number // 50, 2))
    def forward(self, x):
        return self.head(self.body(x))

def peak():
    status = dict(line.split(":") for line in open("/proc/self/status"))
    return int(status["VmHWM"].split()[0]) / 1024

def test(number):
    with torch.no_grad():
        Net(number).eval()(torch.ones(4, 4 + number % 50))

with EventRecorder() as watch:
    test(0)
    Session({"select": ["REG201"]}).examine(watch.drain()).ledger.report()
    start = peak()
    for number in range(10_000):
        test(number)
        watch.drain()
print(peak() - start)
"""


JUDGED = (
    MEMORY.partition("with EventRecorder()")[0]
    + """

session = Session({"devices": ["cpu"]})
with EventRecorder() as watch:
    for number in range(1200):
        test(number)
        seen = watch.drain()
        session.examine(seen)
        if number == 400:
            start = peak()
print(len(session._inspections), peak() - start)
"""
)


@pytest.mark.slow
@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="reads /proc")
def test_ten_thousand_judged_models_fit_in_little_memory() -> None:
    """Of distinct models that are judged, 800 let the peak grow by less than their share of 50 MB for 10,000."""
    ran = subprocess.run([sys.executable, "-c", JUDGED], capture_output=True, text=True, check=True, timeout=600)
    known, grown = ran.stdout.split()
    assert int(known) == 1200  # each is known as a part; none was trained, so none as a whole
    assert float(grown) < 50 * 800 / 10_000


@pytest.mark.slow
@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="reads /proc")
def test_ten_thousand_distinct_models_fit_in_little_memory() -> None:
    """The peak of a process that watches 10,000 distinct models, one after the other, grows by less than 50 MB."""
    ran = subprocess.run([sys.executable, "-c", MEMORY], capture_output=True, text=True, check=True, timeout=600)
    assert float(ran.stdout) < 50
