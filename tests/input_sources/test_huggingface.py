"""Example inputs of models that have a Hugging Face configuration."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from regcheck.plugins import example_inputs

from ..accepted_inputs import accepted, first, shapes


class Configuration(SimpleNamespace):
    """Shaped like a transformers configuration."""

    model_type = "stand-in"

    def to_dict(self) -> dict[str, Any]:
        return vars(self)


class Pretrained(nn.Module):
    """Shaped like a transformers model: everything is optional, and the main input has a name."""

    main_input_name = "input_ids"

    def __init__(self, config: Configuration) -> None:
        super().__init__()
        self.config = config
        self.dummy_inputs = {"input_ids": torch.tensor([[7, 6, 0], [1, 2, 3]])}
        self.words = nn.Embedding(40, 8)

    def get_input_embeddings(self) -> nn.Module:
        return self.words


class Tokens(Pretrained):
    def forward(self, input_ids: Any = None, attention_mask: Any = None, labels: Any = None) -> Tensor:
        assert labels is None and input_ids.shape[1] <= self.config.max_position_embeddings
        assert not torch.isin(input_ids, torch.tensor([self.config.pad_token_id])).any()
        assert (input_ids == self.config.eos_token_id).sum(1).eq(1).all()
        return self.words(input_ids)


class Captioner(Pretrained):
    def forward(self, input_ids: Any = None, pixel_values: Any = None, bbox: Any = None) -> Tensor:
        assert pixel_values.shape[1:] == (1, 24, 32)
        assert bbox.shape == (*input_ids.shape, 4) and (bbox[..., 2:] > bbox[..., :2]).all()
        return self.words(input_ids)


class Translator(Pretrained):
    def forward(self, input_ids: Any = None, decoder_input_ids: Any = None) -> Tensor:
        assert decoder_input_ids.max() < 11
        return self.words(input_ids)


class Listener(Pretrained):
    main_input_name = "input_features"

    def forward(self, input_features: Any = None, decoder_input_ids: Any = None) -> Tensor:
        assert input_features.shape[1:] == (20, 60)
        return self.words(decoder_input_ids)


TEXT: dict[str, Any] = {"vocab_size": 40, "max_position_embeddings": 12, "eos_token_id": 2, "pad_token_id": 0}


@pytest.mark.parametrize(
    "model",
    [
        Tokens(Configuration(**TEXT)),
        Captioner(
            Configuration(
                text_config=Configuration(**TEXT),
                vision_config=Configuration(image_size={"height": 24, "width": 32}, num_channels=1),
            )
        ),
        Translator(Configuration(**TEXT, is_encoder_decoder=True, decoder=Configuration(vocab_size=11))),
        Listener(Configuration(**TEXT, is_encoder_decoder=True, num_mel_bins=20, max_source_positions=30)),
    ],
    ids=lambda model: type(model).__name__,
)
def test_a_configuration_tells_sizes(model: nn.Module) -> None:
    """Vocabularies, lengths, image sizes and feature bins are read from a configuration, nested ones included."""
    assert accepted(model, 2, example_inputs(model)).origin == "config"


class Denoiser(nn.Module):
    """Shaped like a diffusers model: the configuration is a mapping."""

    config_name = "config.json"

    def __init__(self) -> None:
        super().__init__()
        self.config = {"in_channels": 4, "sample_size": 16, "cross_attention_dim": 6}
        self.conv, self.cross = nn.Conv2d(4, 4, 3, padding=1), nn.Linear(6, 4)

    def forward(self, sample: Tensor, timestep: Any, encoder_hidden_states: Tensor, class_labels: Any = None) -> Tensor:
        assert class_labels is None and timestep.shape == sample.shape[:1] and not timestep.is_floating_point()
        return self.conv(sample) + self.cross(encoder_hidden_states).mean(1)[:, :, None, None]


def test_a_denoiser_gets_a_latent_a_time_and_a_condition() -> None:
    """A diffusion model's configuration gives the latent's size and the width of its condition."""
    model = Denoiser()
    assert shapes(first(model, example_inputs(model)))[0] == (4, 4, 16, 16)
