"""Inputs of models that keep a Hugging Face configuration: its sizes, and the names of forward's arguments."""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import torch
from torch import nn

from regcheck.hookspecs import hookimpl
from regcheck.lazy_dataclass import dataclass
from regcheck.tracing.example_inputs import sizes
from regcheck.tracing.example_inputs.argument_flow import ForwardReading
from regcheck.tracing.example_inputs.arguments import Draw, ForwardArgument, arguments_of, combined_draws, draws, spec
from regcheck.tracing.example_inputs.drawing import LARGEST, boxes, increasing
from regcheck.tracing.example_inputs.following import follow
from regcheck.tracing.example_inputs.sizes import attribute

MODALITIES = (
    "input_ids pixel_values pixel_values_videos input_values input_features bbox visual_feats visual_pos".split()
)
DIFFUSION = ("timestep encoder_hidden_states class_labels pooled_projections added_cond_kwargs img_ids txt_ids").split()
CROSSED = ("encoder_hid_dim caption_channels joint_attention_dim cross_attention_dim text_embed_dim text_dim").split()
ORIGIN = "config"


@dataclass(frozen=True)
class Config:
    """A configuration, and those nested in it, asked for numbers by name."""

    values: Any

    @classmethod
    def of(cls, model: nn.Module) -> Config | None:
        """A model's configuration, if it keeps one of the kind."""
        config = attribute(model, "config")
        is_config = hasattr(config, "to_dict") or (isinstance(config, Mapping) and hasattr(model, "config_name"))
        return cls(config) if is_config and not isinstance(config, type) else None

    def get(self, *names: str, part: str = "") -> Any:
        """The first value set under one of the names; in the nested configurations named `part` first."""
        nested = self._nested()
        wanted = [each for key, each in nested if part and part in key]
        rest = [each for key, each in nested if not (part and part in key)]
        for level in (*wanted, self, *rest):
            for name in names:
                value = level._own(name) if level is self else level.get(name)
                if value is not None:
                    return value
        return None

    def whole(self, *names: str, part: str = "", default: int) -> int:
        """A number by one of its names."""
        value = self.get(*names, part=part)
        return value if isinstance(value, int) and not isinstance(value, bool) else default

    def special(self) -> frozenset[int]:
        """Ids with a meaning of their own: padding, the place of an image, and such."""
        numbers: set[Any] = set()
        for name, value in self._items():
            if name.endswith(("token_id", "token_index", "token_ids")):
                numbers.update(value if isinstance(value, (list, tuple)) else [value])
        for _, level in self._nested():
            numbers |= level.special()
        return frozenset(each for each in numbers if isinstance(each, int))

    def _items(self) -> Iterator[tuple[str, Any]]:
        values = self.values if isinstance(self.values, Mapping) else vars(self.values)
        yield from values.items()

    def _own(self, name: str) -> Any:
        if isinstance(self.values, Mapping):
            return self.values.get(name)
        return attribute(self.values, name)

    def _nested(self) -> list[tuple[str, Config]]:
        nested = [(key, each) for key, each in self._items() if hasattr(each, "to_dict") and each is not self.values]
        return [(key, Config(each)) for key, each in nested]


@hookimpl
def regcheck_inputs(model: nn.Module) -> Iterator[Any]:
    """Inputs for a model with a configuration: its main input, then all that it can see, then each alone."""
    config, arguments = Config.of(model), arguments_of(model)
    if config is None or not arguments:
        return
    reading = follow(model)
    maker = _Maker(model, config, reading)
    names = {each.name for each in arguments}
    main = attribute(model, "main_input_name")
    decoded = ["decoder_input_ids"] if config.get("is_encoder_decoder") and "decoder_input_ids" in names else []
    required = [each.name for each in arguments if each.required]
    seen = [name for name in MODALITIES if name in names]
    first = [main] if isinstance(main, str) and main in names else []
    choices = [[*first, *required, *decoded], [*first, *seen, *required, *decoded]]
    choices += [[name, *required, *decoded] for name in seen] + [[*first, *required]]
    if isinstance(config.values, Mapping):
        conditions = [each.name for each in arguments if each.name in DIFFUSION and maker.own(each.name)]
        choices.insert(0, [*required, *conditions])
    unique = dict.fromkeys(tuple(dict.fromkeys(each)) for each in choices if each)
    streams = [_candidates(arguments, choice, maker) for choice in unique]
    for each in itertools.zip_longest(*streams):  # the first of each choice, then the second of each, …
        yield from (inputs for inputs in each if inputs is not None)


def _candidates(arguments: Sequence[ForwardArgument], choice: Sequence[str], maker: _Maker) -> Iterator[Any]:
    chosen = [each for each in arguments if each.name in choice]
    options = {each.name: maker.draws(each) for each in chosen}
    if all(options.values()):
        if not all(each.required for each in chosen):
            chosen = [ForwardArgument(each.name, keyword=True) for each in chosen]
        yield from combined_draws(chosen, options)


class _Maker:
    """Makes arguments by their conventional names."""

    def __init__(self, model: nn.Module, config: Config, reading: ForwardReading) -> None:
        self._model, self._config, self._reading = model, config, reading
        self._kind = type(model).__name__

    def draws(self, argument: ForwardArgument) -> list[Draw]:
        return self.own(argument.name) or draws(self._model, argument, self._reading)

    def own(self, name: str) -> list[Draw]:
        """Ways to make an argument that the configuration speaks for."""
        own: Callable[[str], list[Draw]] | None = getattr(self, f"_{name}", None)
        make = own or self._alias(name)
        return make(name) if make is not None else []

    def _alias(self, name: str) -> Callable[[str], list[Draw]] | None:
        if name.endswith("input_ids"):
            return self._input_ids
        if name in ("sample", "hidden_states", "latents", "x") and isinstance(self._config.values, Mapping):
            return self._sample
        if name in ("timestep", "timesteps", "timestep_r_ratio"):
            return self._timestep
        if name.endswith("attention_mask"):
            return self._mask
        if name in ("inputs_embeds", "hidden_states", "encoder_hidden_states", "decoder_inputs_embeds"):
            return self._hidden
        return None

    @property
    def _length(self) -> int:
        shape = self._config.get("axial_pos_shape")
        if isinstance(shape, (list, tuple)) and self._config.get("axial_pos_embds"):
            return int(math.prod(shape))
        most = self._config.whole("max_position_embeddings", "n_positions", "context_length", part="text", default=64)
        return min(sizes.LENGTH, most if most > 0 else sizes.LENGTH)

    def _input_ids(self, name: str) -> list[Draw]:
        embedding = None
        if not name.startswith("decoder"):
            try:
                embedding = self._model.get_input_embeddings()  # type: ignore[operator]
            except Exception:
                embedding = None
        below = self._config.whole("vocab_size", part="decoder" if name.startswith("decoder") else "text", default=0)
        if isinstance(embedding, nn.Embedding):
            below = min(below or embedding.num_embeddings, embedding.num_embeddings)
        if not below:
            return []
        special = self._config.special()
        end = self._config.get("eos_token_id", part="text")
        lead = (2,) if self._kind.endswith("MultipleChoice") else ()
        options = []
        for length in dict.fromkeys((self._length, 8)):
            drawn = spec((None, *lead, length), ORIGIN, below, special)
            options.append(Draw(lambda n, drawn=drawn: _ended(drawn.make(n), end, below), ORIGIN))  # type: ignore[misc]
        return options

    def _mask(self, name: str) -> list[Draw]:
        return [Draw(lambda n: torch.ones(n, self._length, dtype=torch.long), ORIGIN)]

    def _bbox(self, name: str) -> list[Draw]:
        side = self._config.whole("max_2d_position_embeddings", default=1000)
        return [Draw(lambda n: boxes(n, self._length, min(side, 1000)), ORIGIN)]

    def _hidden(self, name: str) -> list[Draw]:
        names = ["hidden_size", "d_model", "dim", "embedding_dim"]
        if name.startswith("encoder_hidden"):
            names = [*CROSSED, *names]
        width = self._config.get(*names)
        width = width[0] if isinstance(width, (list, tuple)) and width else width
        length = (
            self._config.whole("text_len", "max_text_seq_length", "num_embeddings", default=8)
            if name.startswith("encoder")
            else 8
        )
        return [spec((None, length, width), ORIGIN)] if isinstance(width, int) else []

    def _extents(self, part: str = "vision") -> list[tuple[int, ...]]:
        size = self._config.get("image_size", "input_size", part=part)
        if isinstance(size, Mapping):
            size = [size.get("height"), size.get("width")]
        if isinstance(size, int):
            size = (size, size)
        if isinstance(size, (tuple, list)) and len(size) >= 2 and all(isinstance(each, int) for each in size):
            return [tuple(size[-2:])]
        return sizes.extents(self._model, 2)[:3]

    def _pixel_values(self, name: str) -> list[Draw]:
        channels = self._config.whole("num_channels", "in_channels", "in_chans", part="vision", default=3)
        frames = self._config.get("num_frames", "num_input_frames", part="vision")
        images = [spec((None, channels, *extent), ORIGIN) for extent in self._extents()]
        if isinstance(frames, int) and frames > 1:
            return [spec((None, frames, channels, *extent), ORIGIN) for extent in self._extents()] + images
        return images

    def _pixel_values_videos(self, name: str) -> list[Draw]:
        frames = self._config.whole("num_frames", "frames_per_clip", part="vision", default=8)
        channels = self._config.whole("num_channels", "in_channels", "in_chans", part="vision", default=3)
        size = self._config.get("crop_size")
        extents = [(size, size)] if isinstance(size, int) else self._extents()
        return [spec((None, frames, channels, *extent), ORIGIN) for extent in extents]

    def _input_values(self, name: str) -> list[Draw]:
        bins, frames = self._config.get("num_mel_bins", "feature_size"), self._config.get("max_length")
        if isinstance(bins, int) and isinstance(frames, int) and self._config.get("patch_size"):
            return [spec((None, frames, bins), ORIGIN)]
        channels = self._config.get("audio_channels")
        if isinstance(channels, int):
            return [spec((None, channels, 8000), ORIGIN)]
        return [spec((None, 8000), ORIGIN), spec((None, 1, 8000), ORIGIN)]

    def _input_features(self, name: str) -> list[Draw]:
        names = ("feature_projection_input_dim", "input_feat_per_channel", "num_mel_bins", "mel_bins", "input_dim")
        bins = self._config.whole(*names, part="audio", default=80)
        long = self._config.get("max_source_positions", part="audio")
        steps = 2 * long if isinstance(long, int) and long * 2 * bins * 4 < LARGEST else 128
        fused = [spec((None, 1, 1024, bins), ORIGIN)] if self._config.get("spec_size", part="audio") else []
        return [*fused, spec((None, bins, steps), ORIGIN), spec((None, 128, bins), ORIGIN)]

    def _visual_feats(self, name: str) -> list[Draw]:
        width = self._config.get("visual_feat_dim")
        return [spec((None, 10, width), ORIGIN)] if isinstance(width, int) else []

    def _visual_pos(self, name: str) -> list[Draw]:
        return [Draw(lambda n: torch.rand(n, 10, 4, generator=torch.Generator().manual_seed(0)), ORIGIN)]

    def _position_ids(self, name: str) -> list[Draw]:
        return [Draw(lambda n: increasing(n, self._length), ORIGIN)]

    def _bool_masked_pos(self, name: str) -> list[Draw]:
        patch = self._config.whole("patch_size", default=16)
        height, width = self._extents()[0]
        frames, tube = self._config.get("num_frames"), self._config.get("tubelet_size")
        count = (height // patch) * (width // patch)
        count *= frames // tube if isinstance(frames, int) and isinstance(tube, int) else 1
        return [Draw(lambda n: (torch.arange(count) % 2 == 0).expand(n, count).clone(), ORIGIN)]

    def _past_values(self, name: str) -> list[Draw]:
        lags = self._config.get("lags_sequence")
        length = self._config.whole("context_length", "prediction_length", default=32)
        length += max(lags) if isinstance(lags, (list, tuple)) and lags else 0
        width = self._config.whole("num_input_channels", "input_size", default=1)
        return [spec((None, length, width), ORIGIN), spec((None, length), ORIGIN)]

    def _inputs(self, name: str) -> list[Draw]:
        width = self._config.get("d_model")
        return [spec((None, 16, width), ORIGIN)] if isinstance(width, int) else []

    def _sample(self, name: str) -> list[Draw]:
        """A latent of a diffusion model, an image of an autoencoder."""
        channels = self._config.whole("in_channels", default=4)
        size = self._config.get("sample_size", "sample_height")
        size = size[-1] if isinstance(size, (tuple, list)) else size
        side = size if isinstance(size, int) and size <= 128 else 32
        frames = self._config.whole("sample_frames", "num_frames", default=4)
        flat: list[tuple[int | None, ...]] = [(None, channels, side, side)]
        deep: list[tuple[int | None, ...]] = [
            (None, channels, frames, side, side),
            (None, frames, channels, side, side),
        ]
        rows: list[tuple[int | None, ...]] = [(None, 16, channels), (None, channels, 64)]
        ranks = {
            type(each).__name__[-2:] for each in self._model.modules() if isinstance(each, nn.modules.conv._ConvNd)
        }
        if "3d" in ranks or any(word in self._kind for word in ("3D", "Motion", "Temporal", "Video")):
            order = [*reversed(deep), *flat] if "Temporal" in self._kind else [*deep, *flat]
        else:
            order = [*flat, *deep] if "2d" in ranks else [*reversed(rows), *flat] if "1d" in ranks else [*rows, *flat]
        if not ranks and isinstance(size, int):
            order = [*flat, *rows]
        return [spec(dims, ORIGIN) for dims in order]

    def _controlnet_cond(self, name: str) -> list[Draw]:
        side = self._config.whole("sample_size", default=32) * 8
        return [spec((None, self._config.whole("conditioning_channels", default=3), side, side), ORIGIN)]

    def _img_ids(self, name: str) -> list[Draw]:
        return [Draw(lambda n: torch.zeros(16, 3), ORIGIN)]

    def _txt_ids(self, name: str) -> list[Draw]:
        return [Draw(lambda n: torch.zeros(8, 3), ORIGIN)]

    def _added_time_ids(self, name: str) -> list[Draw]:
        whole = self._config.whole("projection_class_embeddings_input_dim", default=0)
        each = self._config.whole("addition_time_embed_dim", default=1)
        return [Draw(lambda n: torch.zeros(n, whole // each), ORIGIN)] if whole else []

    def _proj_embedding(self, name: str) -> list[Draw]:
        width = self._config.get("embedding_dim")
        return [spec((None, width), ORIGIN)] if isinstance(width, int) else []

    def _timestep(self, name: str) -> list[Draw]:
        return [Draw(lambda n: torch.arange(1, n + 1) * 10, ORIGIN)]

    def _class_labels(self, name: str) -> list[Draw]:
        below = self._config.get("num_embeds_ada_norm", "num_class_embeds")
        return [spec((None,), ORIGIN, below)] if isinstance(below, int) else []

    def _pooled_projections(self, name: str) -> list[Draw]:
        width = self._config.get("pooled_projection_dim")
        return [spec((None, width), ORIGIN)] if isinstance(width, int) else []

    def _added_cond_kwargs(self, name: str) -> list[Draw]:
        whole = self._config.whole("projection_class_embeddings_input_dim", default=0)
        each = self._config.whole("addition_time_embed_dim", default=0)
        if not whole:
            return []

        def conditions(n: int) -> dict[str, torch.Tensor]:
            return {"text_embeds": spec((None, whole - 6 * each), ORIGIN).make(n), "time_ids": torch.zeros(n, 6)}

        return [Draw(conditions, ORIGIN)]


def _ended(tokens: torch.Tensor, end: Any, below: int) -> torch.Tensor:
    """The tokens with an end-of-text token at their end, where the vocabulary has one."""
    if isinstance(end, int) and 0 <= end < below:
        tokens[..., -1] = end
    return tokens
