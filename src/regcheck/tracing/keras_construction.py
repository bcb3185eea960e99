"""The lines that construct the layers of a live Keras model.

`Sequential` and functional models run their layers themselves, so no line of the user's code stands on the stack of a
call, and a layer does not know where it was constructed. The source of the imported files does: the order in which a
function constructs layers, with their literal arguments, is compared with the layers of the model.
"""

from __future__ import annotations

import ast
import linecache
import sys
from collections import Counter, defaultdict
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import field
from functools import lru_cache
from itertools import takewhile
from typing import Any
from weakref import WeakKeyDictionary

from torch import nn

from regcheck.files.dotted_name import is_self
from regcheck.files.loaded_modules import file_of
from regcheck.files.place import Place
from regcheck.files.text import text_of
from regcheck.keras_api.layer_tree import has_generated_name, is_layer, named_parts
from regcheck.lazy_dataclass import dataclass
from regcheck.torch_api.keras_names import LAYERS, layer_calls
from regcheck.torch_api.layers import KERAS_LAYERS

from .user_line import is_project_code

_DEEPEST = 4
"""How deep calls of functions of the same file are followed."""
_LEAVING = (ast.Return, ast.Raise, ast.Continue, ast.Break)
_SIMPLE = (bool, int, float, str)
_FUNCTIONS = (ast.FunctionDef, ast.AsyncFunctionDef)
_places: WeakKeyDictionary[nn.Module, dict[int, Place]] = WeakKeyDictionary()


@dataclass(frozen=True, eq=False)
class Construction:
    """One call in source that constructs a layer; a function that several places call has it once for each."""

    place: Place
    layer: str
    literals: Mapping[str, Any]
    is_named: bool
    """Whether the call may set the layer's name."""

    def may_be(self, layer: str, settings: Mapping[str, Any], is_named: bool) -> bool:
        """Whether it may have constructed a layer of this class with these settings."""
        return (
            layer == self.layer
            and self.is_named >= is_named
            and all(_agree(value, settings.get(name)) for name, value in self.literals.items())
        )


@dataclass
class Fragment:
    """The first and the last constructions that a piece of source may have, and whether it may have none."""

    first: list[Construction] = field(default_factory=list)
    last: list[Construction] = field(default_factory=list)
    optional: bool = True


Follow = defaultdict[Construction, set[Construction]]


@dataclass(frozen=True)
class Scope:
    """A function or the top of a file, with the constructions that may follow each other there."""

    fragment: Fragment
    follow: Follow


def places_of(model: nn.Module) -> Mapping[int, Place]:
    """The line that constructs each Keras layer of a model, by the layer's id, without layers of an uncertain line."""
    places = _places.get(model)
    if places is None:
        places = _places[model] = {}
        scopes = [scope for path in _files() for scope in _scopes(path, text_of(path))]
        for _, part in named_parts(model):
            if is_layer(part) and not _public_name(part):
                below = [each for each in getattr(part, "layers", ()) if _public_name(each)]
                places |= _placed(below, scopes)
    return places


def _files() -> Iterator[str]:
    """The files of imported modules that are no libraries', and the cells of a running notebook."""
    paths = map(file_of, [*sys.modules.values()])
    yield from dict.fromkeys(path for path in paths if path is not None and is_project_code(path))
    yield from (path for path in [*linecache.cache] if path.startswith("<ipython-input") or "ipykernel_" in path)


def _public_name(layer: Any) -> str:
    """The name of Keras' own class of a layer in the table; empty for a model and for classes of the user's."""
    cls = type(layer)
    name = f"{LAYERS}.{cls.__name__}"
    return name if cls.__module__.startswith("keras.src.layers.") and name in KERAS_LAYERS else ""


def _placed(layers: Sequence[Any], scopes: Iterable[Scope]) -> dict[int, Place]:
    """The lines of the layers of one container, in their order.

    They are searched as a whole function, then as a part of one, then each on its own.
    """
    described = [(_public_name(each), each.get_config(), not has_generated_name(each)) for each in layers]
    scopes = [*scopes]
    constructions = [each for scope in scopes for each in scope.follow]
    candidates = [{each for each in constructions if each.may_be(*layer)} for layer in described]
    follow = {each: after for scope in scopes for each, after in scope.follow.items()}
    first = {each for scope in scopes for each in scope.fragment.first}
    last = {each for scope in scopes for each in scope.fragment.last}
    aligned = _aligned(candidates, follow, first, last) or _aligned(candidates, follow, follow, follow) or candidates
    places = ({each.place for each in those} for those in aligned)
    return {id(layer): next(iter(those)) for layer, those in zip(layers, places, strict=True) if len(those) == 1}


def _aligned(
    candidates: Sequence[set[Construction]],
    follow: Mapping[Construction, set[Construction]],
    first: Collection[Construction],
    last: Collection[Construction],
) -> list[set[Construction]]:
    """The constructions of each layer on all paths through `follow` that construct one layer after the other."""
    forward: list[set[Construction]] = []
    for those in candidates:
        reached = {each for before in forward[-1] for each in follow[before]} if forward else first
        forward.append(those.intersection(reached))
    backward: list[set[Construction]] = []
    for those in reversed(forward):
        wanted = {each for each in those if follow[each] & backward[-1]} if backward else those.intersection(last)
        backward.append(wanted)
    return backward[::-1] if all(backward) else []


def _agree(literal: Any, setting: Any) -> bool:
    """Whether a literal argument may have set a layer's setting, which Keras may have normalized."""
    if isinstance(setting, (tuple, list)) and isinstance(literal, int):
        return all(each == literal for each in setting)
    if isinstance(literal, tuple):
        return not isinstance(setting, (tuple, list)) or tuple(setting) == literal
    return not isinstance(literal, _SIMPLE) or not isinstance(setting, _SIMPLE) or bool(setting == literal)


@lru_cache(maxsize=256)
def _scopes(path: str, text: str) -> tuple[Scope, ...]:
    """The functions of a file, and its top, that construct layers of Keras."""
    if "keras" not in text:
        return ()
    try:
        tree = ast.parse(text)
    except (SyntaxError, ValueError):
        return ()
    names = dict(layer_calls(tree, lambda _: None))
    functions = [each for each in ast.walk(tree) if isinstance(each, _FUNCTIONS)]
    count = Counter(each.name for each in functions)
    by_name = {each.name: each for each in functions if count[each.name] == 1}
    bodies = [tree.body, *(each.body for each in functions)]
    scopes = []
    for body in bodies if names else ():
        reading = _Reading(path, names, by_name)
        fragment = reading.sequence(body)
        if reading.follow:
            scopes.append(Scope(fragment, reading.follow))
    return tuple(scopes)


class _Reading:
    """Reads one scope in the order in which it runs."""

    def __init__(self, path: str, names: Mapping[ast.Call, str], functions: Mapping[str, ast.stmt]) -> None:
        self.follow: Follow = defaultdict(set)
        self._path, self._names, self._functions = path, names, functions
        self._calling: list[str] = []

    def sequence(self, nodes: Sequence[ast.AST]) -> Fragment:
        """One piece after the other, up to a statement that leaves; nothing follows a branch that leaves."""
        whole = Fragment()
        for at, node in enumerate(nodes):
            if isinstance(node, ast.If) and (_leaves(node.body) or _leaves(node.orelse)):
                after = nodes[at + 1 :]
                branches = [[*each, *after] for each in (node.body, node.orelse) if not _raises(each)]
                return self._then(whole, self._one_of(*map(self.sequence, branches)))
            whole = self._then(whole, self._piece(node))
            if isinstance(node, _LEAVING):
                break
        return whole

    def _then(self, one: Fragment, other: Fragment) -> Fragment:
        for each in one.last:
            self.follow[each].update(other.first)
        return Fragment(
            one.first + other.first if one.optional else one.first,
            one.last + other.last if other.optional else other.last,
            one.optional and other.optional,
        )

    def _one_of(self, *pieces: Fragment) -> Fragment:
        first = [each for piece in pieces for each in piece.first]
        last = [each for piece in pieces for each in piece.last]
        return Fragment(first, last, any(piece.optional for piece in pieces))

    def _repeated(self, piece: Fragment) -> Fragment:
        self._then(piece, piece)
        return Fragment(piece.first, piece.last)

    def _piece(self, node: ast.AST) -> Fragment:
        match node:
            case ast.FunctionDef() | ast.AsyncFunctionDef() | ast.ClassDef() | ast.Lambda():
                return Fragment()
            case ast.For() | ast.AsyncFor():
                return self._then(self._piece(node.iter), self._repeated(self.sequence(node.body)))
            case ast.While():
                return self._repeated(self.sequence(node.body))
            case ast.ListComp() | ast.GeneratorExp() | ast.SetComp():
                return self._repeated(self._piece(node.elt))
            case ast.If():
                return self._one_of(self.sequence(node.body), self.sequence(node.orelse))
            case ast.IfExp():
                return self._one_of(self._piece(node.body), self._piece(node.orelse))
            case ast.Match():
                return self._one_of(*(self.sequence(case.body) for case in node.cases), Fragment())
            case ast.Call():
                return self._call(node)
        return self.sequence([*ast.iter_child_nodes(node)])

    def _call(self, node: ast.Call) -> Fragment:
        if node in self._names:
            place, layer = Place(self._path, node.lineno, node.col_offset + 1), self._names[node]
            construction = Construction(place, layer, *_arguments_of(node, layer))
            self.follow[construction] = set()
            return Fragment([construction], [construction], optional=False)
        before = self.sequence([*node.args, *(each.value for each in node.keywords)])
        return self._then(before, self._then(self._piece(node.func), self._entered(node.func)))

    def _entered(self, function: ast.expr) -> Fragment:
        """The body of a function of this file."""
        called = function.attr if isinstance(function, ast.Attribute) and is_self(function.value) else ""
        name = function.id if isinstance(function, ast.Name) else called
        body: Sequence[ast.stmt] = getattr(self._functions.get(name), "body", ())
        if not body or name in self._calling or len(self._calling) == _DEEPEST:
            return Fragment()
        self._calling.append(name)
        try:
            return self.sequence(body)
        finally:
            self._calling.pop()


def _leaves(body: Sequence[ast.stmt]) -> bool:
    return bool(body) and isinstance(body[-1], _LEAVING)


def _raises(body: Sequence[ast.stmt]) -> bool:
    return bool(body) and isinstance(body[-1], ast.Raise)


def _arguments_of(call: ast.Call, layer: str) -> tuple[dict[str, Any], bool]:
    """The literal arguments of a call by name, and whether it may set a name."""
    arguments = sorted(KERAS_LAYERS[layer].arguments.values())
    positional = takewhile(lambda each: not isinstance(each, ast.Starred), call.args)
    pairs = [(argument.name, value) for argument, value in zip(arguments, positional, strict=False)]
    pairs += [(each.arg, each.value) for each in call.keywords if each.arg]
    literals = {}
    for name, value in pairs:
        with suppress(ValueError, TypeError, SyntaxError):
            literals[name] = ast.literal_eval(value)
    return literals, any(each.arg in (None, "name") for each in call.keywords)
