"""diffusers: denoisers and autoencoders of many kinds, from small configurations."""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial
from typing import Any

import torch
from torch import nn

from zoo.entry import Arguments, Entry
from zoo.libraries.torchvision import imported

SAMPLES, WIDTH, LENGTH = 2, 32, 8
HEADS = {"num_attention_heads": 4, "attention_head_dim": 8}
BLOCKS = {"block_out_channels": (WIDTH, WIDTH), "norm_num_groups": 8}
UNET = {**BLOCKS, "layers_per_block": 1}
CROSSED = {
    **UNET,
    "cross_attention_dim": WIDTH,
    "down_block_types": ("DownBlock2D", "CrossAttnDownBlock2D"),
    "up_block_types": ("CrossAttnUpBlock2D", "UpBlock2D"),
}
ENCODER = {**BLOCKS, "down_block_types": ("DownEncoderBlock2D",) * 2, "up_block_types": ("UpDecoderBlock2D",) * 2}


def normal(*sizes: int) -> torch.Tensor:
    return torch.randn(SAMPLES, *sizes)


def image(channels: int = 3, size: int = 32) -> dict[str, Any]:
    return {"sample": normal(channels, size, size)}


def denoised(channels: int, size: int, name: str = "sample", **more: Any) -> dict[str, Any]:
    return {name: normal(channels, size, size), "timestep": torch.tensor([3, 5]), **more}


def told(width: int = WIDTH) -> dict[str, Any]:
    return {"encoder_hidden_states": normal(LENGTH, width)}


def models() -> dict[str, tuple[dict[str, Any], Any]]:
    """Returns for each class its configuration, and a function that builds its forward's arguments."""
    video_blocks = {
        "down_block_types": ("CrossAttnDownBlock3D", "DownBlock3D"),
        "up_block_types": ("UpBlock3D", "CrossAttnUpBlock3D"),
    }
    video = {"sample": normal(4, 4, 16, 16), "timestep": torch.tensor([3, 5]), **told()}
    joint = {"joint_attention_dim": WIDTH, "pooled_projection_dim": WIDTH}
    positions = torch.zeros(LENGTH, 3), torch.zeros(64, 3)
    return {
        "UNet2DModel": (
            {
                **UNET,
                "sample_size": 32,
                "down_block_types": ("DownBlock2D", "AttnDownBlock2D"),
                "up_block_types": ("AttnUpBlock2D", "UpBlock2D"),
            },
            lambda: denoised(3, 32),
        ),
        "UNet2DConditionModel": ({**CROSSED, "sample_size": 32}, lambda: denoised(4, 32, **told())),
        "UNet3DConditionModel": (
            {**UNET, **video_blocks, "sample_size": 16, "cross_attention_dim": WIDTH, "attention_head_dim": 8},
            lambda: video,
        ),
        "UNet1DModel": (
            {"extra_in_channels": 64},
            lambda: {"sample": normal(2, 256), "timestep": torch.tensor([3, 5])},
        ),
        "ControlNetModel": (
            {
                **UNET,
                "down_block_types": CROSSED["down_block_types"],
                "cross_attention_dim": WIDTH,
                "conditioning_embedding_out_channels": (16, 32),
            },
            lambda: denoised(4, 32, **told(), controlnet_cond=normal(3, 64, 64)),
        ),
        "AutoencoderKL": (ENCODER, image),
        "VQModel": (ENCODER, image),
        "AutoencoderTiny": ({}, lambda: image(size=64)),
        "AsymmetricAutoencoderKL": ({}, lambda: image(size=64)),
        "AutoencoderKLTemporalDecoder": (
            {"block_out_channels": (WIDTH, WIDTH), "down_block_types": ("DownEncoderBlock2D",) * 2},
            lambda: {**image(), "num_frames": 1},
        ),
        "Transformer2DModel": (
            {**HEADS, "num_layers": 1, "in_channels": WIDTH, "norm_num_groups": 8, "cross_attention_dim": WIDTH},
            lambda: {"hidden_states": normal(WIDTH, 8, 8), **told()},
        ),
        "DiTTransformer2DModel": (
            {**HEADS, "num_layers": 2, "sample_size": 16},
            lambda: denoised(4, 16, "hidden_states", class_labels=torch.tensor([1, 2])),
        ),
        "PixArtTransformer2DModel": (
            {**HEADS, "num_layers": 2, "sample_size": 16, "cross_attention_dim": WIDTH, "caption_channels": 16},
            lambda: denoised(4, 16, "hidden_states", **told(16), added_cond_kwargs={}),
        ),
        "SD3Transformer2DModel": (
            {
                **HEADS,
                **joint,
                "sample_size": 16,
                "num_layers": 1,
                "caption_projection_dim": WIDTH,
                "pos_embed_max_size": 32,
            },
            lambda: denoised(16, 16, "hidden_states", **told(), pooled_projections=normal(WIDTH)),
        ),
        "FluxTransformer2DModel": (
            {
                **joint,
                "num_layers": 1,
                "num_single_layers": 1,
                "attention_head_dim": 16,
                "num_attention_heads": 2,
                "axes_dims_rope": (4, 4, 8),
            },
            lambda: {
                "hidden_states": normal(64, 64),
                "timestep": torch.tensor([0.3, 0.5]),
                **told(),
                "pooled_projections": normal(WIDTH),
                "txt_ids": positions[0],
                "img_ids": positions[1],
            },
        ),
        "PriorTransformer": (
            {"num_attention_heads": 2, "attention_head_dim": 8, "num_layers": 1, "embedding_dim": 16},
            lambda: {
                "hidden_states": normal(16),
                "timestep": torch.tensor([3, 5]),
                "proj_embedding": normal(16),
                "encoder_hidden_states": normal(77, 16),
            },
        ),
        "AuraFlowTransformer2DModel": (
            {
                **HEADS,
                "sample_size": 16,
                "num_mmdit_layers": 1,
                "num_single_dit_layers": 1,
                "caption_projection_dim": WIDTH,
                "joint_attention_dim": WIDTH,
            },
            lambda: {**denoised(4, 16, "hidden_states", **told()), "timestep": torch.tensor([0.3, 0.5])},
        ),
        "WanTransformer3DModel": (
            {
                "num_attention_heads": 2,
                "attention_head_dim": 12,
                "text_dim": 16,
                "ffn_dim": WIDTH,
                "num_layers": 1,
                "freq_dim": 16,
            },
            lambda: {"hidden_states": normal(16, 2, 16, 16), "timestep": torch.tensor([3, 5]), **told(16)},
        ),
        "CogVideoXTransformer3DModel": (
            {
                **HEADS,
                "num_layers": 1,
                "text_embed_dim": WIDTH,
                "sample_width": 8,
                "sample_height": 8,
                "sample_frames": 9,
                "max_text_seq_length": LENGTH,
            },
            lambda: {"hidden_states": normal(3, 16, 8, 8), "timestep": torch.tensor([3, 5]), **told()},
        ),
        "UVit2DModel": (
            {
                "hidden_size": WIDTH,
                "encoder_hidden_size": WIDTH,
                "cond_embed_dim": WIDTH,
                "num_hidden_layers": 1,
                "num_attention_heads": 4,
                "block_out_channels": WIDTH,
                "in_channels": WIDTH,
                "vocab_size": 99,
                "codebook_size": 64,
            },
            lambda: {
                "input_ids": torch.randint(0, 64, (SAMPLES, 16, 16)),
                **told(),
                "pooled_text_emb": normal(WIDTH),
                "micro_conds": normal(5),
            },
        ),
    }


def entries(library: str) -> Iterator[Entry]:
    """The classes that this version has."""
    imported()
    import diffusers

    for name, (configuration, make) in models().items():
        if hasattr(diffusers, name):
            yield Entry(library, name, partial(getattr(diffusers, name), **configuration), partial(arguments, make))


def arguments(make: Any, model: nn.Module) -> Arguments:
    return (), make()
