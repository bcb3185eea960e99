"""What the text of each file says about its functions and classes, from which those to interpret as programs follow.

An outline says as much of a file as the choice of programs needs, so that a file whose outline is in the cache is not
parsed for it.
"""

from __future__ import annotations

import ast
import re
from collections.abc import Iterable, Mapping
from dataclasses import field
from typing import NamedTuple

from regcheck.core.finding import NotChecked
from regcheck.files.escape import encode
from regcheck.lazy_dataclass import dataclass
from regcheck.static.interpreter.values import External, Function, Value

from .files import Source
from .names import Project, parameters_of
from .prefilter import EXPORTS

_GRADIENTS = re.compile(
    rb"\b(?:no_grad|inference_mode|set_grad_enabled|backward)\b|" + b"|".join(map(re.escape, EXPORTS))
)
_BUILDING = re.compile(rb"\b(?:Sequential|Transformer\w*|MultiheadAttention)\b")
_DECAY = re.compile(rb"\bweight_decay\b")
_SETS_TRAIN_MODE = re.compile(rb"\.train\(\s*(?:mode\s*=\s*)?(?:True\s*)?\)")
_WORDS = {
    _GRADIENTS: (b"no_grad", b"inference_mode", b"set_grad_enabled", b"backward", *EXPORTS),
    _BUILDING: (b"Sequential", b"Transformer", b"MultiheadAttention"),
    _DECAY: (b"weight_decay",),
    _SETS_TRAIN_MODE: (b".train(",),
}
"""The words one of which each match contains: most files have none."""
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


class FunctionOutline(NamedTuple):
    """A function at the top of a file, or of a class there, which is its `owner` (else empty).

    Attributes:
        is_of_module: whether it is a method of a model.
        is_factory: see `is_factory`.
        is_plain: whether its decorators do not change what it does to its arguments.
        has_gradients: whether it names a switch of gradients, or a backward pass, or exports a model.
        builds: whether it names a container or block of torch that holds other layers.
        names_an_op: whether it names a call that a rule about models starts from.
        decays: whether it names weight decay.
        names_a_method: whether it names `eval` or `train` without calling it, and a rule starts from that.
        sets_train_mode: whether it calls `train()`.
        called: the names that it calls, but its own.
        models: the names of model classes of the project that it mentions.
    """

    line: int
    column: int
    name: str
    owner: str
    is_of_module: bool
    is_factory: bool
    is_plain: bool
    has_gradients: bool
    builds: bool
    names_an_op: bool
    decays: bool
    names_a_method: bool
    sets_train_mode: bool
    called: tuple[str, ...]
    models: tuple[str, ...]


@dataclass(frozen=True)
class FileOutline:
    """The functions and the model classes of a file.

    Attributes:
        models: the names of its model classes.
        reached: the paths of the files in which their base classes and decorators are looked up.
        unread: the reasons why files could not be parsed, by their paths.
    """

    path: str
    functions: tuple[FunctionOutline, ...] = ()
    models: tuple[str, ...] = ()
    reached: frozenset[str] = frozenset()
    unread: Mapping[str, NotChecked] = field(default_factory=dict)


def outlines_of(
    project: Project, earlier: Mapping[str, FileOutline], known_models: frozenset[str]
) -> list[FileOutline]:
    """The outlines of all files in which a rule can start, in their order.

    Args:
        project: the files.
        earlier: outlines from an earlier analysis that still hold, by path; copied unless the project has a new name of
            a model class and the file mentions it.
        known_models: the names of model classes that those outlines were made with.
    """
    files = {each: earlier.get(each.path) or _Outliner(project, each) for each in project.relevant}
    models = {name for each in files.values() for name in each.models}
    added = [encode(name) for name in models - known_models]
    outlines = []
    for source, file in files.items():
        if isinstance(file, FileOutline) and any(name in source.content for name in added):
            file = _Outliner(project, source)
        outlines.append(file if isinstance(file, FileOutline) else file.outline(models))
    return outlines


class _Outliner:
    """Makes the outline of a file. Nothing that is memoized for other files is used."""

    def __init__(self, project: Project, source: Source) -> None:
        self._project = project.afresh()
        self._source = source
        classes = self._project.definitions_in(source)
        self.models = tuple(dict.fromkeys([each.node.name for each in classes if each.is_module]))

    def outline(self, models: set[str]) -> FileOutline:
        """The outline; `models` are the names of all model classes of the project."""
        patterns = [each for each, words in _WORDS.items() if any(word in self._source.content for word in words)]
        functions = self._project.functions_in(self._source)
        rows = tuple([self._function(each, patterns, models) for each in functions])
        reached = self._project.modules.reached
        unread = {each.path: each.unread for each in (self._source, *reached) if each.unread is not None}
        return FileOutline(self._source.path, rows, self.models, frozenset([each.path for each in reached]), unread)

    def _function(self, function: Function, patterns: Iterable[re.Pattern[bytes]], models: set[str]) -> FunctionOutline:
        node, owner, prefilter = function.node, function.owner, self._project.prefilter
        assert not isinstance(node, ast.Lambda)
        text = self._source.text_of(node)
        matching = {each for each in patterns if each.search(text)}
        return FunctionOutline(
            node.lineno,
            node.col_offset,
            node.name,
            owner.node.name if owner is not None else "",
            is_of_module=owner is not None and owner.is_module,
            is_factory=is_factory(function),
            is_plain=has_plain_decorators(self._project, function),
            has_gradients=_GRADIENTS in matching,
            builds=_BUILDING in matching,
            names_an_op=_BUILDING in matching and prefilter.names_an_op(text),
            decays=_DECAY in matching,
            names_a_method=prefilter.names_a_method(text),
            sets_train_mode=_SETS_TRAIN_MODE in matching,
            called=tuple({each.decode() for each in _CALLED.findall(text)} - {node.name}),
            models=tuple(models.intersection([each.decode() for each in _WORD.findall(text)])),
        )


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


def has_plain_decorators(project: Project, function: Function) -> bool:
    """Whether no decorator of a function changes what it does to its arguments, or what it returns."""
    return isinstance(function.node, ast.Lambda) or all(
        is_plain(project.resolve(function.source, each.func if isinstance(each, ast.Call) else each, function.outer))
        for each in function.node.decorator_list
    )
