"""Random models: a drawn tree of parts, sound ones and ones with a dropout planted that ignores the mode.

Every part is an ordinary module that maps (16, 8) to (16, 8) and lets its input through, so that whatever is planted
reaches the outputs unless the part around it says otherwise. What is planted stands on a line marked `# planted`.
Rates and sizes are such that two random masks agree by chance less than once in a million.
"""

from __future__ import annotations

import ast
import copy
import dataclasses
import functools
import random
import threading
import warnings
from collections import namedtuple
from collections.abc import Iterator
from pathlib import Path

import numpy
import torch
import torch.nn.functional as F
import torch.utils.checkpoint
from hypothesis import strategies as st
from torch import nn

ROWS, WIDTH, RATES = 16, 8, (0.25, 0.4, 0.5)


class Part(nn.Module):
    """A part with the parts within. `hides` numbers those whose planted dropouts need not reach an output."""

    arity = 0
    hides: tuple[int, ...] = ()

    def __init__(self, rate: float, parts: tuple[nn.Module, ...]) -> None:
        super().__init__()
        self.p = rate
        self.build(parts)

    def build(self, parts):
        pass


# Sound leaves: layers, and dropout gated in the ways people write it.


class Dense(Part):
    def build(self, parts):
        self.layer = nn.Linear(WIDTH, WIDTH)

    def forward(self, x):
        return torch.tanh(self.layer(x))


class Normed(Part):
    def build(self, parts):
        self.norm = nn.LayerNorm(WIDTH)

    def forward(self, x):
        return F.gelu(self.norm(x)) + x


class BatchNormed(Part):
    def build(self, parts):
        self.norm = nn.BatchNorm1d(WIDTH)

    def forward(self, x):
        return self.norm(x)


class Recurrent(Part):
    def build(self, parts):
        self.rnn = nn.GRU(WIDTH, WIDTH, num_layers=2, dropout=self.p, batch_first=True)

    def forward(self, x):
        return x + self.rnn(x[:, None])[0][:, 0]


class Attention(Part):
    def build(self, parts):
        self.attention = nn.MultiheadAttention(WIDTH, 2, dropout=self.p, batch_first=True)

    def forward(self, x):
        tokens = x.view(4, 4, WIDTH)
        return (tokens + self.attention(tokens, tokens, tokens)[0]).reshape(ROWS, WIDTH)


class Encoder(Part):
    def build(self, parts):
        self.layer = nn.TransformerEncoderLayer(WIDTH, 2, 8, self.p, batch_first=True)

    def forward(self, x):
        return self.layer(x.view(4, 4, WIDTH)).reshape(ROWS, WIDTH)


class Dropped(Part):
    def build(self, parts):
        self.drop = nn.Dropout(self.p)

    def forward(self, x):
        return self.drop(x)


class DroppedChannels(Part):
    def build(self, parts):
        self.drop = nn.Dropout2d(self.p)

    def forward(self, x):
        return self.drop(x[..., None, None])[..., 0, 0]


class DroppedAlpha(Part):
    def build(self, parts):
        self.drop = nn.Sequential(nn.AlphaDropout(self.p), nn.FeatureAlphaDropout(self.p))

    def forward(self, x):
        return self.drop(x)


class Argument(Part):
    def forward(self, x):
        return F.dropout(x, self.p, self.training)


class InPlace(Part):
    def forward(self, x):
        return F.dropout(x.clone(), self.p, training=self.training, inplace=True)


class LocalVariable(Part):
    def forward(self, x):
        active = bool(self.training)
        return F.dropout1d(x[..., None], self.p, active)[..., 0]


class Arithmetic(Part):
    def forward(self, x):
        return F.dropout(x, self.p * self.training)


class Condition(Part):
    def forward(self, x):
        if self.training:
            x = F.dropout(x, self.p)
        return x


class EarlyReturn(Part):
    def forward(self, x):
        if not self.training:
            return x
        return x * torch.bernoulli(torch.full_like(x, 1 - self.p)) / (1 - self.p)


class HelperMethod(Part):
    def forward(self, x):
        return self.dropped(x, self.training)

    def dropped(self, x, training):
        return F.dropout(x, self.p, training)


class Bound(Part):
    def build(self, parts):
        self.drop = functools.partial(F.dropout, p=self.p)

    def forward(self, x):
        return self.drop(x, training=self.training)


class ChildMode(Part):
    def build(self, parts):
        self.drop = nn.Dropout(self.p)

    def forward(self, x):
        return F.feature_alpha_dropout(x[..., None], self.drop.p, self.drop.training)[..., 0]


class GatedRate(Part):
    def forward(self, x):
        q = x.view(4, 4, WIDTH)
        out = F.scaled_dot_product_attention(q, q, q, dropout_p=self.p if self.training else 0.0)
        return (q + out).view(ROWS, WIDTH)


class GatedNoise(Part):
    def forward(self, x):
        return x + self.p * torch.randn_like(x) * float(self.training)


class NoRate(Part):
    def forward(self, x):
        return nn.Dropout(self.p if self.training else 0.0)(x)


# The same, ignoring the mode.


class PlantedDefault(Part):
    def forward(self, x):
        return F.dropout(x, self.p)  # planted


class PlantedTrue(Part):
    def forward(self, x):
        return F.dropout(x, p=self.p, training=True)  # planted


class PlantedInPlace(Part):
    def forward(self, x):
        x = x.clone()
        F.dropout(x, self.p, True, True)  # planted
        return x


class PlantedLayer(Part):
    def forward(self, x):
        return nn.Dropout(self.p)(x)  # planted


class PlantedList(Part):
    def build(self, parts):
        self.drops = [nn.Dropout(self.p)]

    def forward(self, x):
        return self.drops[0](x)  # planted


class PlantedAttention(Part):
    def forward(self, x):
        q = x.view(4, 4, WIDTH)
        out = F.scaled_dot_product_attention(q, q, q, dropout_p=self.p)  # planted
        return (q + out).view(ROWS, WIDTH)


class PlantedChannels(Part):
    def forward(self, x):
        return F.dropout2d(x[..., None, None], self.p)[..., 0, 0]  # planted


class PlantedAlpha(Part):
    def forward(self, x):
        return F.alpha_dropout(x, self.p, True)  # planted


class PlantedTorch(Part):
    def forward(self, x):
        return torch.dropout(x, self.p, train=True)  # planted


# What holds other parts.


class Chain(Part):
    arity = 2

    def build(self, parts):
        self.body = nn.Sequential(*parts)

    def forward(self, x):
        return self.body(x)


class Listed(Part):
    arity = 2

    def build(self, parts):
        self.layers = nn.ModuleList(parts)

    def forward(self, x):
        for layer in self.layers:
            x = layer(x)
        return x


class Keyed(Part):
    arity = 2

    def build(self, parts):
        self.layers = nn.ModuleDict({f"part{number}": part for number, part in enumerate(parts)})

    def forward(self, x):
        return self.layers["part1"](self.layers["part0"](x))


class Residual(Part):
    arity = 1

    def build(self, parts):
        (self.inner,) = parts

    def forward(self, x):
        return x + self.inner(x)


class Joined(Part):
    arity = 2

    def build(self, parts):
        self.left, self.right = parts
        self.merge = nn.Linear(2 * WIDTH, WIDTH)

    def forward(self, x):
        return self.merge(torch.cat([self.left(x), self.right(x)], dim=1))


class Reused(Part):
    arity = 1

    def build(self, parts):
        (self.inner,) = parts
        self.again = self.inner

    def forward(self, x):
        return self.again(torch.tanh(self.inner(x)))


class Tied(Part):
    arity = 1

    def build(self, parts):
        (self.inner,) = parts
        self.first, self.second = nn.Linear(WIDTH, WIDTH), nn.Linear(WIDTH, WIDTH)
        self.second.weight = self.first.weight

    def forward(self, x):
        return F.linear(self.inner(self.first(x)), self.second.weight.t()) + x


class Views(Part):
    arity = 1

    def build(self, parts):
        (self.inner,) = parts

    def forward(self, x):
        left, right = self.inner(x).t().contiguous().t().chunk(2, dim=1)
        return torch.stack([right, left], 1).view(ROWS, WIDTH)


class Written(Part):
    arity = 1

    def build(self, parts):
        (self.inner,) = parts

    def forward(self, x):
        out = torch.zeros_like(x)
        out[:, :4] = self.inner(x)[:, :4]
        out[:, 4:].copy_(x[:, 4:])
        return out.add_(0.5).mul_(2.0)


class Cached(Part):
    arity = 1

    def build(self, parts):
        (self.inner,) = parts
        self.cache = {}

    def forward(self, x):
        if "scale" not in self.cache:
            self.cache["scale"] = torch.ones(WIDTH) * 0.5
        return self.inner(x) * self.cache["scale"]


class Checkpointed(Part):
    arity = 1

    def build(self, parts):
        (self.inner,) = parts

    def forward(self, x):
        return torch.utils.checkpoint.checkpoint(self.inner, x, use_reentrant=False)


class WithoutGradient(Part):
    arity = 1

    def build(self, parts):
        (self.inner,) = parts

    def forward(self, x):
        with torch.no_grad():
            y = self.inner(x)
        return x + y.detach()


class ModeBranch(Part):
    arity = 2
    hides = (0,)

    def build(self, parts):
        self.teaching, self.serving = parts

    def forward(self, x):
        if self.training:
            return self.teaching(x)
        return self.serving(x)


class DataBranch(Part):
    arity = 2
    hides = (0, 1)

    def build(self, parts):
        self.high, self.low = parts

    def forward(self, x):
        return self.high(x) if x.sum() > 0 else self.low(x)


class Discarded(Part):
    arity = 1
    hides = (0,)

    def build(self, parts):
        (self.inner,) = parts

    def forward(self, x):
        self.inner(x)
        return x


class Erased(Part):
    arity = 1
    hides = (0,)

    def build(self, parts):
        (self.inner,) = parts

    def forward(self, x):
        return x + self.inner(x) * 0.0


class Unused(Part):
    arity = 1
    hides = (0,)

    def build(self, parts):
        (self.inner,) = parts

    def forward(self, x):
        return x


def _kinds() -> dict[str, type[Part]]:
    return {kind.__name__: kind for kind in Part.__subclasses__()}


KINDS = _kinds()
PLANTED = sorted(name for name in KINDS if name.startswith("Planted"))
LEAVES = sorted(name for name, kind in KINDS.items() if not kind.arity and name not in PLANTED)
HOLDERS = sorted(name for name, kind in KINDS.items() if kind.arity)
QUIRKS = tuple(
    "arity raises exits recursion nothing weights buffer flags evaluates hooks prints seeds dtype gradients uncopyable"
    " unlockable children attributes".split()
)
HALTING = ("arity", "raises", "exits", "recursion", "nothing")
"""Quirks with which nothing can be found."""


def _marked_lines() -> dict[str, int]:
    text = Path(__file__).read_text(encoding="utf-8")
    lines = text.splitlines()
    return {
        node.name: next(at for at in range(node.lineno, node.end_lineno + 1) if lines[at - 1].endswith("# planted"))
        for node in ast.parse(text).body
        if isinstance(node, ast.ClassDef) and node.name in PLANTED
    }


LINES = _marked_lines()
"""The line of each planted dropout, by its class."""


@dataclasses.dataclass(frozen=True)
class Spec:
    """What a part is made of."""

    kind: str
    rate: float = 0.5
    parts: tuple[Spec, ...] = ()

    def built(self) -> Part:
        return KINDS[self.kind](self.rate, tuple(part.built() for part in self.parts))

    def planted(self, reaches: bool = True) -> Iterator[tuple[int, bool]]:
        """The lines of what is planted, and whether it is certain to reach an output in eval mode."""
        if self.kind in LINES:
            yield LINES[self.kind], reaches
        for number, part in enumerate(self.parts):
            yield from part.planted(reaches and number not in KINDS[self.kind].hides)

    def with_planted(self, at: int, kind: str) -> Spec:
        """The tree with its `at`-th leaf, counted round and round, followed by a planted dropout."""
        paths = [*self.leaves()]
        return self._with(paths[at % len(paths)], kind)

    def leaves(self) -> Iterator[tuple[int, ...]]:
        for number, part in enumerate(self.parts):
            yield from ((number, *path) for path in part.leaves())
        if not self.parts:
            yield ()

    def _with(self, path: tuple[int, ...], kind: str) -> Spec:
        if not path:
            return Spec("Chain", self.rate, (self, Spec(kind, self.rate)))
        parts = [*self.parts]
        parts[path[0]] = parts[path[0]]._with(path[1:], kind)
        return dataclasses.replace(self, parts=tuple(parts))


# The whole model: how inputs come in, how outputs go out, and what it does to itself meanwhile.

Pair = namedtuple("Pair", "x scale")


@dataclasses.dataclass
class Batch:
    x: torch.Tensor
    name: str = "batch"


@dataclasses.dataclass
class Answer:
    logits: torch.Tensor
    extra: object = None
    rest: tuple[object, ...] = ()


class Slotted:
    __slots__ = ("empty", "logits", "unset")

    def __init__(self, logits):
        self.logits, self.empty = logits, None


class Whole(nn.Module):
    """The body, two heads, an output structure and a quirk."""

    def __init__(self, body, heads, output, quirk):
        super().__init__()
        self.body, self.output, self.quirk = body, output, quirk
        self.heads = nn.ModuleList(heads)
        self.neck = nn.Linear(WIDTH, WIDTH)
        self.register_buffer("steps", torch.zeros((), dtype=torch.long))
        self.log = []
        if quirk == "unlockable":
            self.lock = threading.Lock()

    def __deepcopy__(self, memo):
        if self.quirk == "uncopyable":
            raise TypeError("not to be copied")
        twin = copy.copy(self)
        memo[id(self)] = twin
        twin.__dict__.update((name, copy.deepcopy(value, memo)) for name, value in vars(self).items())
        return twin

    def run(self, x):
        self.disturb(x)
        y = self.neck(self.body(x))
        if self.quirk == "nothing":
            return None
        first, second = (head(y) for head in self.heads)
        return {
            "tensor": lambda: first + second,
            "dict": lambda: {"logits": first, "more": [second, None], "count": 3},
            "nested": lambda: (first, (None, [second, {"a": x}])),
            "data": lambda: Answer(first, None, (second, 1)),
            "slots": lambda: Slotted(first * second),
            "input": lambda: (x, first, second),
        }[self.output]()

    def disturb(self, x):
        match self.quirk:
            case "raises":
                raise ValueError("as planned")
            case "exits":
                raise SystemExit(3)
            case "recursion":
                self.run(x)
            case "weights":
                with torch.no_grad():
                    self.neck.weight.mul_(1.01)
                self.neck.bias.grad = torch.ones(WIDTH)
            case "buffer":
                self.steps += 1
            case "flags":
                self.heads[0].eval()
            case "evaluates":
                self.eval()
            case "hooks":
                self.neck.register_forward_hook(lambda module, args, output: None)
            case "prints":
                print("running")
                warnings.warn("running", stacklevel=2)
            case "seeds":
                torch.manual_seed(0)
                random.seed(0)
                numpy.random.seed(0)
            case "dtype":
                torch.set_default_dtype(torch.float64)
            case "gradients":
                torch.set_grad_enabled(False)
            case "children":
                self.neck = copy.deepcopy(self.neck)
            case "attributes":
                self.log.append(x)
                self.last = x.detach()


class OfTensor(Whole):
    def forward(self, x):
        return self.run(x)


class OfDict(Whole):
    def forward(self, batch):
        return self.run(batch["x"])


class OfPair(Whole):
    def forward(self, pair):
        x, scale = pair
        return self.run(x * scale)


class OfBatch(Whole):
    def forward(self, batch):
        return self.run(batch.x)


class OfKeywords(Whole):
    def forward(self, *, x, scale=1.0, unused=None):
        return self.run(x * scale)


class OfIds(Whole):
    def __init__(self, *args):
        super().__init__(*args)
        self.embed = nn.Embedding(50, WIDTH)

    def forward(self, ids, mask=None):
        x = self.embed(ids)
        if mask is not None:
            x = x * mask[:, None]
        return self.run(x)


def inputs_of(entry: str) -> tuple[tuple[object, ...], dict[str, object]]:
    """Inputs for a kind of model."""
    x = torch.randn(ROWS, WIDTH, generator=torch.Generator().manual_seed(0))
    return {
        "OfTensor": ((x,), {}),
        "OfDict": (({"x": x, "name": "a"},), {}),
        "OfPair": ((Pair(x, 2.0),), {}),
        "OfBatch": ((Batch(x),), {}),
        "OfKeywords": ((), {"x": x}),
        "OfIds": ((torch.arange(ROWS),), {"mask": torch.ones(ROWS)}),
    }[entry]


ENTRIES = {kind.__name__: kind for kind in Whole.__subclasses__()}
OUTPUTS = ("tensor", "dict", "nested", "data", "slots", "input")


@dataclasses.dataclass(frozen=True)
class ModelSpec:
    """What a whole model is made of; `quirk` is empty for one without."""

    body: Spec
    heads: tuple[Spec, Spec]
    entry: str = "OfTensor"
    output: str = "tensor"
    quirk: str = ""

    def built(self) -> Whole:
        """The model, the same for the same spec."""
        with torch.random.fork_rng():
            torch.manual_seed(0)
            heads = [head.built() for head in self.heads]
            return ENTRIES[self.entry](self.body.built(), heads, self.output, self.quirk)

    def inputs(self) -> tuple[tuple[object, ...], dict[str, object]]:
        args, kwargs = inputs_of(self.entry)
        return ((*args, None, None), kwargs) if self.quirk == "arity" else (args, kwargs)

    @property
    def planted(self) -> tuple[set[int], set[int]]:
        """The lines of what is planted: those that must be found, and all."""
        found = [pair for part in (self.body, *self.heads) for pair in part.planted(self.quirk not in HALTING)]
        return {line for line, reaches in found if reaches}, {line for line, _ in found}


def leaves() -> st.SearchStrategy[Spec]:
    """Sound parts that hold no others."""
    return st.builds(Spec, st.sampled_from(LEAVES), st.sampled_from(RATES))


def trees() -> st.SearchStrategy[Spec]:
    """Sound parts within parts."""

    def held(inner: st.SearchStrategy[Spec]) -> st.SearchStrategy[Spec]:
        def of(kind: str) -> st.SearchStrategy[Spec]:
            inside = st.tuples(*[inner] * KINDS[kind].arity)
            return st.builds(Spec, st.just(kind), st.sampled_from(RATES), inside)

        return st.sampled_from(HOLDERS).flatmap(of)

    return st.recursive(leaves(), held, max_leaves=4)


@st.composite
def models(draw: st.DrawFn) -> ModelSpec:
    """Models: half of them sound, the others with one or two dropouts planted; a third with a quirk."""
    parts = [draw(trees()), draw(leaves()), draw(leaves())]
    for _ in range(draw(st.sampled_from([0, 0, 1, 2]))):
        where = draw(st.sampled_from([0, 0, 1, 2]))
        parts[where] = parts[where].with_planted(draw(st.integers(0, 7)), draw(st.sampled_from(PLANTED)))
    quirk = draw(st.sampled_from(QUIRKS)) if draw(st.sampled_from([False, False, True])) else ""
    entry, output = draw(st.sampled_from(sorted(ENTRIES))), draw(st.sampled_from(OUTPUTS))
    return ModelSpec(parts[0], (parts[1], parts[2]), entry, output, quirk)
