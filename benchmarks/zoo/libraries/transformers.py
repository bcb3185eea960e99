"""transformers: one class for each kind of model, from a small configuration made up for it."""

from __future__ import annotations

import inspect
import time
import warnings
from collections.abc import Iterator, Mapping
from functools import partial
from typing import Any

import torch
from torch import nn

from zoo.entry import Arguments, Entry, Unbuildable
from zoo.libraries.torchvision import imported

HEADS = (
    "SEQUENCE_CLASSIFICATION CAUSAL_LM MASKED_LM TOKEN_CLASSIFICATION QUESTION_ANSWERING SEQ_TO_SEQ_CAUSAL_LM "
    "IMAGE_CLASSIFICATION OBJECT_DETECTION SEMANTIC_SEGMENTATION DEPTH_ESTIMATION UNIVERSAL_SEGMENTATION "
    "VIDEO_CLASSIFICATION AUDIO_CLASSIFICATION CTC SPEECH_SEQ_2_SEQ IMAGE_TEXT_TO_TEXT ZERO_SHOT_IMAGE_CLASSIFICATION "
    "MASKED_IMAGE_MODELING MULTIPLE_CHOICE TIME_SERIES_PREDICTION"
).split()
"""Kinds of head, assigned to models in rotation."""

HEAD_COUNTS = (
    "num_attention_heads n_head n_heads num_heads encoder_attention_heads decoder_attention_heads num_key_value_heads"
).split()
WIDTHS = {
    **dict.fromkeys("hidden_size d_model n_embd dim emb_dim embed_dim model_dim".split(), 32),
    **dict.fromkeys("intermediate_size d_ff ffn_dim encoder_ffn_dim decoder_ffn_dim n_inner d_inner".split(), 64),
    **dict.fromkeys(HEAD_COUNTS, 4),
    **dict.fromkeys("head_dim d_kv attention_head_dim".split(), 8),
    **dict.fromkeys("moe_intermediate_size shared_expert_intermediate_size expert_ffn_hidden_size".split(), 32),
    **dict.fromkeys("projection_dim embedding_size word_embed_proj_dim hidden_dim out_hidden_size".split(), 32),
}
LAYERS = dict.fromkeys(
    "num_hidden_layers n_layer n_layers num_layers encoder_layers decoder_layers num_encoder_layers num_decoder_layers"
    " depth num_hidden_groups num_block_records".split(),
    2,
)
SIZES = {
    "vocab_size": 128,
    "max_position_embeddings": 64,
    "n_positions": 64,
    "image_size": 32,
    "patch_size": 8,
    "num_labels": 3,
    "num_experts": 4,
    "num_local_experts": 4,
    "n_routed_experts": 4,
    "num_experts_per_tok": 2,
    "num_mel_bins": 16,
    "max_source_positions": 32,
    "max_target_positions": 32,
}
FEW_IDS = {"vocab_size": 128}
PLANS: tuple[Mapping[str, int], ...] = (
    {**LAYERS, **SIZES, **WIDTHS},
    {**LAYERS, **FEW_IDS, **WIDTHS},
    {**dict.fromkeys(LAYERS, 4), **SIZES, **WIDTHS},
    {**LAYERS, **SIZES, **dict.fromkeys(WIDTHS, 256), **dict.fromkeys(HEAD_COUNTS, 2), "head_dim": 128},
    {**SIZES, **WIDTHS},
    {**LAYERS, **FEW_IDS},
    LAYERS,
)
"""The settings to shrink: first all known ones, then fewer, until the model builds and runs."""
PARAMETERS, PATIENCE = 100_000_000, 10.0
"""The largest model to run, and the time limit of the search for a better configuration."""
SAMPLES, LENGTH = 2, 16


def entries(library: str) -> Iterator[Entry]:
    """One class of each model type: with a head where it has any."""
    imported()
    import transformers
    from transformers.models.auto import configuration_auto, modeling_auto

    transformers.logging.set_verbosity_error()
    base = modeling_auto.MODEL_MAPPING_NAMES
    heads = [vars(modeling_auto)[f"MODEL_FOR_{head}_MAPPING_NAMES"] for head in HEADS]
    seen = set()
    for index, kind in enumerate(configuration_auto.CONFIG_MAPPING_NAMES):
        turn = index % len(heads)
        for names in (*heads[turn:], *heads[:turn], base):
            name = names.get(kind)
            name = name[0] if isinstance(name, (tuple, list)) else name
            if name and name not in seen:
                seen.add(name)
                yield Entry(library, name, partial(built, kind, name), arguments)
                break


def built(kind: str, name: str) -> nn.Module:
    """The model from the smallest configuration that it runs with, or else from the smallest it can be built from."""
    import transformers
    from transformers.models.auto import configuration_auto

    try:
        config_class = getattr(transformers, configuration_auto.CONFIG_MAPPING_NAMES[kind])
        model_class = getattr(transformers, name)
    except (ImportError, AttributeError) as error:
        raise Unbuildable(str(error).splitlines()[0]) from error
    spare: nn.Module | None = None
    said = []
    start = time.monotonic()
    for plan in PLANS:
        if spare and time.monotonic() - start > PATIENCE:
            break
        try:
            torch.manual_seed(0)
            model: nn.Module = model_class(small(config_class, plan))
        except ImportError as error:
            raise Unbuildable(str(error).strip().splitlines()[0]) from error
        except Exception as error:
            said.append(f"{type(error).__name__}: {str(error).strip()[:120]}")
            continue
        model.eval()
        if sum(each.numel() for each in model.parameters()) > PARAMETERS:
            said.append("too large")
            continue
        if next(running(model), None) is not None:
            return model
        spare = spare or model
    if spare is None:
        raise RuntimeError("; ".join(said))
    return spare


def small(config_class: Any, plan: Mapping[str, int]) -> Any:
    """A configuration with the sizes of the plan, and parts made small alike."""
    chosen: dict[str, Any] = {}
    parameters = inspect.signature(config_class).parameters
    for name, parameter in parameters.items():
        default = parameter.default
        if name in plan and isinstance(default, int) and not isinstance(default, bool):
            chosen[name] = plan[name]
        elif name == "pad_token_id" and default is None:
            chosen[name] = 0
        elif name.endswith("_token_id") and isinstance(default, int) and default >= plan.get("vocab_size", 10**9):
            chosen[name] = 3
    for name, part in getattr(config_class, "sub_configs", {}).items():
        part = part if "AutoConfig" not in part.__name__ else type(getattr(config_class(), name, None))
        if hasattr(part, "model_type"):
            chosen[name] = small(part, plan)
    return config_class(**chosen)


def arguments(model: nn.Module) -> Arguments:
    """Keyword arguments that the forward accepts."""
    return next(running(model, ignoring=False), ((), {}))


def running(model: nn.Module, ignoring: bool = True) -> Iterator[Arguments]:
    """Of the arguments to try, those that the model runs on in eval mode."""
    mode = model.training
    for kwargs in tries(model):
        state = torch.get_rng_state()
        try:
            with torch.no_grad(), warnings.catch_warnings():
                warnings.simplefilter("ignore")
                model.eval()(**kwargs)
        except Exception:
            continue
        finally:
            torch.set_rng_state(state)
            model.train(mode)
        yield (), kwargs


def tries(model: nn.Module) -> Iterator[dict[str, torch.Tensor]]:
    """Its main input alone; with what else it names; and everything that has a known shape."""
    known = {name: make(model) for name, make in MAKERS.items() if name in inspect.signature(model.forward).parameters}
    main = getattr(model, "main_input_name", "input_ids")
    mains = (main,) if isinstance(main, str) else tuple(main)
    wanted = {name: known[name] for name in mains if name in known}
    decoder = {name: value for name, value in known.items() if name.startswith("decoder_")}
    texts = {name: value for name, value in known.items() if name in ("input_ids", "attention_mask")}
    pictures = {name: value for name, value in known.items() if name == "pixel_values"}
    yield from ({**wanted, **decoder}, wanted, {**texts, **pictures}, {**texts, **pictures, **decoder}, texts, pictures)
    yield known
    known |= {name: known[name][:, None] for name in ("input_values",) if name in known}
    known |= {name: known[name].transpose(1, 2) for name in ("input_features",) if name in known}
    yield {name: known[name] for name in mains if name in known}
    yield known


def parts(model: nn.Module) -> list[Any]:
    """The model's configuration and those inside it."""
    config: Any = model.config
    inside = [getattr(config, name, None) for name in getattr(config, "sub_configs", {})]
    inside += [getattr(config, "backbone_config", None), getattr(config, "get_text_config", lambda: None)()]
    deeper = [getattr(each, name, None) for each in inside for name in getattr(each, "sub_configs", {})]
    return [config, *(each for each in (*inside, *deeper) if each is not None)]


def setting(model: nn.Module, *names: str, default: Any = None) -> Any:
    """The first of the settings that some part of the configuration has."""
    for name in names:
        for part in parts(model):
            value = getattr(part, name, None)
            if value is not None:
                return value
    return default


def ids(model: nn.Module, length: int = LENGTH) -> torch.Tensor:
    vocabulary = setting(model, "vocab_size", default=100)
    vocabulary = vocabulary if isinstance(vocabulary, int) else 100
    found = torch.arange(SAMPLES * length).view(SAMPLES, length) * 7 % max(1, min(vocabulary, 120) - 10) + 5
    end = setting(model, "eos_token_id")
    if isinstance(end, int) and 0 <= end < vocabulary:
        found[:, -1] = end
    found %= vocabulary
    return torch.stack([found, found.flip(1)], 1) if "MultipleChoice" in type(model).__name__ else found


def pictures(model: nn.Module) -> torch.Tensor:
    size = setting(model, "image_size", "img_size", "crop_size", default=64)
    height, width = (
        (size, size) if isinstance(size, int) else tuple(size)[-2:] if isinstance(size, (list, tuple)) else (64, 64)
    )
    channels = setting(model, "num_channels", "in_channels", "in_chans", default=3)
    frames = (
        setting(model, "num_frames", "frames_per_clip")
        if "Video" in type(model).__name__ or setting(model, "tubelet_size", "num_frames")
        else None
    )
    lead = (SAMPLES, frames) if isinstance(frames, int) else (SAMPLES,)
    return torch.rand(*lead, channels if isinstance(channels, int) else 3, height, width)


def spectrum(model: nn.Module) -> torch.Tensor:
    bins = setting(model, "num_mel_bins", "input_feat_per_channel", "feature_size", "input_dim", default=80)
    frames = setting(model, "max_source_positions", default=32)
    return torch.randn(SAMPLES, bins, 2 * frames)


def waveform(model: nn.Module) -> torch.Tensor:
    bins, frames = setting(model, "num_mel_bins"), setting(model, "max_length")
    if setting(model, "frequency_stride") and bins and frames:
        return torch.randn(SAMPLES, frames, bins)
    return torch.randn(SAMPLES, 4000)


def series(model: nn.Module) -> torch.Tensor:
    lags = setting(model, "lags_sequence", default=[0])
    length = setting(model, "context_length", default=16) + (max(lags) if isinstance(lags, list) else 0)
    channels = setting(model, "num_input_channels", "input_size", default=1)
    shape = (SAMPLES, length) if channels == 1 else (SAMPLES, length, channels)
    return torch.randn(shape)


def features_over_time(model: nn.Module) -> torch.Tensor:
    width = setting(model, "num_time_features", default=1)
    return torch.randn(*series(model).shape[:2], width)


MAKERS: dict[str, Any] = {
    "input_ids": ids,
    "attention_mask": lambda model: torch.ones(SAMPLES, LENGTH, dtype=torch.int64),
    "decoder_input_ids": partial(ids, length=8),
    "pixel_values": pictures,
    "pixel_values_videos": lambda model: torch.rand(
        SAMPLES, setting(model, "frames_per_clip", "num_frames", default=4), 3, *pictures(model).shape[-2:]
    ),
    "input_features": spectrum,
    "input_values": waveform,
    "bbox": lambda model: torch.tensor([1, 2, 3, 4]).expand(SAMPLES, LENGTH, 4).clone(),
    "past_values": series,
    "past_time_features": features_over_time,
    "past_observed_mask": lambda model: torch.ones_like(series(model)),
    "static_categorical_features": lambda model: torch.zeros(
        SAMPLES, max(1, setting(model, "num_static_categorical_features", default=1)), dtype=torch.int64
    ),
    "inputs": ids,
}
