"""torch's names in the domain's terms: what each function does, and which function each layer class calls.

Names are bare (`conv2d`, `Conv2d`): the front ends resolve them to torch before they look here.
"""

from __future__ import annotations

from dataclasses import dataclass

from regcheck.core.graph import Drops, Kind

_FUNCTIONS = {
    Kind.LINEAR: "linear bilinear addmm",
    Kind.CONV: "conv1d conv2d conv3d convolution conv_transpose1d conv_transpose2d conv_transpose3d",
    Kind.EMBEDDING: "embedding embedding_bag",
    Kind.RECURRENT: "lstm gru rnn_tanh rnn_relu lstm_cell gru_cell rnn_tanh_cell rnn_relu_cell",
    Kind.ATTENTION: (
        "scaled_dot_product_attention multi_head_attention_forward flex_attention memory_efficient_attention"
        " flash_attn_func flash_attn_kvpacked_func flash_attn_qkvpacked_func flash_attn_varlen_func"
        " flash_attn_varlen_kvpacked_func flash_attn_varlen_qkvpacked_func flash_attn_with_kvcache"
        " flash_attn_unpadded_func flash_attn_unpadded_kvpacked_func flash_attn_unpadded_qkvpacked_func"
        " flash_attn::_flash_attn_forward flash_attn::_flash_attn_varlen_forward"
    ),
    Kind.BATCH_NORM: "batch_norm",
    Kind.NORM: "layer_norm group_norm instance_norm rms_norm local_response_norm normalize",
    Kind.ACTIVATION: (
        "relu relu6 gelu silu mish elu selu celu leaky_relu prelu rrelu hardtanh hardswish hardsigmoid softplus"
        " softsign tanhshrink softshrink hardshrink threshold glu tanh exp log sqrt rsqrt square abs clamp sin cos pow"
    ),
    Kind.SIGMOID: "sigmoid logsigmoid",
    Kind.SOFTMAX: "softmax log_softmax softmin",
    Kind.POOL: (
        "max_pool1d max_pool2d max_pool3d avg_pool1d avg_pool2d avg_pool3d lp_pool1d lp_pool2d adaptive_max_pool1d"
        " adaptive_max_pool2d adaptive_max_pool3d adaptive_avg_pool1d adaptive_avg_pool2d adaptive_avg_pool3d"
        " max_pool1d_with_indices max_pool2d_with_indices max_pool3d_with_indices mean amax sum"
    ),
    Kind.IDENTITY: (
        "clone detach contiguous to float half double bfloat16 type type_as cpu cuda alias requires_grad identity"
        " view_as_real as_subclass"
    ),
    Kind.RESHAPE: (
        "view reshape flatten unflatten squeeze unsqueeze permute transpose t movedim moveaxis swapaxes swapdims"
        " expand expand_as repeat repeat_interleave getitem chunk split tensor_split unbind narrow select index_select"
        " stack roll flip rearrange"
    ),
    Kind.CONCAT: "cat concat concatenate",
    Kind.COMBINE: "add sub rsub mul div truediv radd rmul rtruediv where lerp addcmul",
    Kind.MATMUL: "matmul mm bmm einsum baddbmm",
    Kind.RANDOM: (
        "rand randn randint rand_like randn_like randint_like bernoulli multinomial normal uniform random exponential"
        " geometric cauchy log_normal poisson randperm gumbel_softmax binomial"
        " standard_gamma sample_dirichlet fractional_max_pool2d fractional_max_pool3d"
        " fractional_max_pool2d_with_indices fractional_max_pool3d_with_indices"
    ),
}

KINDS = {name: kind for kind, names in _FUNCTIONS.items() for name in names.split()}
"""What each torch function does; anything absent is `Kind.OTHER`."""

SCALING = frozenset("add sub rsub mul div truediv radd rmul rtruediv".split())
"""Arithmetic that only scales or shifts when its other operand is a number."""

LEARNED = frozenset({Kind.LINEAR, Kind.CONV, Kind.EMBEDDING, Kind.RECURRENT})
"""Kinds that always hold weights."""


@dataclass(frozen=True, slots=True)
class Dropping:
    """A function that drops at a rate: what it drops, and where its rate and its switch stand among its arguments.

    `training` is the position and the name of the switch; None for functions that have none and always drop.
    `training_default` is what torch takes when the switch is not given.
    """

    drops: Drops
    rate: tuple[int, str, float | None]
    training: tuple[int, str, bool] | None


DROPPING = {
    "dropout": Dropping(Drops.ELEMENTS, (1, "p", 0.5), (2, "training", True)),
    "dropout1d": Dropping(Drops.CHANNELS, (1, "p", 0.5), (2, "training", True)),
    "dropout2d": Dropping(Drops.CHANNELS, (1, "p", 0.5), (2, "training", True)),
    "dropout3d": Dropping(Drops.CHANNELS, (1, "p", 0.5), (2, "training", True)),
    "alpha_dropout": Dropping(Drops.ELEMENTS, (1, "p", 0.5), (2, "training", False)),
    "feature_alpha_dropout": Dropping(Drops.CHANNELS, (1, "p", 0.5), (2, "training", False)),
    "feature_dropout": Dropping(Drops.CHANNELS, (1, "p", None), (2, "train", True)),
    "scaled_dot_product_attention": Dropping(Drops.ATTENTION, (4, "dropout_p", 0.0), None),
    "multi_head_attention_forward": Dropping(Drops.ATTENTION, (10, "dropout_p", None), (13, "training", True)),
    "memory_efficient_attention": Dropping(Drops.ATTENTION, (4, "p", 0.0), None),
    "flash_attn_func": Dropping(Drops.ATTENTION, (3, "dropout_p", 0.0), None),
    "flash_attn_kvpacked_func": Dropping(Drops.ATTENTION, (2, "dropout_p", 0.0), None),
    "flash_attn_qkvpacked_func": Dropping(Drops.ATTENTION, (1, "dropout_p", 0.0), None),
    "flash_attn_varlen_func": Dropping(Drops.ATTENTION, (7, "dropout_p", 0.0), None),
    "flash_attn_unpadded_func": Dropping(Drops.ATTENTION, (7, "dropout_p", None), None),
    "flash_attn_varlen_kvpacked_func": Dropping(Drops.ATTENTION, (6, "dropout_p", 0.0), None),
    "flash_attn_unpadded_kvpacked_func": Dropping(Drops.ATTENTION, (6, "dropout_p", None), None),
    "flash_attn_varlen_qkvpacked_func": Dropping(Drops.ATTENTION, (3, "dropout_p", 0.0), None),
    "flash_attn_unpadded_qkvpacked_func": Dropping(Drops.ATTENTION, (3, "dropout_p", None), None),
    "flash_attn::_flash_attn_forward": Dropping(Drops.ATTENTION, (3, "dropout_p", None), None),
    "flash_attn::_flash_attn_varlen_forward": Dropping(Drops.ATTENTION, (7, "dropout_p", None), None),
}

_FLASH = frozenset(name for name in KINDS if name.startswith("flash_attn_"))
_XFORMERS = frozenset({"memory_efficient_attention"})
FOREIGN = {
    "flash_attn": _FLASH,
    "flash_attn.flash_attn_interface": _FLASH,
    "xformers.ops": _XFORMERS,
    "xformers.ops.fmha": _XFORMERS,
    "torch.nn.attention.flex_attention": frozenset({"flex_attention"}),
}
"""The functions that are known by name though other packages, or corners of torch, hold them: by package."""

STACKED = frozenset("lstm gru rnn_tanh rnn_relu".split())
"""Recurrent functions that stack layers and drop what goes from one to the next."""

STATISTICS = frozenset("mean var std var_mean std_mean".split())
"""Reductions to the statistics that a normalization uses."""

_FILLING = frozenset("uniform random exponential geometric cauchy log_normal".split())
_FUNCTIONAL = {
    *(name for name, how in DROPPING.items() if how.training is not None and name != "feature_dropout"),
    *(name for name in KINDS if name.startswith(("gumbel", "fractional"))),
}

_LAYERS = {
    "linear": "Linear LazyLinear",
    "bilinear": "Bilinear",
    "conv1d": "Conv1d LazyConv1d",
    "conv2d": "Conv2d LazyConv2d",
    "conv3d": "Conv3d LazyConv3d",
    "conv_transpose1d": "ConvTranspose1d",
    "conv_transpose2d": "ConvTranspose2d",
    "conv_transpose3d": "ConvTranspose3d",
    "embedding": "Embedding",
    "embedding_bag": "EmbeddingBag",
    "lstm": "LSTM",
    "gru": "GRU",
    "rnn_tanh": "RNN",
    "lstm_cell": "LSTMCell",
    "gru_cell": "GRUCell",
    "multi_head_attention_forward": "MultiheadAttention",
    "batch_norm": "BatchNorm1d BatchNorm2d BatchNorm3d SyncBatchNorm LazyBatchNorm1d LazyBatchNorm2d LazyBatchNorm3d",
    "instance_norm": "InstanceNorm1d InstanceNorm2d InstanceNorm3d",
    "layer_norm": "LayerNorm",
    "rms_norm": "RMSNorm",
    "group_norm": "GroupNorm",
    "dropout": "Dropout",
    "dropout1d": "Dropout1d",
    "dropout2d": "Dropout2d",
    "dropout3d": "Dropout3d",
    "alpha_dropout": "AlphaDropout",
    "feature_alpha_dropout": "FeatureAlphaDropout",
    "fractional_max_pool2d": "FractionalMaxPool2d",
    "fractional_max_pool3d": "FractionalMaxPool3d",
    "relu": "ReLU",
    "relu6": "ReLU6",
    "gelu": "GELU",
    "silu": "SiLU",
    "mish": "Mish",
    "elu": "ELU",
    "selu": "SELU",
    "celu": "CELU",
    "leaky_relu": "LeakyReLU",
    "prelu": "PReLU",
    "hardtanh": "Hardtanh",
    "hardswish": "Hardswish",
    "hardsigmoid": "Hardsigmoid",
    "softplus": "Softplus",
    "softsign": "Softsign",
    "tanh": "Tanh",
    "sigmoid": "Sigmoid",
    "logsigmoid": "LogSigmoid",
    "softmax": "Softmax Softmax2d",
    "log_softmax": "LogSoftmax",
    "max_pool1d": "MaxPool1d",
    "max_pool2d": "MaxPool2d",
    "max_pool3d": "MaxPool3d",
    "avg_pool1d": "AvgPool1d",
    "avg_pool2d": "AvgPool2d",
    "avg_pool3d": "AvgPool3d",
    "adaptive_avg_pool1d": "AdaptiveAvgPool1d",
    "adaptive_avg_pool2d": "AdaptiveAvgPool2d",
    "adaptive_avg_pool3d": "AdaptiveAvgPool3d",
    "adaptive_max_pool1d": "AdaptiveMaxPool1d",
    "adaptive_max_pool2d": "AdaptiveMaxPool2d",
    "adaptive_max_pool3d": "AdaptiveMaxPool3d",
    "flatten": "Flatten",
    "unflatten": "Unflatten",
    "identity": "Identity",
}

LAYERS = {layer: function for function, layers in _LAYERS.items() for layer in layers.split()}
"""The function that each torch.nn layer class calls."""

COUPLED = frozenset("Adam NAdam RAdam Adamax Adagrad RMSprop Adadelta".split())
"""torch.optim classes that fold `weight_decay` into the gradient and then divide it by their scale estimate."""


def kind_of(function: str, scalar: bool = False) -> Kind:
    """What a function does; `scalar` says that arithmetic has only one tensor operand."""
    if scalar and function in SCALING:
        return Kind.SCALE
    if function in ("dropout", "alpha_dropout") or function.startswith(("dropout", "feature_")):
        return Kind.DROPOUT
    return KINDS.get(function, Kind.OTHER)


def call_text(function: str, layer: str = "", rate: float | None = None) -> str:
    """The call as messages show it: `nn.Dropout(p=0.5)`, `F.dropout(p=0.5)`, `torch.rand_like`."""
    if layer:
        name = f"nn.{layer}"
    elif function in _FUNCTIONAL:
        name = f"F.{function}"
    elif function in _FILLING:
        name = f"Tensor.{function}_"
    elif KINDS.get(function) is Kind.RANDOM:
        name = f"torch.{function}"
    else:
        name = function
    if rate is None or not (function in DROPPING or function in STACKED):
        return name
    named = layer == "MultiheadAttention" or function in STACKED
    argument = "dropout" if named else DROPPING[function].rate[1]
    return f"{name}({argument}={rate:g})"
