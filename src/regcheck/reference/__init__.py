"""The papers' formulas, written to be read beside them: masks and gradients are arguments, so nothing is random."""

from .dropout import (
    Prediction,
    alpha_dropout,
    attention_dropout,
    attention_weights,
    classic_dropout,
    classic_prediction,
    feature_alpha_dropout,
    gaussian_dropout,
    inverted_dropout,
    monte_carlo,
    spatial_dropout,
)
from .norm import Statistics, batch_norm, batch_statistics, running_statistics
from .optimizers import RULES, step
from .penalty import decoupled_decay, elastic_net, l1, l2, max_norm
from .structured import (
    drop_block,
    drop_block_rate,
    drop_connect,
    stochastic_depth,
    variational_dropout,
    variational_recurrence,
)

__all__ = [
    "RULES",
    "Prediction",
    "Statistics",
    "alpha_dropout",
    "attention_dropout",
    "attention_weights",
    "batch_norm",
    "batch_statistics",
    "classic_dropout",
    "classic_prediction",
    "decoupled_decay",
    "drop_block",
    "drop_block_rate",
    "drop_connect",
    "elastic_net",
    "feature_alpha_dropout",
    "gaussian_dropout",
    "inverted_dropout",
    "l1",
    "l2",
    "max_norm",
    "monte_carlo",
    "running_statistics",
    "spatial_dropout",
    "step",
    "stochastic_depth",
    "variational_dropout",
    "variational_recurrence",
]
