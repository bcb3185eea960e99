"""The callbacks for Lightning and transformers, on the real frameworks where they are installed."""

from __future__ import annotations

import gc
import importlib.util
import logging
import pickle
import subprocess
import sys
from collections.abc import Callable
from importlib import import_module
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
from torch import nn

from regcheck.callbacks import LightningHooks, TransformersHooks
from regcheck.core.errors import Failed, UsageError

LIGHTNING = """
import sys
import {package} as pl
import torch
from torch import nn
from torch.utils.data import DataLoader, TensorDataset

class Net(pl.LightningModule):
    def __init__(self):
        super().__init__()
        self.hidden, self.norm = nn.Linear(8, 16), nn.BatchNorm1d(16)
        self.drop, self.head = nn.Dropout(0.5), nn.Linear(16, 2)
        self.metric = [nn.Sequential(nn.Linear(8, 8), nn.Dropout(0.5), nn.Linear(8, 2))]

    def forward(self, x):
        return self.head(self.drop(self.norm(self.hidden(x))))

    def training_step(self, batch, index):
        return nn.functional.cross_entropy(self(batch[0]), batch[1])

    def validation_step(self, batch, index):
        if "train" in sys.argv:
            self.train()
        if "metric" in sys.argv:
            self.log("distance", (self.metric[0](batch[0]) - self(batch[0])).abs().mean())
        if "broken" in sys.argv and not self.trainer.sanity_checking:
            raise KeyError("no such metric")
        self.log("loss", nn.functional.cross_entropy(self(batch[0]), batch[1]))

    def configure_optimizers(self):
        return torch.optim.AdamW(self.parameters(), lr=0.01)

pl.seed_everything(0)
x = torch.randn(32, 8)
data = DataLoader(TensorDataset(x, (x[:, 0] > 0).long()), 8, shuffle="shuffle" in sys.argv)
callbacks = []
if "watch" in sys.argv:
    from regcheck.callbacks import LightningCallback
    callbacks.append(LightningCallback(raise_on_findings="raise" in sys.argv))
trainer = pl.Trainer(
    max_epochs=2, accelerator="cpu", logger=False, callbacks=callbacks,
    enable_checkpointing=False, enable_progress_bar=False, enable_model_summary=False,
)
net = Net()
call = vars(nn.Module)["__call__"]
try:
    trainer.fit(net, data, None if "alone" in sys.argv else data)
finally:
    assert vars(nn.Module)["__call__"] is call
    for each in callbacks:
        print("found:", *(f"{{f.code}} {{f.module}} {{f.evidence.verdict.value}}" for f in each.report.findings))
        print("missed:", *each.report.not_checked)
print("left:", [each.tolist() for each in net.state_dict().values()], torch.rand(1).item())
"""

TRANSFORMERS = """
import sys
import torch
from torch import nn
from transformers import BertConfig, BertForSequenceClassification, Trainer, TrainingArguments

torch.manual_seed(0)
config = BertConfig(
    vocab_size=50, hidden_size=16, num_hidden_layers=1, num_attention_heads=2, intermediate_size=32, num_labels=2
)
net = BertForSequenceClassification(config)
judge = nn.Sequential(nn.Linear(2, 8), nn.Dropout(0.5), nn.Linear(8, 2))
data = [{"input_ids": torch.randint(0, 50, (12,)), "labels": torch.tensor(i % 2)} for i in range(16)]

def metrics(prediction):
    with torch.no_grad():
        return {"judged": judge(torch.tensor(prediction.predictions)).mean().item()}

callbacks = []
if "watch" in sys.argv:
    from regcheck.callbacks import TransformersCallback
    callbacks.append(TransformersCallback(raise_on_findings="raise" in sys.argv))
arguments = TrainingArguments(
    "out", num_train_epochs=2, per_device_train_batch_size=8, report_to=[], use_cpu=True, save_strategy="no",
    disable_tqdm=True, eval_strategy="no" if "alone" in sys.argv else "epoch", eval_on_start="start" in sys.argv,
)
trainer = Trainer(
    net, arguments, train_dataset=data, eval_dataset=data, callbacks=callbacks,
    compute_metrics=metrics if "metric" in sys.argv else None,
)
call = vars(nn.Module)["__call__"]
try:
    trainer.train()
finally:
    assert vars(nn.Module)["__call__"] is call
    for each in callbacks:
        print("found:", *(f"{f.code} {f.module} {f.evidence.verdict.value}" for f in each.report.findings))
        print("missed:", *each.report.not_checked)
print("left:", [each.tolist() for each in net.state_dict().values()], torch.rand(1).item())
"""

Train = Callable[..., subprocess.CompletedProcess[str]]


def train_with(program: str, folder: Path) -> Train:
    (folder / "training.py").write_text(program, encoding="utf-8")

    def train(*words: str) -> subprocess.CompletedProcess[str]:
        command = [sys.executable, "-W", "ignore", "training.py", *words]
        return subprocess.run(command, cwd=folder, capture_output=True, text=True, timeout=240)

    return train


@pytest.fixture(params=["lightning.pytorch", "pytorch_lightning"])
def lightning(request: pytest.FixtureRequest, tmp_path: Path) -> Train:
    if importlib.util.find_spec(request.param.partition(".")[0]) is None:
        pytest.skip(f"{request.param} is not installed")
    return train_with(LIGHTNING.format(package=request.param), tmp_path)


@pytest.fixture
def transformers(tmp_path: Path) -> Train:
    for each in ("transformers", "accelerate"):
        if importlib.util.find_spec(each) is None:
            pytest.skip(f"{each} is not installed")
    return train_with(TRANSFORMERS, tmp_path)


def lines(done: subprocess.CompletedProcess[str], key: str) -> list[str]:
    assert "left:" in done.stdout or done.returncode, done.stderr
    return [each.removeprefix(key).strip() for each in done.stdout.splitlines() if each.startswith(key)]


@pytest.mark.slow  # each training starts a framework anew
def test_a_training_with_lightning_stays_what_it_is(lightning: Train) -> None:
    """Weights, statistics and random numbers are the same with the callback, and a sound module gives no finding."""
    watched, plain = lightning("watch", "shuffle"), lightning("shuffle")
    assert lines(watched, "found:") == [""] and lines(watched, "missed:") == [""]
    assert lines(watched, "left:") == lines(plain, "left:") != []
    assert lines(lightning("watch", "alone"), "found:") == [""]


@pytest.mark.slow  # each training starts a framework anew
def test_lightning_hears_of_a_validation_in_train_mode(lightning: Train) -> None:
    """A `validation_step` that calls `train()`, and a net that nobody put in eval, are told through its logger."""
    done = lightning("watch", "train")
    assert lines(done, "found:") == ["REG201 Net confirmed"]
    assert "regcheck: training.py:" in done.stderr and done.stderr.count("REG201") == 1
    assert lines(lightning("watch", "metric"), "found:") == ["REG201 Sequential confirmed"]


@pytest.mark.slow  # each training starts a framework anew
def test_lightning_stops_where_that_is_asked_for(lightning: Train) -> None:
    """`raise_on_findings` ends the training with the report; what a training itself raises comes out as it is."""
    done = lightning("watch", "train", "raise")
    assert done.returncode == 1 and "regcheck.core.errors.Failed: training.py:" in done.stderr
    done = lightning("watch", "train", "raise", "broken")
    assert done.returncode == 1 and done.stderr.rstrip().endswith("KeyError: 'no such metric'")
    assert lines(done, "found:") == ["REG201 Net confirmed"]


@pytest.mark.slow  # each training starts a framework anew
def test_a_training_with_transformers_stays_what_it_is(transformers: Train) -> None:
    """Weights and random numbers are the same with the callback, and a sound model gives no finding."""
    watched, plain = transformers("watch"), transformers()
    assert lines(watched, "found:") == [""] and lines(watched, "missed:") == [""]
    assert lines(watched, "left:") == lines(plain, "left:") != []
    assert lines(transformers("watch", "alone", "start"), "found:") == [""]


@pytest.mark.slow  # each training starts a framework anew
def test_transformers_hears_of_a_metric_in_train_mode(transformers: Train) -> None:
    """A net that the metrics run in train mode is told through the logger, and may stop the training."""
    done = transformers("watch", "metric")
    assert lines(done, "found:") == ["REG201 Sequential confirmed"]
    assert "regcheck: training.py:" in done.stderr
    done = transformers("watch", "metric", "raise")
    assert done.returncode == 1 and "regcheck.core.errors.Failed: training.py:" in done.stderr


@pytest.fixture
def predict(tmp_path: Path) -> Callable[[nn.Module], torch.Tensor]:
    source = (
        "import torch\ndef validation_step(net):\n    with torch.no_grad():\n        return net(torch.ones(4, 8))\n"
    )
    names: dict[str, Callable[[nn.Module], torch.Tensor]] = {}
    exec(compile(source, str(tmp_path / "steps.py"), "exec"), names)
    return names["validation_step"]


def net() -> nn.Module:
    return nn.Sequential(nn.Linear(8, 8), nn.Dropout(0.5), nn.Linear(8, 2))


def test_the_sanity_check_is_no_validation(
    predict: Callable[[nn.Module], torch.Tensor], caplog: pytest.LogCaptureFixture
) -> None:
    """Lightning's report comes at the first validation after it, once, from the first process only."""
    trainer = SimpleNamespace(sanity_checking=True, is_global_zero=True)
    hooks = LightningHooks()
    hooks.setup(trainer, None, "fit")
    hooks.on_validation_end(trainer, None)
    assert hooks.report is None
    predict(net())
    trainer.sanity_checking = False
    with caplog.at_level(logging.INFO, "lightning.pytorch"):
        hooks.on_validation_end(trainer, None)
        hooks.on_validation_end(trainer, None)
        hooks.teardown(trainer, None, "fit")
    assert hooks.report is not None and [each.code for each in hooks.report.findings] == ["REG201"]
    assert [(each.name, each.levelname) for each in caplog.records] == [("lightning.pytorch", "WARNING")]
    silent = LightningHooks()
    silent.setup(trainer, None, "fit")
    with caplog.at_level(logging.INFO, "lightning.pytorch"):
        silent.teardown(SimpleNamespace(is_global_zero=False), None, "fit")
    assert silent.report is not None and len(caplog.records) == 1


def test_an_evaluation_before_the_first_step_is_no_validation(predict: Callable[[nn.Module], torch.Tensor]) -> None:
    """The callback of transformers reports at the first one after a step, and raises if it was asked to."""
    state = SimpleNamespace(global_step=0, is_world_process_zero=True)
    hooks = TransformersHooks(raise_on_findings=True)
    hooks.on_train_begin(None, state, None)
    predict(net())
    hooks.on_evaluate(None, state, None)
    assert hooks.report is None
    state.global_step = 1
    with pytest.raises(Failed, match="REG201"):
        hooks.on_evaluate(None, state, None)
    hooks.on_train_end(None, state, None)


def test_a_training_that_raises_leaves_no_watch_for_good(predict: Callable[[nn.Module], torch.Tensor]) -> None:
    """The next training of the callback begins anew, and a callback that is deleted takes its watch with it."""
    call, state = vars(nn.Module)["__call__"], SimpleNamespace(global_step=1, is_world_process_zero=True)
    hooks = TransformersHooks()
    hooks.on_train_begin(None, state, None)
    predict(net())
    hooks.on_train_begin(None, state, None)
    hooks.on_train_end(None, state, None)
    assert hooks.report is not None and hooks.report.findings == ()
    assert vars(nn.Module)["__call__"] is call
    for begin in (
        lambda: (hooks := TransformersHooks(), hooks.on_train_begin(None, state, None)),
        lambda: (hooks := LightningHooks(), hooks.setup(None, None, "fit")),
    ):
        kept = begin()
        assert vars(nn.Module)["__call__"] is not call
        del kept
        gc.collect()
        assert vars(nn.Module)["__call__"] is call


def test_wrong_options_are_told_at_once() -> None:
    """A callback that cannot do what it is asked for is never made."""
    with pytest.raises(UsageError, match="did you mean 'select'"):
        LightningHooks({"slect": ["REG2"]})


def test_callbacks_are_there_when_they_are_asked_for() -> None:
    """The module loads no framework; one that is missing is named; a class is found again by its name."""
    code = (
        "import sys, regcheck.callbacks as callbacks\n"
        "print(dir(callbacks), {'torch', 'lightning', 'transformers'} & set(sys.modules))\n"
        "sys.modules.update(dict.fromkeys(['lightning', 'pytorch_lightning', 'transformers']))\n"
        "for name in dir(callbacks):\n"
        "    try: getattr(callbacks, name)\n"
        "    except ImportError as error: print(error)\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60)
    assert done.stdout.splitlines() == [
        "['LightningCallback', 'TransformersCallback'] set()",
        "this callback needs lightning: `pip install lightning`",
        "this callback needs transformers: `pip install transformers`",
    ], done.stderr
    with pytest.raises(AttributeError, match="has no attribute 'KerasCallback'"):
        _ = import_module("regcheck.callbacks").KerasCallback
    assert pickle.loads(pickle.dumps(LightningHooks())).report is None
