"""Run a model for a measurement: a Keras model in the mode of its torch flag, with Keras' random calls as torch's.

Keras draws from generators of its own, and masks channels by arithmetic. While regcheck runs a copy, the same draws
come from torch's stream through torch's dropout functions, and batch norm runs as one call: a recorder sees the calls
that the rules know.
"""

from __future__ import annotations

import inspect
import sys
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from typing import Any

from .layer_tree import is_layer

_RANDOM = "keras.src.backend.torch.random"
_lock = threading.RLock()


def run(model: Any, args: Sequence[Any], kwargs: Mapping[str, Any]) -> Any:
    """Call a model; a Keras model gets its mode as the argument `training`, from its flag of that name.

    A layer that a functional model was built to call with `training=True` acts as in training in both modes, as where
    a program calls `model(x)`.
    """
    if _RANDOM not in sys.modules:
        return model(*args, **kwargs)
    with _torch_calls():
        if not is_layer(model):
            return model(*args, **kwargs)
        with _on_device_of(model):
            return model(*args, **{**kwargs, "training": model.training})


@contextmanager
def _on_device_of(model: Any) -> Iterator[None]:
    """Make Keras create tensors on the device of a model's weights."""
    weight = next(iter(model.variables), None)
    if weight is None:
        yield
        return
    with sys.modules["keras.src.backend.torch.core"].device_scope(str(weight.value.device)):
        yield


@contextmanager
def _torch_calls() -> Iterator[None]:
    """Replace Keras' random functions and its batch norm for this thread by calls of torch that compute the same."""
    random, functions = sys.modules[_RANDOM], sys.modules["keras.src.backend.torch.nn"]
    norm = sys.modules["keras.src.layers.normalization.batch_normalization"].BatchNormalization
    alpha = sys.modules["keras.src.layers.regularization.alpha_dropout"].AlphaDropout
    of_batch: list[Any] = []

    def moments(original: Callable[..., Any]) -> Callable[..., Any]:
        def _moments(self: Any, inputs: Any, mask: Any) -> Any:
            moments_of_inputs = original(self, inputs, mask)
            if mask is None:
                of_batch[:] = moments_of_inputs
            return moments_of_inputs

        return _moments

    def alpha_dropout(original: Callable[..., Any]) -> Callable[..., Any]:
        def call(self: Any, inputs: Any, training: Any = False) -> Any:
            if not training or self.noise_shape is not None:
                return original(self, inputs, training)
            return sys.modules["torch.nn.functional"].alpha_dropout(inputs, p=self.rate, training=True)

        return call

    def normalization(original: Callable[..., Any]) -> Callable[..., Any]:
        def batch_normalization(x: Any, mean: Any, variance: Any, axis: int, *rest: Any, **named: Any) -> Any:
            if of_batch and mean is of_batch[0] and x.numel() > mean.numel():
                of_batch.clear()
                return _normalized(x, axis, *rest, **named)
            return original(x, mean, variance, axis, *rest, **named)

        return batch_normalization

    def own_mode(original: Callable[..., Any]) -> Callable[..., Any]:
        def operation_fn(operation: Any, *context: Any, **named: Any) -> Callable[..., Any]:
            in_context = original(operation, *context, **named)
            chosen = not _trains_by_default(operation)
            return lambda *args, **kwargs: (operation if chosen and kwargs.get("training") else in_context)(
                *args, **kwargs
            )

        return operation_fn

    with _lock, ExitStack() as undo:
        for owner, name, wrap in (
            (random, "dropout", lambda original: _dropout),
            (random, "torch_seed_generator", lambda original: lambda seed: None),
            (norm, "_moments", moments),
            (alpha, "call", alpha_dropout),
            (functions, "batch_normalization", normalization),
            (sys.modules["keras.src.models.functional"], "operation_fn", own_mode),
        ):
            undo.enter_context(_replaced(owner, name, wrap))
        yield


def _trains_by_default(layer: Any) -> bool:
    """Whether a layer acts as in training where a call does not say otherwise, as layers that augment images do."""
    argument = inspect.signature(layer.call).parameters.get("training")
    return argument is not None and argument.default is True


@contextmanager
def _replaced(owner: Any, name: str, wrap: Callable[[Any], Any]) -> Iterator[None]:
    """Replace a function for this thread."""
    original, here = vars(owner).get(name), threading.get_ident()
    if original is None:  # another version of Keras
        yield
        return
    ours = wrap(original)

    def chosen(*args: Any, **kwargs: Any) -> Any:
        return (ours if threading.get_ident() == here else original)(*args, **kwargs)

    setattr(owner, name, chosen)
    try:
        yield
    finally:
        setattr(owner, name, original)


def _dropout(inputs: Any, rate: float, noise_shape: Any = None, seed: Any = None) -> Any:
    """Keras' dropout through torch's, for noise of the inputs' shape or one draw for each channel of each sample.

    Other noise is no dropout of features: one draw for a sample, say, is stochastic depth.
    """
    functional, shape = sys.modules["torch.nn.functional"], tuple(inputs.shape)
    wanted = shape if noise_shape is None else tuple(noise_shape)
    noise = tuple(size if each is None else each for each, size in zip(wanted, shape, strict=True))
    if noise == shape and len(shape) < 3:
        return functional.dropout(inputs, p=rate, training=True)
    channels_last = sys.modules["keras.src.backend"].image_data_format() == "channels_last"
    axes = [len(shape) - 1, 1] if channels_last else [1, len(shape) - 1]
    name, axis = "dropout", axes[0]
    if noise != shape:
        name = f"dropout{len(shape) - 2}d"
        axis = next((each for each in axes if noise == _by_channel(shape, each)), 0)
    if axis and hasattr(functional, name):
        return getattr(functional, name)(inputs.movedim(axis, 1), p=rate, training=True).movedim(1, axis)
    keep = 1 - rate
    mask = inputs.new_empty(noise).bernoulli_(keep)
    return inputs * (mask.div_(keep) if keep else mask)


def _by_channel(shape: tuple[int, ...], axis: int) -> tuple[int, ...]:
    """The shape of noise that has one value for each channel of each sample."""
    return tuple(size if at in (0, axis) else 1 for at, size in enumerate(shape))


def _normalized(x: Any, axis: int, offset: Any = None, scale: Any = None, epsilon: float = 1e-3) -> Any:
    """A batch norm by the statistics of the batch, as one call of torch's."""
    normalize = sys.modules["torch.nn.functional"].batch_norm
    return normalize(x.movedim(axis, 1), None, None, scale, offset, training=True, eps=epsilon).movedim(1, axis)
