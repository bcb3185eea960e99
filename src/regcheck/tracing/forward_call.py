"""Call a model on example or captured inputs."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from torch import nn

from regcheck.keras_api import forward
from regcheck.torch_api.mode_arguments import in_mode, is_tied


def run(model: nn.Module, args: Sequence[Any], kwargs: Mapping[str, Any]) -> Any:
    """Call a model in its mode, with the values that its arguments have in that mode."""
    if is_tied(args, kwargs):  # else nothing here depends on the mode, so it must not be read
        args, kwargs = in_mode(args, kwargs, model.training)
    return forward.run(model, args, kwargs)
