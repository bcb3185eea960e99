"""What is around a model is looked through, and reports say that it was there."""

from __future__ import annotations

import copy
import functools
import queue
import threading
from collections.abc import Iterator
from typing import Any

import pytest
import torch
import torch.distributed as dist
import torch.nn.functional as F
from torch import nn
from torch.testing._internal.distributed.fake_pg import FakeStore

from regcheck import audit
from regcheck.core.report import Report
from regcheck.tracing.unwrap import obstacle, subject_of, unwrapped


class Net(nn.Module):
    """Its dropout ignores the mode, so that every audit that looks inside has something to say."""

    def __init__(self) -> None:
        super().__init__()
        self.body = nn.Sequential(nn.Linear(8, 8), nn.ReLU())
        self.head = Head()

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.head(self.body(x))


class Head(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.out = nn.Linear(8, 4)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.out(F.dropout(x, 0.3))


def audited(model: Any, *args: Any) -> Report:
    return audit(model, *args, options={"select": ["REG202"], "devices": ["cpu"]})


@pytest.fixture
def process_group() -> Iterator[None]:
    """A process group of this process alone."""
    dist.init_process_group("gloo", rank=0, world_size=1, store=dist.HashStore())
    yield
    dist.destroy_process_group()


@pytest.fixture
def two_processes() -> Iterator[None]:
    """A process group in which this process is one of two, and the other is not there."""
    dist.init_process_group("fake", rank=0, world_size=2, store=FakeStore())
    yield
    dist.destroy_process_group()


class ModelEmaV2(nn.Module):
    """Shaped like timm's: a copy of the model whose weights are averaged."""

    def __init__(self, model: nn.Module) -> None:
        super().__init__()
        self.module = copy.deepcopy(model)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        raise AssertionError("the wrapper itself is not run")


class Trainer:
    """Shaped like transformers' and Lightning's: not a module, and it holds more than a model."""

    def __init__(self, model: nn.Module) -> None:
        self.model = model

    def __deepcopy__(self, memo: dict[int, Any]) -> Any:
        raise AssertionError("a trainer is never copied")


class LightningModule(nn.Module):
    """Shaped like Lightning's base class."""

    _trainer: Any = None

    def forward(self, *args: Any, **kwargs: Any) -> Any:
        return super().forward(*args, **kwargs)  # type: ignore[misc]


class Delegating(LightningModule):
    def __init__(self) -> None:
        super().__init__()
        self.net = Net()
        self.metric = nn.Identity()
        self._trainer = Trainer(self.net)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.net(x)


class WithoutForward(LightningModule):
    def __init__(self) -> None:
        super().__init__()
        self.net = Net()
        self.metric = nn.CrossEntropyLoss()


class LoraModel(nn.Module):
    def __init__(self, model: nn.Module) -> None:
        super().__init__()
        self.model = model


class PeftModel(nn.Module):
    """Shaped like PEFT's: the adapters run with the outer model's forward."""

    def __init__(self, model: nn.Module) -> None:
        super().__init__()
        self.base_model = LoraModel(model)

    def forward(self, *args: Any, **kwargs: Any) -> Any:
        return self.base_model.model(*args, **kwargs)


@pytest.mark.filterwarnings("ignore::DeprecationWarning")  # of DataParallel, and of what importing the compiler does
@pytest.mark.parametrize(
    ("wrap", "around"),
    [
        (nn.DataParallel, "DataParallel"),
        (torch.compile, "OptimizedModule"),
        (ModelEmaV2, "ModelEmaV2"),
        (torch.optim.swa_utils.AveragedModel, "AveragedModel"),
        (Trainer, "Trainer"),
        (functools.partial, "partial"),
        (lambda model: torch.compile(nn.DataParallel(model)), "OptimizedModule, DataParallel"),
    ],
)
def test_wrappers_are_named_and_looked_through(wrap: Any, around: str) -> None:
    """The model inside is examined: modules have the paths that they have in it, and the subject tells the wrapper."""
    report = audited(wrap(Net()))
    assert report.subjects == (f"Net (inside {around})",)
    assert [(each.module, each.evidence.verdict.value) for each in report.findings] == [("head", "confirmed")]


@pytest.mark.filterwarnings("ignore")  # torch's own deprecations while wrapping
def test_a_distributed_model_is_looked_through(process_group: None) -> None:
    """DistributedDataParallel, in a process group of one, is examined as the model inside."""
    report = audited(nn.parallel.DistributedDataParallel(Net()))
    assert report.subjects == ("Net (inside DistributedDataParallel)",)
    assert [each.module for each in report.findings] == ["head"]


@pytest.mark.filterwarnings("ignore")  # torch's own deprecations while sharding
def test_a_fully_sharded_wrapper_is_looked_through(process_group: None) -> None:
    """FullyShardedDataParallel with the original parameters is examined as the model inside."""
    from torch.distributed.fsdp import FullyShardedDataParallel

    report = audited(FullyShardedDataParallel(Net(), device_id=torch.device("cpu"), use_orig_params=True))
    assert report.subjects == ("Net (inside FullyShardedDataParallel)",)
    assert [(each.module, each.evidence.verdict.value) for each in report.findings] == [("head", "confirmed")]


@pytest.mark.filterwarnings("ignore")  # torch's own deprecations while sharding
def test_a_model_sharded_in_place_keeps_its_name(process_group: None) -> None:
    """`fully_shard` swaps the class; the report names the user's, and what cannot be measured says why."""
    from torch.distributed.device_mesh import init_device_mesh
    from torch.distributed.fsdp import fully_shard

    model = Net()
    fully_shard(model, mesh=init_device_mesh("cpu", (1,)))
    report = audited(model)
    assert report.subjects == ("Net (inside fully_shard)",)
    assert [each.module for each in report.findings] == ["head"]
    assert report.findings[0].evidence.verdict.value == "confirmed" or report.not_checked


@pytest.mark.filterwarnings("ignore")  # torch's own deprecations while sharding
def test_a_sharded_model_that_cannot_be_copied_is_not_checked(two_processes: None) -> None:
    """The whole of a sharded model is followed as a copy; where there is none, the report says both reasons."""
    from torch.distributed.device_mesh import init_device_mesh
    from torch.distributed.fsdp import fully_shard

    model = fully_shard(Net(), mesh=init_device_mesh("cpu", (2,)))
    assert [each.evidence.verdict.value for each in audited(model).findings] == ["unmeasured"]
    stop = threading.Event()
    model.head.queue, model.head.thread = queue.Queue(), threading.Thread(target=stop.wait)
    model.head.thread.start()
    try:
        (missed,) = audited(model).not_checked
    finally:
        stop.set()
    assert "spread over 2 processes" in missed.reason and "has a queue and a running thread" in missed.reason
    assert "before it is wrapped" in missed.what_to_do
    assert obstacle(Net()) == ""


def test_a_lightning_module_is_the_model() -> None:
    """A Lightning module with a forward is examined itself, and its trainer is never copied."""
    model = Delegating()
    report = audited(model)
    assert report.subjects == ("Delegating",)
    assert [each.module for each in report.findings] == ["net.head"]
    assert model._trainer.model is model.net


def test_a_lightning_module_without_forward_is_looked_through() -> None:
    """Where there is no forward to run, the one part with parameters is the model."""
    report = audited(WithoutForward())
    assert report.subjects == ("Net (inside WithoutForward)",)
    assert [each.evidence.verdict.value for each in report.findings] == ["confirmed"]


def test_a_container_without_forward_stays_itself() -> None:
    """Where several parts could be meant, none is chosen."""
    model = WithoutForward()
    model.other = nn.Linear(2, 2)
    assert unwrapped(model) is model
    assert unwrapped(nn.ModuleList([nn.Linear(2, 2)])) is not None


def test_an_adapted_model_runs_with_its_adapters() -> None:
    """A PEFT model is run whole, and named by the model that it adapts."""
    model = PeftModel(Net())
    found = subject_of(model)
    assert found.model is model and found.name == "Net (inside PeftModel)"
    report = audited(model, torch.randn(4, 8))
    assert [each.module for each in report.findings] == ["base_model.model.head"]


def test_a_replaced_forward_still_runs_the_copy() -> None:
    """A forward that a launcher wrapped on the instance leaves the original alone."""
    model = Net()
    original = model.forward

    @functools.wraps(original)
    def converted(*args: Any, **kwargs: Any) -> torch.Tensor:
        return original(*args, **kwargs).float()

    model.forward = converted  # type: ignore[method-assign]
    before = {name: value.clone() for name, value in model.state_dict().items()}
    report = audited(model.eval())
    assert [each.module for each in report.findings] == ["head"]
    assert model.forward is converted and not model.training
    assert all(torch.equal(before[name], value) for name, value in model.state_dict().items())


@pytest.mark.filterwarnings("ignore")  # the quantization API is deprecated, and warns
def test_a_prepared_model_is_examined() -> None:
    """A model prepared for quantization runs with its observers."""
    model = Net().train()
    model.qconfig = torch.ao.quantization.get_default_qat_qconfig("fbgemm")  # type: ignore[assignment]
    report = audited(torch.ao.quantization.prepare_qat(model))
    assert [(each.module, each.evidence.verdict.value) for each in report.findings] == [("head", "confirmed")]
    assert not report.not_checked


def test_a_lazy_model_stays_lazy() -> None:
    """Lazy layers are given shapes on a copy; the user's are as lazy afterwards as before."""
    model = nn.Sequential(nn.LazyLinear(8), Head())
    report = audited(model)
    assert [each.module for each in report.findings] == ["1"]
    assert isinstance(model[0], nn.LazyLinear) and nn.parameter.is_lazy(model[0].weight)


def test_inputs_on_another_device_are_said_to_be() -> None:
    """When given inputs are not where the model is, the entry says where both are."""
    report = audited(Net(), torch.empty(4, 8, device="meta"))
    (missed,) = report.not_checked
    assert "the inputs are on meta, the model is on cpu" in missed.what_to_do


def test_a_scripted_model_has_the_name_that_its_author_gave_it() -> None:
    """Not that of the class which torch makes of it."""
    assert subject_of(torch.jit.script(Head())).name == "Head"
