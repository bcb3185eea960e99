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

HOOKED = (
    """
class Task(Fit):
    def on_train_epoch_end(self):
        {before}
        with torch.no_grad():
            hits = (self(self.held_out).argmax(1) == 1).sum(){mark}
        self.train()
        self.log("hits", hits)
""",
    """
class Task(Fit):
    def on_fit_start(self):
        self.example = torch.ones(4, 16)

    @torch.no_grad()
    def on_train_epoch_start(self):
        {before}
        self.log_dict({{"score": self(self.example).softmax(1).argmax(1).float().mean()}}){mark}
        self.train()
""",
    """
class Task(Fit):
    def validation_step(self, batch, index):
        self.log("accuracy", (self(batch[0]).argmax(1) == batch[1]).float().mean())

    def on_train_epoch_end(self):
        {before}
        self.score(){mark0}
        self.train()

    def score(self):
        with torch.inference_mode():
            print(self(self.held_out).argmax(1)){mark}
""",
)
SAMPLING = """
class Pictures(L.LightningModule):
    def __init__(self):
        super().__init__()
        self.net = nn.Sequential(nn.Linear(4, 16), nn.BatchNorm1d(16), nn.ReLU(), nn.Linear(16, 16))
        self.noise = torch.randn(8, 4)

    def training_step(self, batch, index):
        return F.mse_loss(self.net(torch.randn(8, 4)), batch)

    @torch.no_grad()
    def on_train_epoch_end(self):
        self.logger.experiment.add_image("samples", make_grid(self.net(self.noise)), self.current_epoch)
"""
LEFT = (
    """
class Task(Fit):
    def on_train_epoch_end(self):
        self.eval()
        with torch.no_grad():
            self.log("hits", (self(self.held_out).argmax(1) == 1).sum())
        {after}

    def training_step(self, batch, index):
        return F.cross_entropy(self(batch[0]), batch[1]){mark}
""",
    """
class Task(Fit):
    def on_train_batch_end(self, outputs, batch, index):
        self.net.eval()
        with torch.no_grad():
            print(self.net(batch[0]).argmax(1))
        {after}

    def training_step(self, batch, index):
        return F.cross_entropy(self.net(batch[0]), batch[1]){mark}
""",
)
FITTED = (
    """

def main(train, held_out):
    model = Fit()
    trainer = L.Trainer(max_epochs=3, callbacks=[L.pytorch.callbacks.ModelCheckpoint()])
    trainer.fit(model, train)
    {before}
    with torch.no_grad():
        for x, y in held_out:
            print((model(x).argmax(1) == y).float().mean()){mark}
""",
    """

from lightning.pytorch import Trainer
model = Fit()
trainer = Trainer()
trainer.fit(model=model, train_dataloaders=load("train"))
trainer.validate(model, load("valid"))
{before}
with torch.inference_mode():
    labels = model(load("x")).argmax(1){mark}
""",
    """

class Experiment:
    def __init__(self):
        self.model, self.trainer = Fit(), L.Trainer()

    def run(self, x):
        self.model.train()
        self.trainer.fit(self.model)
        self.label(x)

    @torch.no_grad()
    def label(self, x):
        {self_before}
        return self.model(x).argmax(1){mark}

Experiment().run(torch.ones(2, 16))
""",
    """

def main(x):
    model = Fit()
    L.Trainer().fit(model)
    {before}
    def answer(x):
        with torch.no_grad():
            return model(x).argmax(1){mark}
    return answer(x)
""",
    """

class Frozen(Fit):
    def on_fit_end(self):
        self.eval()

def main(x):
    model = Frozen()
    L.Trainer().fit(model)
    with torch.no_grad():
        return model(x).argmax(1)
""",
    """

class Rest(L.Callback):
    def on_fit_end(self, trainer, task):
        task.eval()

def main(x):
    model = Fit()
    trainer = L.Trainer(callbacks=[Rest()])
    trainer.fit(model)
    with torch.no_grad():
        return model(x).argmax(1)
""",
    """

def main(x, loader):
    model = Fit()
    trainer = L.Trainer()
    trainer.fit(model, loader, loader)
    trainer.test(model, loader)
    labels = trainer.predict(model, loader)
    with torch.no_grad():
        return labels, model(x).argmax(1)
""",
)

TUNED = (
    """
import torch
from transformers import AutoModelForSequenceClassification, AutoTokenizer, Trainer, TrainingArguments

model = AutoModelForSequenceClassification.from_pretrained("bert-base-uncased", num_labels=2)
tokenizer = AutoTokenizer.from_pretrained("bert-base-uncased")
trainer = Trainer(model=model, args=TrainingArguments("out"), train_dataset=load())
trainer.train()
trainer.save_model("out")
{before}
with torch.no_grad():
    print(model(**tokenizer("fine", return_tensors="pt")).logits.argmax(-1)){mark}
""",
    """
import torch
from transformers import Seq2SeqTrainer, TrainingArguments
from zoo import build

def main(train, texts):
    model = build()
    trainer = Seq2SeqTrainer(model, TrainingArguments("out"), train_dataset=train)
    trainer.train()
    {before}
    labels = []
    with torch.inference_mode():
        for each in texts:
            labels.append(trainer.model(**each).logits.argmax(-1)){mark}
    return labels
""",
    """
import torch
import transformers
from zoo import build

class Tuner:
    def __init__(self):
        self.model = build()
        self.trainer = transformers.Trainer(model=self.model, args=transformers.TrainingArguments("out"))

    def run(self, x):
        self.trainer.train()
        {self_before}
        with torch.no_grad():
            return self.model(**x).logits.argmax(-1){mark}

Tuner().run({{}})
""",
    NETS.format(forward="self.out(self.drop(torch.relu(self.first(x))))").replace("lightning as L", "transformers")
    + """
def main(train, x):
    model = Scores()
    transformers.Trainer(model, transformers.TrainingArguments("out"), train_dataset=train).train()
    {before}
    with torch.no_grad():
        return model(x).argmax(-1){mark}
""",
)
EVALUATED = """
import torch
from transformers import AutoModelForSequenceClassification, Trainer, TrainingArguments

def main(data, x):
    model = AutoModelForSequenceClassification.from_pretrained("bert-base-uncased")
    trainer = Trainer(model, TrainingArguments("out"), {more})
    trainer.train()
    {before}
    with torch.no_grad():
        return model(**x).logits.argmax(-1)
"""


def filled(template: str, *, sound: bool, mark: str) -> str:
    """The program with its missing line, or with a mark at the call that needs it."""
    return template.format(
        before="model.eval()" if sound and "self(" not in template else "self.eval()" if sound else "pass",
        self_before="self.model.eval()" if sound else "pass",
        after="self.train()" if sound else "pass",
        mark="" if sound else f"  # <- {mark}",
        mark0="",
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
MODES = [
    *(HIDDEN + FITS[4] + filled(each, sound=sound, mark="REG201") for each in HOOKED for sound in (True, False)),
    *(HIDDEN + FITS[4] + filled(each, sound=sound, mark="REG206") for each in LEFT for sound in (True, False)),
    *(HIDDEN + FITS[4] + filled(each, sound=sound, mark="REG201") for each in FITTED for sound in (True, False)),
    *(filled(each, sound=sound, mark="REG201") for each in TUNED for sound in (True, False)),
    HIDDEN + SAMPLING,
    EVALUATED.format(more="eval_dataset=data", before="pass"),
    EVALUATED.format(more="None, data, data", before="pass"),
    EVALUATED.format(more="callbacks=[data]", before="pass"),
    EVALUATED.format(more="train_dataset=data", before="trainer.evaluate(data)"),
    EVALUATED.format(more="train_dataset=data", before="trainer.predict(data)"),
]


@pytest.mark.parametrize("source", PROGRAMS)
def test_exactly_the_marked_lines_are_reported(source: str, tmp_path: Path) -> None:
    """A defect that only a library's calls of the model's own methods show is found, and its sound twin is not."""
    path = tmp_path / "fit.py"
    path.write_text(source)
    report = scan([path])
    assert report.not_checked == ()
    assert {(each.line, each.code) for each in report.findings} == marked(source)


def test_the_modes_that_trainers_leave_are_followed(tmp_path: Path) -> None:
    """A prediction in train mode is found in a hook and after a training, and so is an `eval()` that a hook leaves."""
    for number, source in enumerate(MODES):
        (tmp_path / f"program_{number}.py").write_text(source)
    report = scan([tmp_path])
    assert report.not_checked == ()
    for number, source in enumerate(MODES):
        found = {(each.line, each.code) for each in report.findings if each.path.endswith(f"_{number}.py")}
        assert found == marked(source), source


def marked(source: str) -> set[tuple[int, str]]:
    """The lines of a program that are marked with a code."""
    lines = enumerate(source.splitlines(), 1)
    return {(number, code) for number, line in lines for code in re.findall(r"# <- (REG\d+)", line)}
