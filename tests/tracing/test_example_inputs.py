"""Example inputs that are guessed from the layers that the arguments of forward reach."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from regcheck.tracing.example_inputs import Inputs, candidates, drawn_for, elsewhere, moved
from regcheck.tracing.example_inputs.drawing import Spec, TooLarge, ids
from regcheck.tracing.example_inputs.following import follow

from ..accepted_inputs import accepted, first, shapes


class Forward(nn.Module):
    """A model of the given parts whose forward is the given function."""

    def __init__(self, **parts: Any) -> None:
        super().__init__()
        for name, part in parts.items():
            setattr(self, name, part)


class LeNet(Forward):
    def __init__(self, width: int = 400) -> None:
        super().__init__(one=nn.Conv2d(1, 6, 5), two=nn.Conv2d(6, 16, 5), head=nn.Linear(width, 10))

    def forward(self, x: Tensor) -> Tensor:
        x = F.max_pool2d(F.relu(self.one(x)), 2)
        return self.head(F.max_pool2d(F.relu(self.two(x)), 2).flatten(1))


class Unpacked(Forward):
    def __init__(self) -> None:
        super().__init__(layer=nn.Linear(12, 2))

    def forward(self, x: Tensor) -> Tensor:
        samples, steps, _ = x.shape
        return self.layer(x).view(samples, steps, 2)


class Permuted(Forward):
    def __init__(self) -> None:
        super().__init__(layer=nn.Conv1d(5, 4, 3, padding=1))

    def forward(self, x: Tensor) -> Tensor:
        _, _, width = x.shape
        assert width == 5
        return self.layer(x.permute(0, 2, 1))


class Waveform(Forward):
    def __init__(self) -> None:
        super().__init__(layer=nn.Conv1d(1, 4, 9, stride=4), out=nn.Linear(4, 2))

    def forward(self, audio: Tensor) -> Tensor:
        if audio.dim() != 3 or audio.size(1) != 1:
            raise ValueError("a waveform has one channel")
        return self.out(self.layer(audio).mean(-1))


class Pair(Forward):
    def __init__(self) -> None:
        super().__init__(users=nn.Embedding(7, 4), items=nn.Embedding(90, 4), head=nn.Linear(8, 1))

    def forward(self, user: Tensor, item: Tensor) -> Tensor:
        return self.head(torch.cat([self.users(user), self.items(item)], -1))


class Joined(Forward):
    def __init__(self) -> None:
        super().__init__(net=nn.Sequential(nn.Linear(12, 8), nn.ReLU(), nn.Linear(8, 1)))

    def forward(self, state: Tensor, action: Tensor) -> Tensor:
        return self.net(torch.cat([state, action], dim=-1))


class Flow(Forward):
    def __init__(self) -> None:
        super().__init__(net=nn.Conv2d(6, 2, 3, padding=1))

    def forward(self, image1: Tensor, image2: Tensor) -> Tensor:
        return self.net(torch.cat([image1, image2], dim=1))


class Timed(Forward):
    def __init__(self) -> None:
        super().__init__(net=nn.Conv2d(3, 3, 3, padding=1), scale=nn.Linear(1, 3))

    def forward(self, x: Tensor, t: Tensor) -> Tensor:
        return self.net(x) + self.scale(t.view(-1, 1).float())[:, :, None, None]


class Masked(Forward):
    def __init__(self) -> None:
        super().__init__(table=nn.Embedding(30, 8, padding_idx=0), out=nn.Linear(8, 2))

    def forward(self, input_ids: Tensor, attention_mask: Tensor) -> Tensor:
        mask = attention_mask.unsqueeze(-1).float()
        return self.out((self.table(input_ids) * mask).sum(1) / mask.sum(1))


class Packed(Forward):
    def __init__(self) -> None:
        super().__init__(table=nn.Embedding(30, 8), rnn=nn.LSTM(8, 8, batch_first=True))

    def forward(self, tokens: Tensor, lengths: Tensor) -> Tensor:
        packed = nn.utils.rnn.pack_padded_sequence(self.table(tokens), lengths, batch_first=True)
        return self.rnn(packed)[1][0]


class Stateful(Forward):
    def __init__(self) -> None:
        super().__init__(rnn=nn.LSTM(6, 5))

    def forward(self, x: Tensor, hidden: Any) -> Any:
        return self.rnn(x, hidden)


class Keyed(Forward):
    def __init__(self) -> None:
        super().__init__(table=nn.Embedding(30, 8), image=nn.Conv2d(3, 8, 3))

    def forward(self, batch: dict[str, Tensor]) -> Tensor:
        return self.image(batch["image"]).mean((2, 3)) + self.table(batch["caption"]).mean(1)


class Views(Forward):
    def __init__(self) -> None:
        super().__init__(parts=nn.ModuleList([nn.Linear(5, 8), nn.Linear(9, 8)]), out=nn.Linear(16, 2))

    def forward(self, views: Any) -> Tensor:
        found = []
        for part, view in zip(self.parts, views, strict=True):
            found.append(part(view))
        return self.out(torch.cat(found, -1))


class Levels(Forward):
    def __init__(self) -> None:
        super().__init__(heads=nn.ModuleList(nn.Conv2d(width, 3, 1) for width in (4, 8, 16)))

    def forward(self, maps: Any) -> list[Tensor]:
        return [head(each) for each, head in zip(maps, self.heads, strict=True)]


class KeywordOnly(Forward):
    def __init__(self) -> None:
        super().__init__(table=nn.Embedding(30, 8))

    def forward(self, *, ids: Tensor, scale: float = 1.0) -> Tensor:
        return self.table(ids) * scale


class OwnWeights(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.randn(7, 3))

    def forward(self, x: Tensor) -> Tensor:
        return x @ self.weight


class Blocks(Forward):
    def __init__(self) -> None:
        super().__init__(blocks=nn.ModuleList([nn.Linear(9, 9), nn.Linear(9, 9)]))

    def forward(self, x: Tensor) -> Tensor:
        for block in self.blocks:
            x = block(x).relu()
        return x


class LateMade(Forward):
    """Its layers are made in another order than they are used."""

    def __init__(self) -> None:
        super().__init__(head=nn.Linear(8, 2), stem=nn.Conv2d(3, 8, 3))

    def forward(self, x: Tensor) -> Tensor:
        return self.head(self.stem(x).mean((2, 3)))


class Patches(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Conv2d(3, 8, 4, stride=4)
        self.pos_embed = nn.Parameter(torch.zeros(1, 12 * 12 + 1, 8))

    def forward(self, x: Tensor) -> Tensor:
        tokens = self.stem(x).flatten(2).transpose(1, 2)
        return torch.cat([tokens.mean(1, keepdim=True), tokens], 1) + self.pos_embed


class Clip(Forward):
    """Both arguments are optional, and nothing happens without them."""

    def __init__(self) -> None:
        super().__init__(vision=nn.Conv2d(3, 8, 8, stride=8), words=nn.Embedding(50, 8))
        self.positions = nn.Parameter(torch.zeros(21, 8))

    def forward(self, image: Tensor | None = None, text: Tensor | None = None) -> Any:
        assert image is not None and text is not None
        return self.vision(image).mean((2, 3)) @ (self.words(text) + self.positions).mean(1).T


class Optional(Forward):
    def __init__(self) -> None:
        super().__init__(layer=nn.Linear(6, 2))

    def forward(self, x: Tensor, mask: Tensor | None = None, labels: Tensor | None = None) -> Tensor:
        assert mask is None and labels is None
        return self.layer(x)


@pytest.mark.parametrize(
    ("model", "expected"),
    [
        (LeNet(), [(4, 1, 32, 32)]),
        (LeNet(256), [(4, 1, 28, 28)]),
        (Unpacked(), [(4, 16, 12)]),
        (Permuted(), [(4, 64, 5)]),
        (Pair(), [(4, 16), (4, 16)]),
        (Joined(), [(4, 6), (4, 6)]),
        (Flow(), [(4, 3, 224, 224), (4, 3, 224, 224)]),
        (Timed(), [(4, 3, 224, 224), (4, 1)]),
        (Masked(), [(4, 16), (4, 16)]),
        (Packed(), [(4, 16), (4,)]),
        (KeywordOnly(), [(4, 16)]),
        (OwnWeights(), [(4, 7)]),
        (Blocks(), [(4, 9)]),
        (LateMade(), [(4, 3, 224, 224)]),
        (Patches(), [(4, 3, 48, 48)]),
        (Clip(), [(4, 3, 224, 224), (4, 21)]),
        (Optional(), [(4, 6)]),
        (nn.ConvTranspose2d(16, 8, 4), [(4, 16, 1, 1)]),
        (nn.Bilinear(3, 5, 2), [(4, 3), (4, 5)]),
        (nn.GRU(5, 4), [(16, 4, 5)]),
        (nn.GRUCell(5, 4), [(4, 5)]),
        (nn.Transformer(16, 2, 1, 1, 32, batch_first=True), [(4, 16, 16), (4, 16, 16)]),
        (nn.MultiheadAttention(8, 2, batch_first=True), [(4, 16, 8)] * 3),
        (nn.Sequential(nn.Flatten(), nn.Linear(48, 2)), [(4, 48)]),
        (nn.Sequential(nn.ZeroPad2d(1), nn.Conv2d(2, 3, 3)), [(4, 2, 224, 224)]),
        (nn.Sequential(nn.GroupNorm(2, 4), nn.Conv2d(4, 3, 3)), [(4, 4, 224, 224)]),
        (nn.Sequential(nn.Conv3d(1, 2, 3)), [(4, 1, 32, 32, 32)]),
        (nn.Sequential(nn.BatchNorm1d(6), nn.Linear(6, 2)), [(4, 6)]),
    ],
    ids=lambda value: type(value).__name__ if isinstance(value, nn.Module) else "",
)
def test_the_first_guess_fits(model: nn.Module, expected: list[tuple[int, ...]]) -> None:
    """A model that says nothing of its inputs runs, in both modes, on the first tensors that are guessed for it."""
    assert shapes(first(model)) == expected


class Pyramid(nn.Module):
    """Collects the maps of some of its stages, in a way that reading its source does not follow."""

    def __init__(self) -> None:
        super().__init__()
        self.stages = nn.Sequential(nn.Conv2d(3, 8, 3, padding=1), nn.Conv2d(8, 8, 3, padding=1))
        self.wanted = [0, len(self.stages) - 1]
        self.head = nn.Conv2d(8, 2, 1)

    def forward(self, x: Tensor) -> Tensor:
        maps = [x]
        for index, stage in enumerate(self.stages):
            x = stage(x)
            if index in self.wanted:
                maps.append(x)
            if len(maps) > 5:
                break
        return self.head(maps[-1])


def test_where_the_source_misleads_the_first_layer_is_tried_too() -> None:
    """An argument that seems to meet a later layer is also made as the first layer takes it."""
    assert accepted(Pyramid(), within=30).args[0].shape[1] == 3


def test_a_waveform_is_found() -> None:
    """A stem of one channel takes a long signal."""
    assert shapes(accepted(Waveform()))[0][:2] == (4, 1)


def test_a_required_state_is_a_pair() -> None:
    """An LSTM that must be handed its state gets both halves, shaped for its layers."""
    x, (h, c) = first(Stateful()).args
    assert x.shape == (16, 4, 6) and h.shape == c.shape == (1, 4, 5)


def test_a_dict_is_filled_with_what_forward_asks_of_it() -> None:
    """The keys that forward reads become the entries, each drawn for the layer that it meets."""
    (batch,) = first(Keyed()).args
    assert {key: tuple(each.shape) for key, each in batch.items()} == {"image": (4, 3, 224, 224), "caption": (4, 16)}
    assert not batch["caption"].is_floating_point()


@pytest.mark.parametrize(("model", "widths"), [(Views(), [5, 9]), (Levels(), [4, 8, 16])], ids=["loop", "items"])
def test_an_argument_zipped_with_layers_is_a_list(model: nn.Module, widths: list[int]) -> None:
    """Where forward takes items of an argument with one layer each, the argument has an item for each layer."""
    (items,) = first(model).args
    assert [each.shape[1] for each in items] == widths


def test_two_id_arguments_keep_their_own_vocabularies() -> None:
    """Ids stay below the size of the embedding that they are looked up in."""
    users, items = first(Pair()).args
    assert users.max() < 7 <= items.max() < 90


def test_padding_is_not_drawn() -> None:
    """A padding index is left out of the ids, and masks hide nothing."""
    tokens, mask = first(Masked()).args
    assert (tokens != 0).all() and (mask == 1).all()


def test_ids_of_a_small_vocabulary_remain_valid() -> None:
    """Where every id is to be avoided, valid ids are drawn all the same."""
    assert set(ids((50,), 2, {0}).tolist()) == {1}
    assert set(ids((50,), 1, {0}).tolist()) == {0}


@pytest.mark.parametrize(("build", "count"), [(nn.LazyLinear, 2), (nn.LazyConv2d, 4)], ids=["linear", "convolution"])
def test_a_lazy_layer_takes_some_width(build: Callable[..., nn.Module], count: int) -> None:
    """A lazy first layer gets a width of our choice."""
    model = build(4, kernel_size=3) if build is nn.LazyConv2d else build(4)
    assert len(shapes(first(model))[0]) == count


def test_the_models_own_precision_is_used() -> None:
    """Guessed signals take the dtype of the parameters; ids stay integers."""
    assert first(nn.Linear(4, 2).double()).args[0].dtype == torch.float64
    assert next(candidates(nn.Linear(4, 2).to(torch.bfloat16))).args[0].dtype == torch.bfloat16
    assert first(nn.Embedding(9, 2).half()).args[0].dtype == torch.int64


def test_a_guess_never_takes_gigabytes() -> None:
    """What would not fit is not drawn, and such a candidate is left out."""
    with pytest.raises(TooLarge):
        Spec((None, 50_000, 50_000)).drawn(4)
    assert [*candidates(nn.Linear(10**9, 1, device="meta"))] == []


def test_following_reads_branches_methods_and_shapes() -> None:
    """What an argument meets is found through other methods, both branches of an `if`, and comprehensions."""

    class Winding(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.table, self.layers = nn.Embedding(9, 4), nn.ModuleList([nn.Linear(3, 3)])
            self.fast = False

        def embed(self, tokens: Tensor) -> Tensor:
            return self.table(tokens.long())

        def forward(self, tokens: Tensor, extra: Tensor | None = None) -> Any:
            if self.fast:
                return self.layers[0](tokens)
            if extra is not None:
                extra = torch.stack([layer(extra) for layer in self.layers])
            return self.embed(tokens), extra

    model = Winding()
    met = {root: meeting.layer for root, meeting in follow(model).meetings.items()}
    assert met == {("tokens",): model.table, ("extra",): model.layers[0]}


@dataclasses.dataclass
class Batch:
    x: Tensor
    name: str
    more: list[Tensor]


def test_tensors_in_objects_are_copied_too() -> None:
    """A dataclass of tensors is copied with its tensors, and so is an object that holds none: a forward may write."""
    batch = Batch(torch.ones(2), "name", [torch.zeros(1)])
    twin = moved(batch)
    twin.x.add_(1)
    twin.more[0].add_(1)
    assert batch.x.eq(1).all() and batch.more[0].eq(0).all() and twin.name == "name"
    nothing = SimpleNamespace(name="plain")
    assert moved(nothing) == nothing and moved(nothing) is not nothing


def test_packed_sequences_are_moved() -> None:
    """A packed sequence stays one, its values new."""
    packed = nn.utils.rnn.pack_sequence([torch.ones(3, 2), torch.ones(1, 2)])
    twin = moved(packed)
    assert type(twin) is type(packed) and twin.data is not packed.data and twin.data.equal(packed.data)


def test_inputs_elsewhere_are_told() -> None:
    """That inputs are on another device than the model is said with both devices; otherwise nothing is."""
    model = nn.Linear(2, 2)
    assert elsewhere(model, Inputs((torch.ones(1, 2, device="meta"),))) == (
        "the inputs are on meta, the model is on cpu"
    )
    assert elsewhere(model, Inputs((torch.ones(1, 2),))) == "" == elsewhere(model, None)


def test_given_shapes_get_valid_values() -> None:
    """Integer inputs of a given shape are ids that the layer behind them takes; flags are set; signals are smooth."""
    model = Pair()
    assert drawn_for(model, "item", (2, 50), "int64").max() < 90
    assert drawn_for(model, 0, (2, 50), "int32").max() < 7
    assert drawn_for(model, "flag", (3,), "bool").all()
    assert drawn_for(model, "x", (2, 3), "float16").dtype == torch.float16
