"""The layer classes of torch and Keras: which function each calls, whether it holds weights, when its mode matters.

A layer's settings are its constructor's arguments. A caller passes a function that looks one up by name: for a live
layer it reads an attribute, for a layer in source code an argument of the call.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import field
from typing import Any

from regcheck.core.graph import Kind
from regcheck.lazy_dataclass import dataclass

from .arguments import Argument, signature
from .functions import LEARNED, kind_of

DROPOUT, BATCH_NORM, INSTANCE_NORM = "dropout", "batch norm", "instance norm"
RANDOM_SLOPE, STOCHASTIC_DEPTH, NOISE = "randomized ReLU", "stochastic depth", "random noise"

UNKNOWN = object()
"""The value of a setting that cannot be determined."""

Settings = Callable[[str], Any]
"""Looks up a setting of a layer by its name; returns `UNKNOWN` where its value cannot be determined."""

CONTAINERS = frozenset(("Sequential", "ModuleList", "ModuleDict"))
"""torch.nn classes that only hold other modules."""


@dataclass(frozen=True, slots=True)
class Layer:
    """A layer class.

    Attributes:
        function: the function that it calls; empty for a layer composed of others.
        arguments: the parameters of its constructor by name, up to the last one that is asked for.
        learned: whether it holds weights; the scale and shift of a norm do not count.
        by_mode: the kind of layer, as messages name it, whose result depends on the mode under some settings.
        composed: whether it runs several layers one after the other, each of which is examined on its own when live.
        copies: the argument that holds a layer which it is composed of copies of.
    """

    function: str = ""
    arguments: Mapping[str, Argument] = field(default_factory=dict)
    learned: bool = False
    by_mode: str = ""
    composed: bool = False
    copies: str = ""

    @property
    def kind(self) -> Kind:
        """What its function does; `Kind.OPAQUE` without one."""
        return kind_of(self.function) if self.function else Kind.OPAQUE

    @property
    def is_norm(self) -> bool:
        """Whether its parameters are the scale and the shift of a normalization."""
        return self.kind in (Kind.BATCH_NORM, Kind.NORM)

    @property
    def rate(self) -> Argument | None:
        """The argument that holds the probability to drop."""
        return next(iter(self.rates), None)

    @property
    def rates(self) -> tuple[Argument, ...]:
        """The arguments that hold probabilities to drop: Keras' recurrent layers have two."""
        if self.by_mode not in (DROPOUT, STOCHASTIC_DEPTH):
            return ()
        names = ("p", "rate", "dropout", "drop_prob", "recurrent_dropout")
        return tuple(self.arguments[name] for name in names if name in self.arguments)

    @property
    def depth(self) -> Argument | None:
        """The argument that holds how many recurrent layers are stacked; dropout acts between them only."""
        return self.arguments.get("num_layers")

    @property
    def tracks(self) -> Argument | None:
        """The argument that says whether a norm keeps running statistics for eval mode, or trains, as Keras' do."""
        return self.arguments.get("track_running_stats", self.arguments.get("trainable"))

    @property
    def scale(self) -> Argument | None:
        """The argument that says whether a norm has a scale, and with it a shift unless `bias` is false."""
        return self.arguments.get("elementwise_affine", self.arguments.get("affine"))

    def mode_dependence(self, setting: Settings) -> str:
        """Return `by_mode` if the result depends on the mode under these settings, and an empty string if not.

        A drop rate or a depth that is unknown makes no dependence; any other unknown setting counts as its default.
        """
        if self.tracks is not None:
            depends = self._value(self.tracks, setting) is True
        elif self.by_mode == RANDOM_SLOPE:
            depends = self._value(self.arguments["lower"], setting) != self._value(self.arguments["upper"], setting)
        else:
            depends = any(_exceeds(setting(each.name), 0) for each in self.rates)
            depends = depends and (self.depth is None or _exceeds(setting(self.depth.name), 1))
        return self.by_mode if depends else ""

    def updates_statistics(self, setting: Settings) -> bool:
        """Whether a norm in train mode moves running statistics by a share of each batch under these settings.

        Without a momentum it averages all batches alike, which is how programs recalibrate.
        """
        momentum = self.arguments.get("momentum")
        tracks = self.tracks is not None and self._value(self.tracks, setting) is True
        return tracks and momentum is not None and bool(self._value(momentum, setting))

    @staticmethod
    def _value(argument: Argument, setting: Settings) -> Any:
        value = setting(argument.name)
        return argument.default if value is UNKNOWN else value


def _exceeds(value: Any, bound: int) -> bool:
    try:
        return bool(value > bound)
    except Exception:  # no number
        return False


def _rows(
    names: str,
    functions: str = "",
    arguments: str = "",
    *,
    by_mode: str = "",
    learned: bool = False,
    composed: bool = False,
    copies: str = "",
) -> dict[str, Layer]:
    """Rows for layer classes of one signature that call one function, or each its own, in the same order."""
    layers, called = names.split(), functions.split() or [""]
    called *= len(layers) // len(called)
    return {
        layer: Layer(
            function,
            signature(arguments),
            learned or (bool(function) and kind_of(function) in (*LEARNED, Kind.ATTENTION)),
            by_mode,
            composed,
            copies,
        )
        for layer, function in zip(layers, called, strict=True)
    }


_CONV = "kernel_size stride=1 padding=0 dilation=1 groups=1 bias=True"
_TRANSPOSED = "kernel_size stride=1 padding=0 output_padding=0 groups=1 bias=True"
_STATISTICS = "eps=1e-05 momentum=0.1 affine=True track_running_stats=True * bias=True"
_NO_STATISTICS = "eps=1e-05 momentum=0.1 affine=False track_running_stats=False * bias=True"
_BLOCK = "d_model nhead dim_feedforward=2048 dropout=0.1"

_LEARNED: Mapping[str, Layer] = {
    **_rows("Linear", "linear", "in_features out_features bias=True"),
    **_rows("LazyLinear", "linear", "out_features bias=True"),
    **_rows("Bilinear", "bilinear", "in1_features in2_features out_features bias=True"),
    **_rows("Conv1d Conv2d Conv3d", "conv1d conv2d conv3d", f"in_channels out_channels {_CONV}"),
    **_rows("LazyConv1d LazyConv2d LazyConv3d", "conv1d conv2d conv3d", f"out_channels {_CONV}"),
    **_rows(
        "ConvTranspose1d ConvTranspose2d ConvTranspose3d",
        "conv_transpose1d conv_transpose2d conv_transpose3d",
        f"in_channels out_channels {_TRANSPOSED}",
    ),
    **_rows(
        "LazyConvTranspose1d LazyConvTranspose2d LazyConvTranspose3d",
        "conv_transpose1d conv_transpose2d conv_transpose3d",
        f"out_channels {_TRANSPOSED}",
    ),
    **_rows("_ConvNd", learned=True),
    **_rows("Embedding EmbeddingBag", "embedding embedding_bag", "num_embeddings embedding_dim"),
    **_rows(
        "LSTM GRU",
        "lstm gru",
        "input_size hidden_size num_layers=1 bias=True batch_first=False dropout=0.0",
        by_mode=DROPOUT,
    ),
    **_rows(
        "RNN",
        "rnn_tanh",
        "input_size hidden_size num_layers=1 nonlinearity='tanh' bias=True batch_first=False dropout=0.0",
        by_mode=DROPOUT,
    ),
    **_rows(
        "RNNBase",
        arguments="mode input_size hidden_size num_layers=1 bias=True batch_first=False dropout=0.0",
        by_mode=DROPOUT,
        learned=True,
    ),
    **_rows("LSTMCell GRUCell RNNCell", "lstm_cell gru_cell rnn_tanh_cell", "input_size hidden_size bias=True"),
    **_rows("RNNCellBase", learned=True),
    **_rows(
        "MultiheadAttention",
        "multi_head_attention_forward",
        "embed_dim num_heads dropout=0.0 bias=True",
        by_mode=DROPOUT,
    ),
    **_rows("TransformerEncoderLayer TransformerDecoderLayer", "", _BLOCK, by_mode=DROPOUT, learned=True),
    **_rows("TransformerEncoder", "", "encoder_layer num_layers", learned=True, composed=True, copies="encoder_layer"),
    **_rows("TransformerDecoder", "", "decoder_layer num_layers", learned=True, composed=True, copies="decoder_layer"),
    **_rows(
        "Transformer",
        "",
        "d_model=512 nhead=8 num_encoder_layers=6 num_decoder_layers=6 dim_feedforward=2048 dropout=0.1",
        by_mode=DROPOUT,
        learned=True,
        composed=True,
    ),
}

_NORMS: Mapping[str, Layer] = {
    **_rows(
        "BatchNorm1d BatchNorm2d BatchNorm3d SyncBatchNorm _BatchNorm _NormBase",
        "batch_norm",
        f"num_features {_STATISTICS}",
        by_mode=BATCH_NORM,
    ),
    **_rows("LazyBatchNorm1d LazyBatchNorm2d LazyBatchNorm3d", "batch_norm", _STATISTICS, by_mode=BATCH_NORM),
    **_rows(
        "InstanceNorm1d InstanceNorm2d InstanceNorm3d _InstanceNorm",
        "instance_norm",
        f"num_features {_NO_STATISTICS}",
        by_mode=INSTANCE_NORM,
    ),
    **_rows(
        "LazyInstanceNorm1d LazyInstanceNorm2d LazyInstanceNorm3d", "instance_norm", _STATISTICS, by_mode=INSTANCE_NORM
    ),
    **_rows("LayerNorm", "layer_norm", "normalized_shape eps=1e-05 elementwise_affine=True bias=True"),
    **_rows("RMSNorm", "rms_norm", "normalized_shape eps=None elementwise_affine=True"),
    **_rows("GroupNorm", "group_norm", "num_groups num_channels eps=1e-05 affine=True * bias=True"),
    **_rows("LocalResponseNorm", "local_response_norm"),
}

_DROPPING: Mapping[str, Layer] = {
    **_rows(
        "Dropout Dropout1d Dropout2d Dropout3d AlphaDropout FeatureAlphaDropout",
        "dropout dropout1d dropout2d dropout3d alpha_dropout feature_alpha_dropout",
        "p=0.5 inplace=False",
        by_mode=DROPOUT,
    ),
    **_rows("_DropoutNd", "", "p=0.5 inplace=False", by_mode=DROPOUT),
}

_PLAIN: Mapping[str, Layer] = {
    **_rows("RReLU", "rrelu", f"lower={1 / 8!r} upper={1 / 3!r} inplace=False", by_mode=RANDOM_SLOPE),
    **_rows("ReLU ReLU6 LeakyReLU PReLU", "relu hardtanh leaky_relu prelu"),
    **_rows("ELU SELU CELU GELU SiLU Mish GLU", "elu selu celu gelu silu mish glu"),
    **_rows("Hardtanh Hardswish Hardsigmoid Hardshrink", "hardtanh hardswish hardsigmoid hardshrink"),
    **_rows("Softplus Softsign Softshrink Tanhshrink", "softplus softsign softshrink tanhshrink"),
    **_rows("Tanh Sigmoid LogSigmoid Threshold", "tanh sigmoid logsigmoid threshold"),
    **_rows("Softmax Softmax2d LogSoftmax Softmin", "softmax softmax log_softmax softmin"),
    **_rows(
        "FractionalMaxPool2d FractionalMaxPool3d",
        "fractional_max_pool2d fractional_max_pool3d",
        "kernel_size output_size=None output_ratio=None",
    ),
    **_rows("MaxPool1d MaxPool2d MaxPool3d", "max_pool1d max_pool2d max_pool3d", "kernel_size"),
    **_rows("AvgPool1d AvgPool2d AvgPool3d", "avg_pool1d avg_pool2d avg_pool3d", "kernel_size"),
    **_rows("LPPool1d LPPool2d LPPool3d", "lp_pool1d lp_pool2d lp_pool3d", "norm_type kernel_size"),
    **_rows(
        "AdaptiveMaxPool1d AdaptiveMaxPool2d AdaptiveMaxPool3d",
        "adaptive_max_pool1d adaptive_max_pool2d adaptive_max_pool3d",
        "output_size",
    ),
    **_rows(
        "AdaptiveAvgPool1d AdaptiveAvgPool2d AdaptiveAvgPool3d",
        "adaptive_avg_pool1d adaptive_avg_pool2d adaptive_avg_pool3d",
        "output_size",
    ),
    **_rows("Flatten", "flatten", "start_dim=1 end_dim=-1"),
    **_rows("Unflatten Identity", "unflatten identity"),
    **_rows("Upsample UpsamplingNearest2d UpsamplingBilinear2d", "interpolate interpolate interpolate"),
    **_rows("PixelShuffle PixelUnshuffle ChannelShuffle", "pixel_shuffle pixel_unshuffle channel_shuffle"),
    **_rows("MaxUnpool1d MaxUnpool2d MaxUnpool3d", "max_unpool1d max_unpool2d max_unpool3d"),
    **_rows("ConstantPad1d ConstantPad2d ConstantPad3d ZeroPad1d ZeroPad2d ZeroPad3d", "pad pad pad pad pad pad"),
    **_rows("ReflectionPad1d ReflectionPad2d ReflectionPad3d", "pad pad pad"),
    **_rows("ReplicationPad1d ReplicationPad2d ReplicationPad3d", "pad pad pad"),
    **_rows("CircularPad1d CircularPad2d CircularPad3d", "pad pad pad"),
}

LAYERS: Mapping[str, Layer] = {**_LEARNED, **_NORMS, **_DROPPING, **_PLAIN}
"""The layer classes of torch.nn, and the private classes that others derive from, by name."""

FOREIGN_LAYERS: Mapping[str, Layer] = {
    **_rows("DropPath", "", "drop_prob=0.0", by_mode=STOCHASTIC_DEPTH),
    **_rows("StochasticDepth", "", "p mode", by_mode=STOCHASTIC_DEPTH),
}
"""Layer classes that many packages define alike, by name."""

_KERAS_CONV = "filters kernel_size strides=1 padding='valid' data_format=None"
_KERAS_TRANSPOSED = "filters kernel_size strides=1 padding='valid' output_padding=None data_format=None"
_KERAS_RECURRENT = "units * activation='tanh' dropout=0.0 recurrent_dropout=0.0"


def _keras_rows(names: str, *specification: Any, **more: Any) -> dict[str, Layer]:
    return {f"keras.layers.{name}": row for name, row in _rows(names, *specification, **more).items()}


KERAS_LAYERS: Mapping[str, Layer] = {
    **_keras_rows("Dense EinsumDense", "linear einsum", "units activation=None"),
    **_keras_rows("Embedding", "embedding", "input_dim output_dim"),
    **_keras_rows("Conv1D Conv2D Conv3D", "conv1d conv2d conv3d", _KERAS_CONV),
    **_keras_rows("DepthwiseConv1D DepthwiseConv2D", "conv1d conv2d", "kernel_size strides=1", learned=True),
    **_keras_rows("SeparableConv1D SeparableConv2D", "conv1d conv2d", _KERAS_CONV),
    **_keras_rows(
        "Conv1DTranspose Conv2DTranspose Conv3DTranspose",
        "conv_transpose1d conv_transpose2d conv_transpose3d",
        _KERAS_TRANSPOSED,
    ),
    **_keras_rows("LSTM GRU SimpleRNN", "lstm gru rnn_tanh", _KERAS_RECURRENT, by_mode=DROPOUT),
    **_keras_rows("LSTMCell GRUCell SimpleRNNCell", "lstm_cell gru_cell rnn_tanh_cell", "units"),
    **_keras_rows("BatchNormalization", "batch_norm", "axis=-1 momentum=0.99 * trainable=True", by_mode=BATCH_NORM),
    **_keras_rows("LayerNormalization GroupNormalization RMSNormalization", "layer_norm group_norm rms_norm"),
    **_keras_rows("UnitNormalization", "normalize"),
    **_keras_rows("Dropout", "dropout", "rate noise_shape=None seed=None", by_mode=DROPOUT),
    **_keras_rows(
        "SpatialDropout1D SpatialDropout2D SpatialDropout3D",
        "dropout1d dropout2d dropout3d",
        "rate",
        by_mode=DROPOUT,
    ),
    **_keras_rows("AlphaDropout", "alpha_dropout", "rate", by_mode=DROPOUT),
    **_keras_rows("GaussianDropout", "", "rate", by_mode=DROPOUT),
    **_keras_rows(
        "MultiHeadAttention", "", "num_heads key_dim value_dim=None dropout=0.0", learned=True, composed=True
    ),
    **_keras_rows(
        "GroupQueryAttention",
        "",
        "head_dim num_query_heads num_key_value_heads dropout=0.0",
        learned=True,
        composed=True,
    ),
    **_keras_rows("Bidirectional TimeDistributed RNN", composed=True),
    **_keras_rows("ReLU LeakyReLU PReLU ELU Softmax", "relu leaky_relu prelu elu softmax"),
    **_keras_rows("Flatten Reshape Permute Identity", "flatten reshape permute identity"),
    **_keras_rows("Activation", "", "activation"),
    **_keras_rows("Add Subtract Average Multiply", "add sub add mul"),
    **_keras_rows("Maximum Minimum", "maximum minimum"),
    **_keras_rows("Concatenate Dot", "cat matmul"),
    **_keras_rows("ZeroPadding1D ZeroPadding2D ZeroPadding3D", "pad pad pad"),
    **_keras_rows("UpSampling1D UpSampling2D UpSampling3D", "interpolate interpolate interpolate"),
    **_keras_rows("MaxPooling1D MaxPooling2D MaxPooling3D", "max_pool1d max_pool2d max_pool3d", "pool_size=2"),
    **_keras_rows(
        "AveragePooling1D AveragePooling2D AveragePooling3D", "avg_pool1d avg_pool2d avg_pool3d", "pool_size=2"
    ),
    **_keras_rows(
        "GlobalMaxPooling1D GlobalMaxPooling2D GlobalMaxPooling3D",
        "adaptive_max_pool1d adaptive_max_pool2d adaptive_max_pool3d",
    ),
    **_keras_rows(
        "GlobalAveragePooling1D GlobalAveragePooling2D GlobalAveragePooling3D",
        "adaptive_avg_pool1d adaptive_avg_pool2d adaptive_avg_pool3d",
    ),
}
"""The layer classes of Keras, by their public names. A rate of noise has another meaning than one of dropout."""

NO_LAYER = Layer()
"""Stands for a class that the table does not list."""


def layer_named(name: str) -> Layer:
    """The row of a torch.nn class or `keras.layers.…`; `NO_LAYER` for one that the table does not list."""
    return LAYERS.get(name) or KERAS_LAYERS.get(name, NO_LAYER)


def layer_of_class(cls: type) -> Layer:
    """The row of a live class: that of the nearest torch.nn class among its bases, else of its name."""
    for base in cls.__mro__:
        if base.__module__.startswith("torch.nn.modules.") and base.__name__ in LAYERS:
            return LAYERS[base.__name__]
        if base.__module__.startswith("keras.src.layers.") and f"keras.layers.{base.__name__}" in KERAS_LAYERS:
            return KERAS_LAYERS[f"keras.layers.{base.__name__}"]
    return FOREIGN_LAYERS.get(cls.__name__, NO_LAYER)
