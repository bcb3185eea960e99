"""Chooses the functions to interpret as programs."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from functools import cached_property
from itertools import count

from regcheck.static.interpreter.values import External, Function, Value

from .files import Source
from .names import Project, parameters_of

_GRADIENTS = re.compile(rb"\b(?:no_grad|inference_mode|set_grad_enabled|backward)\b")
_GRADIENT_WORDS = (b"no_grad", b"inference_mode", b"set_grad_enabled", b"backward")
_BUILDING_WORDS = (b"Sequential", b"Transformer", b"MultiheadAttention")
_SETS_TRAIN_MODE = re.compile(rb"\.train\(\s*(?:mode\s*=\s*)?(?:True\s*)?\)")
_DECAY = re.compile(rb"\bweight_decay\b")
_BUILDING = re.compile(rb"\b(?:Sequential|Transformer\w*|MultiheadAttention)\b")
_CALLED = re.compile(rb"\b(?<!def )(?<!class )(\w+)[ \t]*\(")
_WORD = re.compile(rb"\b[A-Za-z_]\w*")
_PLAIN_DECORATORS = (
    "torch.",
    "functools.",
    "contextlib.",
    "typing.",
    "pytest.",
    "hydra.",
    "click.",
    "typer.",
    "builtins.",
)


class _Candidate:
    """A function with the words in its text and the names that it calls."""

    def __init__(self, function: Function) -> None:
        assert not isinstance(function.node, ast.Lambda)
        self.function = function
        self.source = function.source
        self.name = function.node.name.encode()
        self.owner = function.owner.node.name.encode() if function.owner is not None else b""
        self.text = self.source.text_of(function.node)

    @property
    def is_of_module(self) -> bool:
        """Whether this is a method of a model."""
        return self.function.owner is not None and self.function.owner.is_module

    @cached_property
    def called(self) -> frozenset[bytes]:
        return frozenset(_CALLED.findall(self.text)) - {self.name}

    @cached_property
    def words(self) -> frozenset[bytes]:
        return frozenset(_WORD.findall(self.text))


def program_functions(project: Project) -> Iterator[Function]:
    """The functions that build models or optimizers and use them, themselves or through scanned functions they call.

    So does a function that needs no arguments and returns what it builds: it gives a model class the rates and parts
    that the project uses. A method counts only if it builds an optimizer, or names a method without calling it: the
    earlier state of its object is not known. A function with an unknown decorator (a registry of model factories, say)
    counts only for its own code.
    """
    functions = [_Candidate(each) for each in project.functions()]
    models: dict[bytes, list[Source]] = {}
    for each in project.definitions:
        if each.is_module:
            models.setdefault(each.node.name.encode(), []).append(each.source)
    decaying = _matching(functions, _DECAY, b"weight_decay")
    own = set(functions) if project.prefilter.any_call else _matching(functions, _GRADIENTS, *_GRADIENT_WORDS)
    using = _calling(functions, own)
    built = _matching(functions, _BUILDING, *_BUILDING_WORDS)
    building = _calling(functions, {each for each in functions if each in built or _names_model(each, models)})
    for one in functions:
        if not one.source.analyzed:
            continue
        calls = one in using and one in building and (one in own or not _has_unknown_decorator(project, one.function))
        alone = one in built and project.prefilter.names_an_op(one.text)
        builds = not one.owner and (calls or alone or (one in building and is_factory(one.function)))
        if one in decaying or project.prefilter.names_a_method(one.text) or builds:
            yield one.function
    setting = _mode_setting(functions, using)
    chosen = [each for each in functions if each in setting and not _has_unknown_decorator(project, each.function)]
    yield from _from_callers_on(chosen)


def is_factory(function: Function) -> bool:
    """Whether a function needs no arguments and returns the result of a call."""
    node = function.node
    if isinstance(node, ast.Lambda) or node.args.vararg or node.args.kwarg:
        return False
    if any(default is None for _, default in parameters_of(node.args)):
        return False
    last = node.body[-1]
    return isinstance(last, ast.Return) and isinstance(last.value, (ast.Call, ast.Name))


def is_plain(decorator: Value) -> bool:
    """Whether a decorator does not change what a function does to its arguments."""
    return isinstance(decorator, External) and decorator.name.startswith(_PLAIN_DECORATORS)


def _mode_setting(functions: list[_Candidate], using: set[_Candidate]) -> set[_Candidate]:
    """The functions that put a model in train mode and use it, themselves or through few scanned functions they call.

    The models may be unknown: handed in, or built by other packages.
    """
    possible = [each for each in functions if each in using and not (each.source.is_test or each.is_of_module)]
    return _calling(possible, _matching(possible, _SETS_TRAIN_MODE, b".train("), depth=3)


def _from_callers_on(functions: list[_Candidate]) -> Iterator[Function]:
    """The functions, those first that none of the others calls: they show what they call with its arguments."""
    names = {name for each in functions for name in each.called}
    for each in sorted(functions, key=lambda each: each.name in names or each.owner in names):
        yield each.function


def _matching(functions: list[_Candidate], pattern: re.Pattern[bytes], *words: bytes) -> set[_Candidate]:
    """The functions whose text matches a pattern; a match contains one of the words, and most files have none."""
    files = {each for each in {one.source for one in functions} if any(word in each.content for word in words)}
    return {each for each in functions if each.source in files and pattern.search(each.text)}


def _calling(functions: list[_Candidate], known: set[_Candidate], depth: int | None = None) -> set[_Candidate]:
    """The known functions, and all that call one of them, or the class of one, directly or through up to `depth`."""
    reached, latest = set(known), set(known)
    for _ in count() if depth is None else range(depth):
        if not latest:
            break
        targets: dict[bytes, list[_Candidate]] = {}
        for each in latest:
            for name in filter(None, (each.name, each.owner)):
                targets.setdefault(name, []).append(each)
        latest = {
            each
            for each in functions
            if each not in reached
            and any(_is_visible(each, target) for name in each.called & targets.keys() for target in targets[name])
        }
        reached |= latest
    return reached


def _is_visible(caller: _Candidate, target: _Candidate) -> bool:
    """Whether a caller's file defines a function, or imports it, its class or its file."""
    if caller.source is target.source:
        return True
    if target.source.is_torch:
        return False
    names = {target.name, target.owner, target.source.tail_bytes}
    return not names.isdisjoint(caller.source.imported_words)


def _names_model(each: _Candidate, models: dict[bytes, list[Source]]) -> bool:
    """Whether a function mentions a model class."""
    return any(
        source is each.source
        or not (source.is_torch or each.source.imported_words.isdisjoint((name, source.tail_bytes)))
        for name in each.words & models.keys()
        for source in models[name]
    )


def _has_unknown_decorator(project: Project, function: Function) -> bool:
    decorators = [] if isinstance(function.node, ast.Lambda) else function.node.decorator_list
    heads = [each.func if isinstance(each, ast.Call) else each for each in decorators]
    return not all(is_plain(project.resolve(function.source, each)) for each in heads)
