"""Models whose training a library runs: their steps are read as that library calls them."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from regcheck.engine.scan import scan

NETS = """\
import lightning as L
import torch
import torch.nn.functional as F
from torch import nn

class Scores(nn.Module):
    def __init__(self):
        super().__init__()
        self.first, self.out, self.drop = nn.Linear(16, 32), nn.Linear(32, 2), nn.Dropout(0.5)

    def forward(self, x):
        return {forward}
"""
DROPPED = NETS.format(forward="self.drop(self.out(torch.relu(self.first(x))))  # <- REG101")
HIDDEN = NETS.format(forward="self.out(self.drop(torch.relu(self.first(x))))")

FITS = (
    """
class Fit(L.LightningModule):
    def __init__(self):
        super().__init__()
        self.net = Scores()

    def training_step(self, batch, index):
        x, y = batch
        return F.cross_entropy(self.net(x), y)

    def validation_step(self, batch, index):
        x, y = batch
        self.log("accuracy", (self.net(x).argmax(1) == y).float().mean())

    def predict_step(self, batch, index):
        return self.net(batch[0]).argmax(1)

    def configure_optimizers(self):
        return torch.optim.SGD(self.parameters(), lr=1e-2)
""",
    """
class Fit(L.LightningModule):
    def __init__(self, rate=0.1):
        super().__init__()
        self.save_hyperparameters()
        self.net, self.criterion = Scores(), nn.CrossEntropyLoss()

    def training_step(self, batch, batch_idx):
        loss = self.criterion(self.net(batch["x"]), batch["y"])
        self.log("train_loss", loss)
        return {"loss": loss}

    def configure_optimizers(self):
        optimizer = torch.optim.AdamW(self.parameters(), lr=self.hparams.rate)
        return {"optimizer": optimizer, "lr_scheduler": torch.optim.lr_scheduler.StepLR(optimizer, 10)}
""",
    """
class Base(L.LightningModule):
    def training_step(self, batch, index):
        loss, _ = self.step(batch)
        return loss

    def test_step(self, batch, index):
        _, scores = self.step(batch)
        return scores.argmax(1)

class Fit(Base):
    def __init__(self):
        super().__init__()
        self.net = Scores()

    def step(self, batch):
        x, y = batch
        scores = self.net(x)
        return F.cross_entropy(scores, y), scores
""",
    """
class Fit(L.LightningModule):
    def __init__(self):
        super().__init__()
        self.net = Scores()
        self.automatic_optimization = False

    def training_step(self, batch, index):
        optimizer = self.optimizers()
        loss = F.cross_entropy(self.net(batch[0]), batch[1])
        optimizer.zero_grad()
        self.manual_backward(loss)
        optimizer.step()
""",
    """
class Fit(L.LightningModule):
    def __init__(self):
        super().__init__()
        self.net = Scores()

    def forward(self, x):
        return self.net(x)

    def training_step(self, batch, index):
        return F.cross_entropy(self(batch[0]), batch[1])
""",
    """
class Task(nn.Module):
    def __init__(self):
        super().__init__()
        self.net, self.loss = Scores(), nn.CrossEntropyLoss()

    def step(self, x, y):
        return self.loss(self.net(x), y)

def main(batches):
    task = Task()
    optimizer = torch.optim.SGD(task.parameters(), lr=0.1)
    for x, y in batches:
        optimizer.zero_grad()
        task.step(x, y).backward()
        optimizer.step()
""",
    """
class Pair(nn.Module):
    def __init__(self):
        super().__init__()
        self.body, self.net = nn.Linear(16, 16), Scores()

    def loss(self, x, y):
        return F.cross_entropy(self.net(self.body(x)), y)

pair = Pair()
optimizer = torch.optim.SGD(pair.parameters(), lr=0.1)
pair.loss(torch.ones(4, 16), torch.ones(4)).backward()
optimizer.step()
""",
)
ENCODED = """
class Fit(L.LightningModule):
    def __init__(self):
        super().__init__()
        self.encoder, self.head = Scores(), nn.Linear(2, 2)

    def training_step(self, batch, index):
        return F.cross_entropy(self.head(torch.relu(self.encoder(batch[0]))), batch[1])
"""
TEACHER = """
class Fit(L.LightningModule):
    def __init__(self):
        super().__init__()
        self.net, self.teacher = Scores(), Scores()

    def training_step(self, batch, index):
        with torch.no_grad():
            soft = self.teacher(batch[0]).softmax(1)
        return F.kl_div(self.net(batch[0]).log_softmax(1), soft)

    def validation_step(self, batch, index):
        return (self.net(batch[0]).argmax(1) == batch[1]).float().mean()
"""

PENALTY = """\
import pytorch_lightning as pl
import torch
import torch.nn.functional as F
from torch import nn

class Fit(pl.LightningModule):
    def __init__(self):
        super().__init__()
        self.net = nn.Sequential(nn.Linear(4, 8), nn.ReLU(), nn.Linear(8, 1))

    def {extra}

    def configure_optimizers(self):
        return torch.optim.{optimizer}
"""
STEPS = (
    """training_step(self, batch, index):
        x, y = batch
        loss = F.mse_loss(self.net(x), y)
        return loss + 1e-4 * sum(p.pow(2).sum() for p in self.parameters()){mark}""",
    """training_step(self, batch, index):
        loss = F.mse_loss(self.net(batch[0]), batch[1])
        loss = loss + 1e-4 * sum((p ** 2).sum() for p in self.parameters()){mark}
        self.log("loss", loss)
        return {{"loss": loss}}""",
    """forward(self, x):
        return self.net(x)

    def training_step(self, batch, index):
        return F.mse_loss(self(batch[0]), batch[1]) + 1e-3 * sum(p.norm() ** 2 for p in self.parameters()){mark}""",
)
MEAN = "training_step(self, batch, index):\n        return self.net(batch).mean()"
DECAYS = "AdamW(self.parameters(), lr=1e-3, weight_decay=1e-2)"
NO_DECAY = "AdamW(self.parameters(), lr=1e-3, weight_decay=0.0)"
COUPLED = "Adam(self.parameters(), lr=1e-3, weight_decay=1e-2)  # <- REG301"

FROZEN = """\
import lightning as L
import torch
import torch.nn.functional as F
from torch import nn

class Fit(L.LightningModule):
    def __init__(self):
        super().__init__()
        self.body = nn.Sequential(nn.Linear(16, 32), nn.BatchNorm1d(32), nn.ReLU())
        self.head = nn.Linear(32, 2)
        for p in self.body.parameters():
            p.requires_grad = False
    {hook}
    def training_step(self, batch, index):
        return F.cross_entropy(self.head(self.body(batch[0])), batch[1])

    def configure_optimizers(self):
        return torch.optim.SGD(self.head.parameters(), lr=0.1)
"""
HOOKS = (
    "\n    def on_train_epoch_start(self):\n        self.body.eval()\n",
    "\n    def on_train_batch_start(self, batch, index):\n        self.body[1].eval()\n",
    "\n    def train(self, mode=True):\n        super().train(mode)\n        self.body.eval()\n        return self\n",
)
SETUP = """
class Fit(L.LightningModule):
    def setup(self, stage):
        self.net = Scores()

    def training_step(self, batch, index):
        return F.cross_entropy(self.net(batch[0]), batch[1])
"""

LABEL = """

{decorator}
def label(path, x):
    model = Fit.load_from_checkpoint(path)
    {before}
    with torch.no_grad():
        return model(x).argmax(1){mark}
"""
LABELS = (
    ("", "model.to('cuda')", "  # <- REG201"),
    ("@torch.inference_mode()", "pass", "  # <- REG201"),
    ("", "model.eval()", ""),
    ("", "model.freeze()", ""),
    ("", "prepare(model)", ""),
)

PROGRAMS = [
    *(DROPPED + fit for fit in FITS),
    *(HIDDEN + fit for fit in FITS),
    DROPPED.replace("  # <- REG101", "") + ENCODED,
    HIDDEN + TEACHER,
    DROPPED + SETUP,
    HIDDEN + SETUP,
    *(FROZEN.format(hook=hook) for hook in HOOKS),
    *(PENALTY.format(extra=step.format(mark="  # <- REG303"), optimizer=DECAYS) for step in STEPS),
    *(PENALTY.format(extra=step.format(mark=""), optimizer=NO_DECAY) for step in STEPS),
    PENALTY.format(
        extra="training_step(self, batch, index):\n        return self.net(batch).mean()", optimizer=COUPLED
    ),
    *(
        HIDDEN + FITS[4] + LABEL.format(decorator=decorator, before=before, mark=mark)
        for decorator, before, mark in LABELS
    ),
]


@pytest.mark.parametrize("source", PROGRAMS)
def test_exactly_the_marked_lines_are_reported(source: str, tmp_path: Path) -> None:
    """A defect that only a library's calls of the model's own methods show is found, and its sound twin is not."""
    path = tmp_path / "fit.py"
    path.write_text(source)
    report = scan([path])
    assert report.not_checked == ()
    assert {(each.line, each.code) for each in report.findings} == {
        (number, code)
        for number, line in enumerate(source.splitlines(), 1)
        for code in re.findall(r"# <- (REG\d+)", line)
    }
