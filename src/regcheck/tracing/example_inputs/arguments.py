"""Values for each argument of a forward, by its name, its annotation and the layer of its first use."""

from __future__ import annotations

import inspect
import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Any

import torch
from torch import nn

from regcheck.lazy_dataclass import dataclass
from regcheck.torch_api.mode_arguments import FLAGS

from . import layer_inputs, sizes
from .argument_flow import FirstUse, ForwardReading, Root
from .call_inputs import Inputs
from .drawing import SAMPLES, Spec, TooLarge, ids, increasing, smooth
from .following import follow

TIMES = re.compile(r"t|ts|times?|time_?steps?|sigmas?|noise_levels?|diffusion_steps?")
LENGTHS = re.compile(r".*len(gth)?s?")
IDS = re.compile(r"(.*_)?(ids?|idx|tokens?|text|words?|src|tgt|source|target|prompt|captions?|sentences?|indices)s?")
IMAGES = re.compile(r"(.*_)?(images?|imgs?|pixel_values|pictures?|frames?|rgb)\d*")
LABELS = re.compile(r"(.*_)?(labels?|targets?|classes|class_labels)|y")
STATES = re.compile(r"h|c|hc|hx|cx|hiddens?|(.*_)?states?|memory|carry")


@dataclass(frozen=True)
class Draw:
    """A function from the number of samples to an argument, and its origin as reports name it."""

    make: Callable[[int], Any]
    origin: str


@dataclass(frozen=True)
class ForwardArgument:
    """An argument of a forward."""

    name: str
    annotation: str = ""
    keyword: bool = False
    required: bool = True


def arguments_of(model: nn.Module) -> list[ForwardArgument] | None:
    """The arguments of a forward; None where its signature does not list them."""
    try:
        parameters = [*inspect.signature(model.forward).parameters.values()]
    except (TypeError, ValueError):
        return None
    gathering = (inspect.Parameter.VAR_POSITIONAL, inspect.Parameter.VAR_KEYWORD)
    arguments = [
        ForwardArgument(each.name, _text(each.annotation), each.kind is each.KEYWORD_ONLY, each.default is each.empty)
        for each in parameters
        if each.kind not in gathering
    ]
    return None if not arguments and any(each.kind in gathering for each in parameters) else arguments


def _text(annotation: Any) -> str:
    if annotation is inspect.Parameter.empty:
        return ""
    return annotation if isinstance(annotation, str) else getattr(annotation, "__name__", "") + str(annotation)


def needed(arguments: Sequence[ForwardArgument]) -> list[ForwardArgument]:
    """The arguments that a forward needs: the required ones, else those that look like tensors."""
    required = [each for each in arguments if each.required]
    if required:
        return required
    named = [each for each in arguments if IDS.fullmatch(each.name) or IMAGES.fullmatch(each.name)]
    return named or [each for each in arguments if "Tensor" in each.annotation or not each.annotation][:1]


def guessed_inputs(model: nn.Module) -> Iterator[Inputs]:
    """Inputs for the arguments that a forward needs, from the layers of their first use."""
    arguments = arguments_of(model)
    if arguments == []:
        yield Inputs(origin="forward takes no arguments")
        return
    chosen = needed(arguments or [ForwardArgument("input")])
    for reading in (
        follow(model),
        ForwardReading(),
    ):  # where the source was misread, the layers' own order may still be right
        options = {each.name: draws(model, each, reading) for each in chosen}
        if any(options.values()):
            yield from combined_draws(
                chosen, {name: options_of_argument or [_nothing()] for name, options_of_argument in options.items()}
            )
        if not _strayed(model, chosen, reading):
            return


def combined_draws(arguments: Sequence[ForwardArgument], options: Mapping[str, Sequence[Draw]]) -> Iterator[Inputs]:
    """Candidates: the first draws of all arguments, the second draws, …; then with fewer samples.

    Where several arguments have several draws, each is also varied alone.
    """
    most = max((len(each) for each in options.values()), default=0)
    several = [name for name, of_argument in options.items() if len(of_argument) > 1]
    alone = [{name: way} for name in several if len(several) > 1 for way in (1, 2)]
    together = [dict.fromkeys(options, way) for way in range(most)]
    tries = [(SAMPLES, each) for each in (*together[:1], *alone, *together[1:])]
    for samples, ways in [*tries, *((1, each) for each in together[:3]), (2, {})]:
        chosen = {name: draws[min(ways.get(name, 0), len(draws) - 1)] for name, draws in options.items()}
        try:
            values = {name: draw.make(samples) for name, draw in chosen.items()}
        except TooLarge:
            continue
        yield as_call(arguments, values, ", ".join(dict.fromkeys(draw.origin for draw in chosen.values())))


def as_call(arguments: Sequence[ForwardArgument], values: Mapping[str, Any], origin: str) -> Inputs:
    """Values by name as inputs: by position up to the first missing argument, then by keyword."""
    args: list[Any] = []
    for each in arguments:
        if each.keyword or each.name not in values:
            break
        args.append(values[each.name])
    by_position = {each.name for each in arguments[: len(args)]}
    return Inputs(tuple(args), {name: each for name, each in values.items() if name not in by_position}, origin)


def draws(model: nn.Module, argument: ForwardArgument, reading: ForwardReading) -> list[Draw]:
    """Draws of an argument, most likely first; empty where nothing is known of it."""
    root = (argument.name,)
    parts = [each for each in reading.keys if each[0] == argument.name]
    if parts:
        return _mapping(model, parts, reading)
    items = [each for each in reading.items if each[0] == argument.name]
    if items:
        return _sequence(model, items, reading)
    meeting = reading.meetings.get(root)
    named = _plain(argument) or _by_name(model, argument.name, meeting)
    if meeting is None and argument.name in FLAGS:
        named = [Draw(lambda samples: FLAGS[argument.name], f"its name ({argument.name})")]
    return named or _by_layer(model, argument, meeting, reading.ranks.get(root))


def drawn_for(model: nn.Module, argument: str | int, shape: tuple[int, ...], dtype: str) -> torch.Tensor:
    """A tensor for an argument of forward, by name or position: smooth values, ids that its layer accepts, or ones.

    Ids without an embedding are 0 and 1, which are valid classes and flags too.
    """
    kind = getattr(torch, dtype)
    if kind is torch.bool:
        return torch.ones(shape, dtype=kind)
    if kind.is_floating_point or kind.is_complex:
        return smooth(shape).to(kind)
    names = [each.name for each in arguments_of(model) or []]
    name = argument if isinstance(argument, str) else names[argument] if argument < len(names) else ""
    meeting = follow(model).meetings.get((name,))
    layer = _first(model, nn.Embedding) if meeting is None else meeting.layer
    if not isinstance(layer, nn.Embedding):
        return ids(shape, 2).to(kind)
    padding = {layer.padding_idx} if layer.padding_idx is not None else set()
    return ids(shape, min(layer.num_embeddings, torch.iinfo(kind).max), padding).to(kind)


def _mapping(model: nn.Module, parts: Iterable[Root], reading: ForwardReading) -> list[Draw]:
    """A dict with the keys that forward reads."""
    entries = {root[1]: _entry(model, root, reading) for root in parts}
    most = max(len(each) for each in entries.values())

    def mapping_at(way: int) -> Callable[[int], Any]:
        return lambda samples: {
            key: options[min(way, len(options) - 1)].make(samples) for key, options in entries.items() if options
        }

    return [Draw(mapping_at(way), f"a dict with {', '.join(map(repr, entries))}") for way in range(most)]


def _sequence(model: nn.Module, items: Iterable[Root], reading: ForwardReading) -> list[Draw]:
    """A list of tensors, one for each layer that forward zips it with."""
    entries = [_by_layer(model, ForwardArgument(root[0]), reading.meetings.get(root), None) for root in items]
    most = max(map(len, entries)) if all(entries) else 0

    def items_at(way: int) -> Callable[[int], Any]:
        return lambda samples: [
            draws_of_item[min(way, len(draws_of_item) - 1)].make(samples) for draws_of_item in entries
        ]

    return [Draw(items_at(way), f"a list of {len(entries)} tensors") for way in range(most)]


def _entry(model: nn.Module, root: Root, reading: ForwardReading) -> list[Draw]:
    meeting = reading.meetings.get(root)
    by_layer = _by_layer(model, ForwardArgument(root[-1]), meeting, reading.ranks.get(root))
    return _by_name(model, root[-1], meeting) or by_layer


def _plain(argument: ForwardArgument) -> list[Draw]:
    """Values of arguments of plain types."""
    plain: dict[str, Any] = {"bool": False, "int": 1, "float": 1.0, "str": ""}
    name = argument.annotation.partition("<")[0].strip()
    return [Draw(lambda samples: plain[name], "annotations")] if name in plain else []


def _by_name(model: nn.Module, name: str, meeting: FirstUse | None) -> list[Draw]:
    """Masks, times, lengths and positions: arguments whose name says more than their layer."""
    layer = None if meeting is None else meeting.layer
    inner = "" if meeting is None else meeting.argument
    length = sizes.lengths(model)[0]
    origin = f"its name ({name})"
    if name.endswith("padding_mask") or inner.endswith("padding_mask"):
        return [Draw(lambda n: torch.zeros(n, length, dtype=torch.bool), origin)]
    if inner in ("attn_mask", "src_mask", "tgt_mask") or name in ("attn_mask", "src_mask", "tgt_mask"):
        return [Draw(lambda n: torch.zeros(length, length), origin)]
    if "mask" in name:
        return _masks(model, length, origin)
    if isinstance(layer, nn.Embedding):
        return []
    if TIMES.fullmatch(name) and not (isinstance(layer, nn.Linear) and (layer.in_features != 1 or name == "t")):
        if isinstance(layer, nn.Linear):
            return [Draw(lambda n: torch.linspace(0.1, 0.9, n).view(n, 1), origin)]
        whole = Draw(lambda n: torch.arange(1, n + 1) * 10, origin)
        return [whole, Draw(lambda n: torch.linspace(0.1, 0.9, n), origin)]
    if LENGTHS.fullmatch(name):
        return [Draw(lambda n: torch.full((n,), length), origin)]
    if "position" in name and name != "positional_encoding":
        return [Draw(lambda n: increasing(n, length), origin)]
    if "token_type" in name or "segment" in name:
        return [Draw(lambda n: torch.zeros(n, length, dtype=torch.long), origin)]
    if meeting is None and LABELS.fullmatch(name) and name != "target":
        return [Draw(lambda n: ids((n,), 2), origin)]
    return []


def _masks(model: nn.Module, length: int, origin: str) -> list[Draw]:
    """Masks that keep everything, for tokens or for images."""
    shapes: list[tuple[int, ...]] = [(length,)]
    convolution = _first(model, nn.Conv2d)
    if convolution is not None and _first(model, nn.Embedding) is None:
        shapes = [(1, *extent) for extent in sizes.extents(model, 2)]
        return [Draw(lambda n, shape=shape: torch.ones(n, *shape), origin) for shape in shapes]  # type: ignore[misc]
    kinds = (torch.long, torch.bool, torch.float32)
    return [Draw(lambda n, kind=kind: torch.ones(n, length, dtype=kind), origin) for kind in kinds]  # type: ignore[misc]


def _by_layer(model: nn.Module, argument: ForwardArgument, meeting: FirstUse | None, rank: int | None) -> list[Draw]:
    """Draws that the layer of the argument's first use accepts; without one, a layer that its name suggests."""
    if meeting is None:
        layer = _suggested(model, argument.name)
        if layer is None:
            return []
        meeting = FirstUse(layer)
    specs = layer_inputs.specs_of(model, meeting, rank)
    what = type(meeting.layer).__name__ if meeting.layer is not None else meeting.function
    path = next((path for path, each in model.named_modules() if each is meeting.layer), "")
    origin = f"shape of {path or ('the model' if meeting.layer is model else 'its weights')} ({what})"
    options = [Draw(spec.drawn, origin) for spec in specs]
    if isinstance(meeting.layer, (nn.LSTM, nn.LSTMCell)) and meeting.argument == "hx":
        return [Draw(lambda n, each=each: (each.make(n), each.make(n)), origin) for each in options]  # type: ignore[misc]
    if re.match(r"(typing\.)?(list|sequence|iterable|tuple)\[(torch\.)?tensor", argument.annotation.lower()):
        return [Draw(lambda n, each=each: [*each.make(n)], origin) for each in options]  # type: ignore[misc]
    return options


def _suggested(model: nn.Module, name: str) -> nn.Module | None:
    """The layer that an argument of that name probably reaches first."""
    if IDS.fullmatch(name) and (embedding := _first(model, nn.Embedding)) is not None:
        return embedding
    if IMAGES.fullmatch(name) and (convolution := _first(model, nn.Conv2d)) is not None:
        return convolution
    if STATES.fullmatch(name) and (recurrent := _first(model, (nn.RNNBase, nn.RNNCellBase))) is not None:
        return recurrent
    return next((each for each in layer_inputs.entrances(model) if layer_inputs.accepted_by(model, each)), None)


def _strayed(model: nn.Module, arguments: Sequence[ForwardArgument], reading: ForwardReading) -> bool:
    """Whether some argument reaches another layer than the one that its name and the layers' order suggest."""
    met = {each.name: reading.meetings.get((each.name,)) for each in arguments}
    return any(each and each.layer is not _suggested(model, name) for name, each in met.items())


def _first(model: nn.Module, kind: Any) -> nn.Module | None:
    return next((each for each in model.modules() if isinstance(each, kind)), None)


def _nothing() -> Draw:
    return Draw(lambda samples: None, "nothing known")


def spec(dims: tuple[int | None, ...], origin: str, below: int | None = None, avoid: Iterable[int] = ()) -> Draw:
    """The draw of a tensor."""
    return Draw(Spec(dims, below, frozenset(avoid)).drawn, origin)
