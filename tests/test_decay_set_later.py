"""REG301: decays that no call of a class of torch.optim shows at a glance, and the same programs without the defect."""

from __future__ import annotations

from pathlib import Path

import pytest

from regcheck.core.finding import Severity, Verdict
from regcheck.engine.scan import scan
from regcheck.session.block import watch

from .faulty_and_right import marked as marked_lines
from .faulty_and_right import scanned_lines

PRELUDE = """\
import argparse
import torch
from torch import nn, optim
from torch.nn import functional as F

torch.manual_seed(0)
batches = [(torch.randn(8, 6), torch.randint(3, (8,))) for _ in range(2)]
net = nn.Sequential(nn.Linear(6, 12), nn.Tanh(), nn.Linear(12, 3))


def fit(optimizer, model=net):
    for x, y in batches:
        optimizer.zero_grad()
        F.cross_entropy(model(x), y).backward()
        optimizer.step()


"""

TWINS = {
    "in a loop over groups": (
        """
optimizer = optim.Adam(net.parameters(), lr=1e-3)  # <-
for group in optimizer.param_groups:
    group["weight_decay"] = SLOT
fit(optimizer)
""",
        "1e-2",
        "0.0",
    ),
    "by index in a trainer": (
        """
class Trainer:
    def __init__(self, model, decay):
        self.model = model
        self.optimizer = optim.SLOT(model.parameters(), lr=1e-3)  # <-
        self.decay = decay

    def begin(self):
        self.optimizer.param_groups[0]["weight_decay"] = self.decay

    def run(self):
        self.begin()
        fit(self.optimizer, self.model)


Trainer(net, 5e-3).run()
""",
        "RMSprop",
        "SGD",
    ),
    "by a group that is added": (
        """
optimizer = optim.NAdam(net[0].parameters(), lr=1e-3)  # <-
optimizer.add_param_group({"params": net[2].parameters(), "weight_decay": SLOT})
fit(optimizer)
""",
        "1e-2",
        "0",
    ),
    "by a scheduler": (
        """
class DecaySchedule:
    def __init__(self, optimizer, values):
        self.optimizer, self.values, self.passed = optimizer, values, 0

    def step(self):
        for group in self.optimizer.param_groups:
            group.update(weight_decay=self.values[self.passed])
        self.passed += 1


optimizer = optim.SLOT([{"params": net[0].parameters()}, {"params": net[2].parameters()}], lr=1e-3)  # <-
schedule = DecaySchedule(optimizer, [0.0, 1e-3, 1e-2])
for epoch in range(3):
    fit(optimizer)
    schedule.step()
fit(optimizer)
""",
        "Adam",
        "AdamW",
    ),
    "after a warm-up of unknown length": (
        """
def train(epochs, warm):
    optimizer = optim.Adam(net.parameters(), 1e-3)  # <-
    for epoch in range(epochs):
        if epoch == warm:
            for group in optimizer.param_groups:
                group["SLOT"] = 1e-3
        fit(optimizer)


train(int("3"), int("1"))
""",
        "weight_decay",
        "lr",
    ),
    "by a closure, as an option says": (
        """
def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--wd", type=float, default=SLOT)
    args = parser.parse_args([])
    optimizer = optim.Adam(net.parameters(), lr=1e-3)  # <-

    def prepare():
        for index, group in enumerate(optimizer.param_groups):
            group["weight_decay"] = args.wd

    prepare()
    fit(optimizer)


main()
""",
        "0.01",
        "0.0",
    ),
    "of the group of weights only": (
        """
weights = [p for p in net.parameters() if p.dim() > 1]
others = [p for p in net.parameters() if p.dim() < 2]
optimizer = optim.Adam([{"params": weights}, {"params": others}], lr=1e-3SLOT)  # <-
for group, decay in zip(optimizer.param_groups, (0.05, 0.0)):
    group["weight_decay"] = decay
fit(optimizer)
""",
        "",
        ", decoupled_weight_decay=True",
    ),
    "taken back before the first step": (
        """
optimizer = optim.Adam(net.parameters(), lr=1e-3, weight_decay=1e-2)  # <-
for group in optimizer.param_groups:
    group["SLOT"] = 0.0
    group["lr"] = 2e-3
fit(optimizer)
""",
        "betas_of_nobody",
        "weight_decay",
    ),
    "taken back after some steps": (
        """
optimizer = optim.Adam(net.parameters(), lr=1e-3, weight_decay=SLOT)  # <-
fit(optimizer)
optimizer.param_groups[0]["lr"] *= 0.1
fit(optimizer)
""",
        "1e-2",
        "0.0",
    ),
    "by the default of a subclass": (
        """
class Tuned(optim.SLOT):
    def __init__(self, parameters, lr=1e-3, weight_decay=0.02, rise=4):
        super().__init__(parameters, lr=lr, weight_decay=weight_decay)
        self.rise, self.passed = rise, 0

    def step(self, closure=None):
        self.passed += 1
        for group in self.param_groups:
            group["lr"] = 1e-3 * min(1.0, self.passed / self.rise)
        return super().step(closure)


fit(Tuned(net.parameters()))  # <-
""",
        "NAdam",
        "AdamW",
    ),
    "by settings that a subclass hands on": (
        """
from torch.optim.rmsprop import RMSprop


class Quiet(RMSprop):
    def __init__(self, params, **settings):
        super().__init__(params, lr=1e-3, **settings)


class Trainer:
    def __init__(self, model, options):
        self.model, self.optimizer = model, Quiet(model.parameters(), **options)  # <-

    def run(self):
        fit(self.optimizer, self.model)


Trainer(net, {"momentum": 0.5, "weight_decay": SLOT}).run()
""",
        "1e-2",
        "0.0",
    ),
    "of a subclass that only clips": (
        """
class Clipped(optim.SLOT):
    def step(self, closure=None):
        for group in self.param_groups:
            nn.utils.clip_grad_norm_(group["params"], 1.0)
        super().step(closure)


def main():
    fit(Clipped(net.parameters(), lr=1e-3, weight_decay=1e-2))  # <-


if __name__ == "__main__":
    main()
""",
        "Adagrad",
        "SGD",
    ),
    "of a subclass of a subclass": (
        """
class Base(optim.Adam):
    def __init__(self, params, lr, decay):
        super(Base, self).__init__(params, lr, (0.9, 0.99), 1e-8, weight_decay=decay)


class Cautious(Base):
    def __init__(self, params):
        super().__init__(params, 1e-3, SLOT)


make = lambda parameters: Cautious(parameters)  # <-
fit(make(net.parameters()))
""",
        "1e-2",
        "0",
    ),
    "of a subclass, as an option says": (
        """
class Slow(optim.Adamax):
    def __init__(self, params, args):
        optim.Adamax.__init__(self, params, lr=args.lr, weight_decay=args.wd)


parser = argparse.ArgumentParser()
parser.add_argument("--lr", type=float, default=1e-3)
parser.add_argument("--wd", type=float, default=SLOT)
fit(Slow(net.parameters(), parser.parse_args([])))  # <-
""",
        "1e-3",
        "0.0",
    ),
    "that a subclass takes for its own": (
        """
class Apart(optim.Adam):
    @torch.no_grad()
    def step(self, closure=None):
        before = [group["weight_decay"] for group in self.param_groups]
        for group in self.param_groups:
            decay = group.get("SLOT", 0.0)
            for p in group["params"]:
                p.mul_(1 - group["lr"] * decay)
            group["SLOT"] = 0.0
        super().step(closure)
        for group, decay in zip(self.param_groups, before):
            group["weight_decay"] = decay


fit(Apart(net.parameters(), lr=1e-3, weight_decay=1e-2))  # <- (run)
""",
        "betas_of_nobody",
        "weight_decay",
    ),
    "under another name": (
        """
class Own(optim.Optimizer):
    def __init__(self, params, lr=1e-3, l2=0.1):
        super().__init__(params, {"lr": lr, "l2": l2})

    @torch.no_grad()
    def step(self):
        for group in self.param_groups:
            for p in group["params"]:
                size = self.state[p].setdefault("size", torch.zeros_like(p))
                beside, within = SLOT
                g = p.grad + within * p
                p.mul_(1 - group["lr"] * beside)
                size.mul_(0.9).addcmul_(g, g, value=0.1)
                p.addcdiv_(g, size.sqrt() + 1e-8, value=-group["lr"])


fit(Own(net.parameters()))  # <- (run)
""",
        '0.0, group["l2"]',
        'group["l2"], 0.0',
    ),
}

PROGRAMS = {
    **{f"{name}, faulty": body.replace("SLOT", faulty) for name, (body, faulty, _) in TWINS.items()},
    **{
        name: body.replace("SLOT", sound).replace("  # <- (run)", "").replace("  # <-", "")
        for name, (body, _, sound) in TWINS.items()
    },
}


def path_of(name: str, folder: Path) -> Path:
    return folder / f"program_{[*PROGRAMS].index(name)}.py"


def marked(name: str, *, by_a_run: bool) -> list[int]:
    """The marked lines; those with `(run)` only where a run reports them."""
    text = PRELUDE + PROGRAMS[name]
    return sorted(marked_lines(text.replace("# <- (run)", "# <-") if by_a_run else text))


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("programs")
    for name, body in PROGRAMS.items():
        path_of(name, folder).write_text(PRELUDE + body)
    return folder


@pytest.fixture(scope="module")
def scanned(folder: Path) -> dict[str, list[int]]:
    """The lines of the findings of one scan of all programs."""
    return scanned_lines([folder], "REG301")


@pytest.mark.parametrize("name", PROGRAMS)
def test_a_scan_reports_the_decay_of_the_steps(name: str, folder: Path, scanned: dict[str, list[int]]) -> None:
    """A scan reports an adaptive optimizer that steps with a coupled decay, whenever the program sets the decay."""
    assert scanned.get(path_of(name, folder).name, []) == marked(name, by_a_run=False)


@pytest.mark.parametrize("name", PROGRAMS)
def test_a_run_confirms_the_decay_of_the_steps(name: str, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A run reports the same optimizers, and a real step confirms each."""
    monkeypatch.chdir(folder)
    path = path_of(name, folder)
    with watch({"select": ["REG301"], "devices": ["cpu"]}) as watched:
        exec(compile(path.read_text(), str(path), "exec"), {"__name__": "__main__", "__file__": str(path)})
    found = [(each.line, each.evidence.verdict) for each in watched.report.findings]
    assert found == [(line, Verdict.CONFIRMED) for line in marked(name, by_a_run=True)]


@pytest.mark.parametrize(("decay", "severity"), [("1e-5", Severity.INFO), ("1e-4", Severity.WARNING)])
def test_a_small_decay_is_advice(decay: str, severity: Severity, tmp_path: Path) -> None:
    """A decay too small to matter is advice, to a scan and to a run."""
    path = tmp_path / "train.py"
    path.write_text(f"{PRELUDE}fit(optim.Adam(net.parameters(), lr=1e-3, weight_decay={decay}))\n")
    with watch({"select": ["REG301"], "devices": ["cpu"]}) as watched:
        exec(compile(path.read_text(), str(path), "exec"), {"__name__": "__main__", "__file__": str(path)})
    reports = scan([path], {"select": ["REG301"]}), watched.report
    assert [[each.severity for each in report.findings] for report in reports] == [[severity], [severity]]


def test_a_decay_lost_in_the_steps_is_advice(tmp_path: Path) -> None:
    """A run measures how much of a step the decay is, and lowers the severity where that is next to nothing."""
    path = tmp_path / "train.py"
    path.write_text(
        f"{PRELUDE}optimizer = optim.Adam(net.parameters(), lr=1e-3, weight_decay=1e-3)\n"
        "for x, y in batches:\n    (1e4 * F.cross_entropy(net(x), y)).backward()\n    optimizer.step()\n"
    )
    with watch({"select": ["REG301"], "devices": ["cpu"]}) as watched:
        exec(compile(path.read_text(), str(path), "exec"), {"__name__": "__main__", "__file__": str(path)})
    assert [each.severity for each in watched.report.findings] == [Severity.INFO]


TASK = """\
import lightning as L
import torch
from torch import nn
from torch.nn import functional as F


class Gauge(L.LightningModule):
    def __init__(self):
        super().__init__()
        self.net = nn.Sequential(nn.Linear(4, 8), nn.ReLU(), nn.Linear(8, 1))

    def training_step(self, batch, index):
        x, y = batch
        return F.mse_loss(self.net(x), y)

    def configure_optimizers(self):
        optimizer = torch.optim.Adam(self.parameters(), lr=1e-3)
        return CONFIGURED

    def on_train_start(self):
        for group in OPTIMIZER.param_groups:
            group["weight_decay"] = DECAY
"""


@pytest.mark.parametrize(("decay", "found"), [("1e-2", [17]), ("0.0", [])])
@pytest.mark.parametrize(
    ("configured", "optimizer"),
    [
        ("optimizer", "self.optimizers()"),
        ("[optimizer], [torch.optim.lr_scheduler.StepLR(optimizer, 3)]", "self.optimizers()"),
        ("{'optimizer': optimizer}", "self.optimizers()"),
        ("optimizer, torch.optim.SGD(self.parameters(), 0.1)", "self.optimizers()[0]"),
    ],
)
def test_a_task_sets_the_decay_of_its_optimizer(
    configured: str, optimizer: str, decay: str, found: list[int], tmp_path: Path
) -> None:
    """A scan follows the optimizers that a library's task configures to its hooks."""
    path = tmp_path / "task.py"
    path.write_text(TASK.replace("CONFIGURED", configured).replace("OPTIMIZER", optimizer).replace("DECAY", decay))
    assert [each.line for each in scan([path], {"select": ["REG301"]}).findings] == found
