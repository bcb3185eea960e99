"""Unwrap models from DDP, FSDP, `torch.compile`, trainers and other wrappers."""

from __future__ import annotations

import functools
from typing import Any

import torch.distributed
from torch import fx, nn

from regcheck.lazy_dataclass import dataclass

from .call_interceptor import script_name
from .exported_programs import class_name

_INNER = {
    "OptimizedModule": "_orig_mod",
    "DistributedDataParallel": "module",
    "DataParallel": "module",
    "FullyShardedDataParallel": "_fsdp_wrapped_module",
    "AveragedModel": "module",
    "ModelEma": "ema",
    "ModelEmaV2": "module",
    "ModelEmaV3": "module",
    "DeepSpeedEngine": "module",
    "_FabricModule": "_forward_module",
}
"""The attribute that holds the wrapped model, by the wrapper's class."""
_SHARDING = ("FullyShardedDataParallel", "FSDPModule")


@dataclass(frozen=True)
class Subject:
    """The model to examine, and the classes of its wrappers, outermost first.

    `shown` is the model that reports name, where it is not the one to run: the model inside an adapter. `group` is the
    process group of a data-parallel training with several ranks, if any. `sharded` is the outermost wrapper that shards
    the model's parameters, if any.
    """

    model: Any
    around: tuple[str, ...] = ()
    shown: Any = None
    group: Any = None
    sharded: Any = None

    @property
    def name(self) -> str:
        """The name in reports: `Net`, or `Net (inside DistributedDataParallel)`."""
        return _name(self.model if self.shown is None else self.shown) + (
            f" (inside {', '.join(self.around)})" if self.around else ""
        )


def unwrapped(model: Any) -> Any:
    """The model inside DDP, FSDP, `torch.compile`, an average, a trainer or `functools.partial`; else the model."""
    return subject_of(model).model


def subject_of(model: Any) -> Subject:
    """The model inside all wrappers, with their names."""
    around: list[str] = []
    shown: Any = None
    group: Any = None
    sharded: Any = None
    while (inner := _inside(model)) is not None:
        around.append(type(model).__name__)
        sharded = sharded or (model if around[-1] in _SHARDING else None)
        group = _data_parallel(model) or group
        model = inner
    if isinstance(model, nn.Module) and _is_sharded_in_place(model):
        around.append("fully_shard")
        group = _data_parallel(model) or group
    adapted = _adapted(model)
    if adapted is not None:
        around.append(type(model).__name__)
        shown = adapted
    return Subject(model, tuple(around), shown, group, sharded)


def obstacle(model: Any) -> str:
    """Why one process cannot run the model: its parameters are sharded over several processes. Empty if it can."""
    if not isinstance(model, nn.Module) or not torch.distributed.is_available():
        return ""
    sharded = any(base.__name__ in _SHARDING for each in model.modules() for base in type(each).__mro__)
    if (sharded or any(_is_spread(each) for each in model.parameters())) and processes() > 1:
        return f"its parameters are spread over {processes()} processes, and one of them cannot run it alone"
    return ""


def _is_spread(parameter: nn.Parameter) -> bool:
    return any(base.__name__ == "DTensor" for base in type(parameter).__mro__)


def processes() -> int:
    """The size of the default process group; one without a group."""
    there = torch.distributed.is_available() and torch.distributed.is_initialized()
    return torch.distributed.get_world_size() if there else 1


def _inside(model: Any) -> Any:
    """The object inside the outermost wrapper; None where the model is not wrapped."""
    if isinstance(model, functools.partial):
        return model.func
    names = [base.__name__ for base in type(model).__mro__]
    if not isinstance(model, nn.Module):
        inner = getattr(model, "lightning_module", None) or getattr(model, "model", None)
        return inner if "Trainer" in names and isinstance(inner, nn.Module) else None
    attribute = next((_INNER[name] for name in names if name in _INNER), None)
    inner = getattr(model, attribute, None) if attribute is not None else _only_part(model)
    return inner if isinstance(inner, nn.Module) else None


def _only_part(model: nn.Module) -> nn.Module | None:
    """The only child with parameters of a module without a forward of its own, as in some Lightning modules."""
    owner = next((base for base in type(model).__mro__ if "forward" in vars(base)), nn.Module)
    if owner is not nn.Module and owner.__name__ != "LightningModule":
        return None
    parts = [each for each in model.children() if next(each.parameters(), None) is not None]
    return parts[0] if len(parts) == 1 and not isinstance(parts[0], (nn.ModuleList, nn.ModuleDict)) else None


def _data_parallel(wrapper: Any) -> Any:
    """The process group over which a DDP or FSDP module in train mode averages gradients, of several ranks; or None."""
    names = {base.__name__ for base in type(wrapper).__mro__}
    if names.isdisjoint(("DistributedDataParallel", *_SHARDING)) or not wrapper.training:
        return None
    group = _sharding_group(wrapper) if "FSDPModule" in names else getattr(wrapper, "process_group", None)
    return group if group is not None and torch.distributed.is_initialized() and group.size() > 1 else None


def _sharding_group(model: nn.Module) -> Any:
    """The process group over which `fully_shard` shards the parameters of a model or of its first part."""
    for each in model.modules():
        state = each._get_fsdp_state() if _is_sharded_in_place(each) else None  # type: ignore[operator]
        groups = getattr(state, "_fsdp_param_groups", None) or [getattr(state, "_fsdp_param_group", None)]
        for parameters in groups:
            if (group := getattr(getattr(parameters, "mesh_info", None), "shard_process_group", None)) is not None:
                return group
    return None


def _adapted(model: Any) -> Any:
    """The model that a PEFT wrapper adapts: the wrapper runs, but reports name the model inside."""
    if isinstance(model, nn.Module) and any(base.__name__ == "PeftModel" for base in type(model).__mro__):
        return getattr(getattr(model, "base_model", None), "model", None)
    return None


def _is_sharded_in_place(model: nn.Module) -> bool:
    """Whether `fully_shard` has replaced the model's class by a subclass."""
    return any(base.__name__ == "FSDPModule" for base in type(model).__mro__)


def _name(model: Any) -> str:
    if isinstance(model, nn.Module) and _is_sharded_in_place(model):
        return next(base.__name__ for base in type(model).__bases__ if base.__name__ != "FSDPModule")
    if isinstance(model, fx.GraphModule):
        return class_name(model)
    return script_name(model) if isinstance(model, torch.jit.ScriptModule) else type(model).__name__
