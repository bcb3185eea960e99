"""torch's functions: what each does, and where the arguments that matter stand, for `F.` and for `aten`.

Names are bare (`conv2d` for `F.conv2d` and `torch.conv2d`): the front ends resolve them to torch before they look here.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping

from regcheck.core.graph import Drops, Kind
from regcheck.lazy_dataclass import dataclass

from .arguments import Argument, signature

_STACKED = "lstm gru rnn_tanh rnn_relu"
_CELLS = "lstm_cell gru_cell rnn_tanh_cell rnn_relu_cell"
_FUNCTIONS = {
    Kind.LINEAR: "linear bilinear addmm",
    Kind.CONV: "conv1d conv2d conv3d convolution conv_transpose1d conv_transpose2d conv_transpose3d",
    Kind.EMBEDDING: "embedding embedding_bag",
    Kind.RECURRENT: f"{_STACKED} {_CELLS}",
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
        "max_pool1d max_pool2d max_pool3d avg_pool1d avg_pool2d avg_pool3d lp_pool1d lp_pool2d lp_pool3d"
        " adaptive_max_pool1d adaptive_max_pool2d adaptive_max_pool3d"
        " adaptive_avg_pool1d adaptive_avg_pool2d adaptive_avg_pool3d"
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


BATCH_NORM_TRAINING = signature("input running_mean running_var weight=None bias=None training=False")["training"]
"""The argument that makes `F.batch_norm` take the statistics of its batch; in aten it stands in the same place."""


@dataclass(frozen=True, slots=True)
class Dropping:
    """A function that drops.

    Attributes:
        drops: what it drops as one unit.
        rate: the argument that holds the probability to drop.
        training: the argument that switches it on, as `F.` names it; None for a function without one, which always
            drops.
        train: the same argument as `aten` names it; None for a function that aten does not have.
    """

    drops: Drops
    rate: Argument
    training: Argument | None
    train: Argument | None

    def switch(self, keywords: Collection[str]) -> Argument | None:
        """The switch under the name that a call with these keywords gives it; None without one."""
        return self.train if self.train is not None and self.train.name in keywords else self.training


def _dropping(drops: Drops, arguments: str, aten: str = "") -> Dropping:
    python = signature(arguments)
    rate = python.get("dropout_p", python.get("p"))
    assert rate is not None
    train = signature(aten).get("train")
    return Dropping(drops, rate, python.get("training", train), train)


_ATEN = "input p train"
_TRAINED = "input p=0.5 training=True"
_UNTRAINED = "input p=0.5 training=False"
_HEADS = (
    "query key value embed_dim_to_check num_heads in_proj_weight in_proj_bias bias_k bias_v add_zero_attn dropout_p"
    " out_proj_weight out_proj_bias training=True"
)
_VARLEN = "cu_seqlens_q cu_seqlens_k max_seqlen_q max_seqlen_k"

IN_PLACE = signature("input p=0.5 training=True inplace=False")["inplace"]
"""The argument by which a dropout function changes its input, and its result need not be read."""

DROPPING: Mapping[str, Dropping] = {
    "dropout": _dropping(Drops.ELEMENTS, _TRAINED, _ATEN),
    "dropout1d": _dropping(Drops.CHANNELS, _TRAINED),
    "dropout2d": _dropping(Drops.CHANNELS, _TRAINED),
    "dropout3d": _dropping(Drops.CHANNELS, _TRAINED),
    "alpha_dropout": _dropping(Drops.ELEMENTS, _UNTRAINED, _ATEN),
    "feature_alpha_dropout": _dropping(Drops.CHANNELS, _UNTRAINED, _ATEN),
    "feature_dropout": _dropping(Drops.CHANNELS, _ATEN, _ATEN),
    "scaled_dot_product_attention": _dropping(Drops.ATTENTION, "query key value attn_mask=None dropout_p=0.0"),
    "multi_head_attention_forward": _dropping(Drops.ATTENTION, _HEADS),
    "memory_efficient_attention": _dropping(Drops.ATTENTION, "query key value attn_bias=None p=0.0"),
    "flash_attn_func": _dropping(Drops.ATTENTION, "q k v dropout_p=0.0"),
    "flash_attn_kvpacked_func": _dropping(Drops.ATTENTION, "q kv dropout_p=0.0"),
    "flash_attn_qkvpacked_func": _dropping(Drops.ATTENTION, "qkv dropout_p=0.0"),
    "flash_attn_varlen_func": _dropping(Drops.ATTENTION, f"q k v {_VARLEN} dropout_p=0.0"),
    "flash_attn_unpadded_func": _dropping(Drops.ATTENTION, f"q k v {_VARLEN} dropout_p"),
    "flash_attn_varlen_kvpacked_func": _dropping(Drops.ATTENTION, f"q kv {_VARLEN} dropout_p=0.0"),
    "flash_attn_unpadded_kvpacked_func": _dropping(Drops.ATTENTION, f"q kv {_VARLEN} dropout_p"),
    "flash_attn_varlen_qkvpacked_func": _dropping(Drops.ATTENTION, "qkv cu_seqlens max_seqlen dropout_p=0.0"),
    "flash_attn_unpadded_qkvpacked_func": _dropping(Drops.ATTENTION, "qkv cu_seqlens max_seqlen dropout_p"),
    "flash_attn::_flash_attn_forward": _dropping(Drops.ATTENTION, "q k v dropout_p"),
    "flash_attn::_flash_attn_varlen_forward": _dropping(Drops.ATTENTION, f"q k v {_VARLEN} dropout_p"),
}
"""The functions that drop at a rate. Names with `::` are operators of other packages."""

_FLASH = frozenset(name for name in KINDS if name.startswith("flash_attn_"))
_XFORMERS = frozenset({"memory_efficient_attention"})
FOREIGN = {
    "flash_attn": _FLASH,
    "flash_attn.flash_attn_interface": _FLASH,
    "xformers.ops": _XFORMERS,
    "xformers.ops.fmha": _XFORMERS,
    "torch.nn.attention.flex_attention": frozenset({"flex_attention"}),
}
"""Functions that are recognized by name outside `torch` and `torch.nn.functional`, by package."""

STACKED = frozenset(_STACKED.split())
"""Recurrent functions that stack layers, and drop between them."""

STACKED_ATEN = signature("input hx params has_biases num_layers dropout train")
STACKED_ATEN_PACKED = signature("data batch_sizes hx params has_biases num_layers dropout train")
"""The arguments of the stacked recurrent functions, for padded and for packed sequences; only aten has them."""

CELLS = frozenset(_CELLS.split())
"""Recurrent functions that take one step."""

DROPOUTS = frozenset(name for name, how in DROPPING.items() if how.drops is not Drops.ATTENTION)
"""The functions that do nothing but drop."""

BRANCH = "branch"
"""The op of a condition in source that a random draw decides; nothing reads its result."""

DRAWING = frozenset(name + suffix for name, kind in KINDS.items() if kind is Kind.RANDOM for suffix in ("", "_"))
"""The functions that draw random numbers, with their in-place forms."""

PARTS = frozenset("getitem chunk split tensor_split unbind narrow select index_select gather take".split())
"""Functions that return a part of a tensor."""

INDEXING = frozenset("index_select scatter scatter_add scatter_reduce index_add index_reduce".split())
"""Functions that read or write the rows that another tensor names."""

STATISTICS = frozenset("mean var std var_mean std_mean".split())
"""Reductions to the statistics that a normalization uses."""

SPREADS = STATISTICS - {"mean"}
"""Those that say how far values are apart."""

REDUCTIONS = frozenset(
    "mean sum amax max logsumexp adaptive_avg_pool1d adaptive_avg_pool2d adaptive_avg_pool3d adaptive_max_pool1d"
    " adaptive_max_pool2d adaptive_max_pool3d".split()
)
"""Functions that reduce whole axes to one value, or a map to a few."""

RESAMPLING = frozenset("interpolate upsample".split())
"""Functions that change the size of a map, and mix no channels."""

COMPARISONS = frozenset(
    "lt le gt ge eq ne less less_equal greater greater_equal not_equal isnan isfinite logical_not logical_and"
    " logical_or invert".split()
)
"""Functions whose result is true or false."""

CHOICES = frozenset("argmax argmin topk sort argsort".split())
"""Functions whose result tells which values are the largest; no gradient passes through the places."""

_FILLING = frozenset("uniform random exponential geometric cauchy log_normal".split())
_FUNCTIONAL = {
    *(name for name, how in DROPPING.items() if how.training is not None and name != "feature_dropout"),
    *(name for name in KINDS if name.startswith(("gumbel", "fractional"))),
}

MASKING = frozenset(
    "rand rand_like uniform bernoulli randint randint_like randperm full full_like new_full empty empty_like new_empty"
    " zeros zeros_like new_zeros ones ones_like new_ones lt le gt ge less less_equal greater greater_equal eq ne floor"
    " ceil round add radd sub rsub mul div invert logical_not bitwise_not where masked_fill setitem index_fill"
    " index_put mean sum".split()
)
"""The functions that masks are drawn, made, applied and summed up with; ops hold their operands."""

COIN_TOSSES = {
    "Bernoulli": signature("probs=None logits=None")["probs"],
    "Binomial": signature("total_count=1 probs=None logits=None")["probs"],
}
"""Distributions of zeros and ones, with the argument that holds the probability of a one."""

FORMING = frozenset("type_as expand_as view_as reshape_as to".split())
"""Functions that take no values from their second argument, but its type or shape."""

NOT_OPERANDS = frozenset("device dtype layout requires_grad pin_memory generator memory_format out".split())
"""Keyword arguments that say nothing about the values of a result."""

NOT_ZERO_AT_ZERO = frozenset("sigmoid logsigmoid hardsigmoid softplus exp cos".split())
"""Activations that do not map zero to zero."""

FACTORIES = frozenset(
    "zeros ones full empty arange linspace logspace eye tensor as_tensor from_numpy zeros_like ones_like full_like"
    " empty_like new new_zeros new_ones new_full new_empty new_tensor tril_indices triu_indices empty_strided".split()
)
"""Functions and methods that make a tensor without a random draw."""

CONVERSIONS: Mapping[str, Argument] = {
    **dict.fromkeys(("tensor", "as_tensor", "array", "asarray"), signature("data")["data"]),
    "from_numpy": signature("ndarray")["ndarray"],
    "new_tensor": signature("self data")["data"],
    "full": signature("size fill_value")["fill_value"],
    "full_like": signature("input fill_value")["fill_value"],
    "new_full": signature("self size fill_value")["fill_value"],
}
"""The functions and methods whose result holds the values of an argument, with that argument; some are NumPy's."""

METADATA = frozenset(
    "size dim numel stride ndimension nelement element_size get_device is_contiguous is_floating_point storage_offset"
    " shape device dtype ndim is_cuda requires_grad grad_fn grad layout names is_leaf is_nested is_sparse itemsize"
    " nbytes data_ptr register_hook retain_grad is_complex is_pinned".split()
)
"""Attributes and methods of a tensor that do not depend on its values."""

EAGER_ONLY = frozenset(
    "torch.jit.is_scripting torch.jit.is_tracing torch.onnx.is_in_onnx_export torch._C._get_tracing_state"
    " torch.compiler.is_compiling torch._dynamo.is_compiling torch.overrides.has_torch_function"
    " torch.overrides.has_torch_function_unary torch.overrides.has_torch_function_variadic".split()
)
"""Functions that return False when a model runs eagerly."""

SOURCE_ALIASES = {"T": "t", "mT": "t", "H": "t", "mH": "t", "data": "detach", "real": "detach"}
SOURCE_ALIASES |= {"subtract": "sub", "multiply": "mul", "values": "getitem", "astype": "to"}
"""Attributes and methods in source code that stand for another function."""

CALL_ALIASES = {"iadd": "add", "isub": "sub", "imul": "mul", "itruediv": "div", "truediv": "div", "T": "t", "mT": "t"}
CALL_ALIASES |= {"native_dropout": "dropout", "fused_dropout": "dropout", "H": "t", "mH": "t"}
CALL_ALIASES |= {"log_sigmoid": "logsigmoid"}
CALL_ALIASES |= dict.fromkeys(
    "native_batch_norm native_batch_norm_legit native_batch_norm_legit_functional native_batch_norm_legit_no_training"
    " batch_norm_with_update batch_norm_with_update_functional cudnn_batch_norm miopen_batch_norm".split(),
    "batch_norm",
)
"""Operators and attributes in a running program that stand for another function, without underscores at their ends."""


def kind_of(function: str, scalar: bool = False) -> Kind:
    """What a function does; `scalar` says that arithmetic has only one tensor operand."""
    if scalar and function in SCALING:
        return Kind.SCALE
    return Kind.DROPOUT if function in DROPOUTS else KINDS.get(function, Kind.OTHER)


def call_text(function: str, layer: str = "", rate: float | None = None) -> str:
    """The call as messages show it: `nn.Dropout(p=0.5)`, `F.dropout(p=0.5)`, `torch.rand_like`."""
    if layer:
        name = layer if layer.startswith("keras.") else f"nn.{layer}"
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
    argument = "dropout" if named else "rate" if layer.startswith("keras.") else DROPPING[function].rate.name
    return f"{name}({argument}={rate:g})"
