"""torch's optimizers: where each takes its weight decay, and whether it folds the decay into the gradient."""

from __future__ import annotations

from collections.abc import Mapping

from regcheck.lazy_dataclass import dataclass

from .arguments import Argument, signature


@dataclass(frozen=True, slots=True)
class Optimizer:
    """A class of torch.optim.

    Attributes:
        arguments: the parameters of its constructor by name, up to the last one that is asked for.
        adaptive: whether the sizes of its steps do not follow the sizes of the gradients.
        couples: whether it adds the weight decay to the gradient, unless `flag` says otherwise.
        decoupled_class: the class with the same update that decays the weights beside the step.
        update: the class whose update it follows but for the decay; empty for one with an update of its own.
    """

    arguments: Mapping[str, Argument]
    adaptive: bool = False
    couples: bool = True
    decoupled_class: str = ""
    update: str = ""

    @property
    def decay(self) -> Argument | None:
        """The argument that holds the weight decay."""
        return self.arguments.get(DECAY)

    @property
    def flag(self) -> Argument | None:
        """The argument that decouples the decay from the gradient."""
        return self.arguments.get(FLAG)


DECAY, FLAG = "weight_decay", "decoupled_weight_decay"
_ADAM = "params lr=0.001 betas=(0.9,0.999) eps=1e-08"

OPTIMIZERS: Mapping[str, Optimizer] = {
    "SGD": Optimizer(signature("params lr=0.001 momentum=0 dampening=0 weight_decay=0")),
    "ASGD": Optimizer(signature("params lr=0.01 lambd=0.0001 alpha=0.75 t0=1000000.0 weight_decay=0")),
    "Adam": Optimizer(
        signature(f"{_ADAM} weight_decay=0 amsgrad=False * decoupled_weight_decay=False"),
        adaptive=True,
        decoupled_class="AdamW",
    ),
    "AdamW": Optimizer(signature(f"{_ADAM} weight_decay=0.01"), adaptive=True, couples=False, update="Adam"),
    "NAdam": Optimizer(
        signature(
            "params lr=0.002 betas=(0.9,0.999) eps=1e-08 weight_decay=0 momentum_decay=0.004"
            " decoupled_weight_decay=False"
        ),
        adaptive=True,
    ),
    "RAdam": Optimizer(signature(f"{_ADAM} weight_decay=0 decoupled_weight_decay=False"), adaptive=True),
    "Adamax": Optimizer(signature("params lr=0.002 betas=(0.9,0.999) eps=1e-08 weight_decay=0"), adaptive=True),
    "Adagrad": Optimizer(signature("params lr=0.01 lr_decay=0 weight_decay=0"), adaptive=True),
    "RMSprop": Optimizer(signature("params lr=0.01 alpha=0.99 eps=1e-08 weight_decay=0"), adaptive=True),
    "Adadelta": Optimizer(signature("params lr=1.0 rho=0.9 eps=1e-06 weight_decay=0"), adaptive=True),
    "Adafactor": Optimizer(
        signature("params lr=0.01 beta2_decay=-0.8 eps=(None,0.001) d=1.0 weight_decay=0.0"),
        adaptive=True,
        couples=False,
    ),
    "Muon": Optimizer(signature("params lr=0.001 weight_decay=0.1"), adaptive=True, couples=False),
    "SparseAdam": Optimizer(signature("params"), adaptive=True),
    "Rprop": Optimizer(signature("params"), adaptive=True),
    "LBFGS": Optimizer(signature("params")),
}
"""The classes of torch.optim, by name."""

COUPLED = frozenset(name for name, each in OPTIMIZERS.items() if each.adaptive and each.couples and each.decay)
"""The adaptive optimizers that decay each parameter by a different amount unless their flag is set."""

_OTHER_NAMES = ("decay", "wd", "l2", "l2_decay", "l2_reg", "lambda", "lam")
"""The names under which optimizers of other authors keep their weight decay."""


def decay_key(group: Mapping[str, object]) -> str:
    """The key of a parameter group's weight decay; only a measurement shows that a number under another name is one."""
    others = (name for name in _OTHER_NAMES if isinstance(group.get(name), (int, float)))
    return DECAY if DECAY in group else next(others, DECAY)


UNLISTED = Optimizer(signature("params"))
"""Stands for a class that the table does not list."""
