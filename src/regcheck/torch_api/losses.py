"""torch's losses: the layer classes of torch.nn and the functions of `F.` that reduce a prediction to a loss."""

from __future__ import annotations

LOSSES = {
    "L1Loss": "l1_loss",
    "NLLLoss": "nll_loss",
    "NLLLoss2d": "nll_loss",
    "PoissonNLLLoss": "poisson_nll_loss",
    "GaussianNLLLoss": "gaussian_nll_loss",
    "KLDivLoss": "kl_div",
    "MSELoss": "mse_loss",
    "BCELoss": "binary_cross_entropy",
    "BCEWithLogitsLoss": "binary_cross_entropy_with_logits",
    "HingeEmbeddingLoss": "hinge_embedding_loss",
    "MultiLabelMarginLoss": "multilabel_margin_loss",
    "SmoothL1Loss": "smooth_l1_loss",
    "HuberLoss": "huber_loss",
    "SoftMarginLoss": "soft_margin_loss",
    "CrossEntropyLoss": "cross_entropy",
    "LinearCrossEntropyLoss": "linear_cross_entropy",
    "MultiLabelSoftMarginLoss": "multilabel_soft_margin_loss",
    "CosineEmbeddingLoss": "cosine_embedding_loss",
    "MarginRankingLoss": "margin_ranking_loss",
    "MultiMarginLoss": "multi_margin_loss",
    "TripletMarginLoss": "triplet_margin_loss",
    "TripletMarginWithDistanceLoss": "triplet_margin_with_distance_loss",
    "CTCLoss": "ctc_loss",
    "AdaptiveLogSoftmaxWithLoss": "",
}
"""The function of torch.nn.functional that each loss layer of torch.nn calls; empty for one that calls none."""

LOSS_LAYERS = frozenset(LOSSES)
"""The classes of torch.nn that return a loss."""

LOSS_FUNCTIONS = frozenset(filter(None, LOSSES.values()))
"""The functions of torch.nn.functional that return a loss."""


EMBEDDING_LOSSES = frozenset(
    "cosine_embedding_loss hinge_embedding_loss triplet_margin_loss triplet_margin_with_distance_loss".split()
)
"""The functions of torch.nn.functional that compare features of several inputs with one another."""


def is_loss(name: str) -> bool:
    """Whether a function of torch.nn.functional, or a class of torch.nn that learns nothing, scores a prediction."""
    return name in LOSS_FUNCTIONS or bool(LOSSES.get(name))
