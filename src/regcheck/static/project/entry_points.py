"""Chooses the functions to interpret as programs."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from itertools import count

from .files import Source
from .names import Project
from .outlines import FileOutline, FunctionOutline


class _Candidate:
    """A function with the file that it is in."""

    def __init__(self, source: Source, outline: FunctionOutline) -> None:
        self.source = source
        self.outline = outline
        self.names = [each for each in (outline.name, outline.owner) if each]
        """The names by which others call it."""


def program_functions(project: Project, outlines: Iterable[FileOutline]) -> Iterator[tuple[Source, FunctionOutline]]:
    """The functions that build models or optimizers and use them, themselves or through scanned functions they call.

    So does a function that needs no arguments and returns what it builds: it gives a model class the rates and parts
    that the project uses. A method counts only if it builds an optimizer, or names a method without calling it: the
    earlier state of its object is not known. A function with an unknown decorator (a registry of model factories, say)
    counts only for its own code. `outlines` are those of all files in which a rule can start.
    """
    models: dict[str, list[Source]] = {}
    functions: list[_Candidate] = []
    sources = {each.path: each for each in project.relevant}
    for file in outlines:
        source = sources[file.path]
        functions += [_Candidate(source, each) for each in file.functions]
        for name in file.models:
            models.setdefault(name, []).append(source)
    calls = _Calls(functions)
    any_call = project.prefilter.any_call
    using = calls.reaching({each for each in functions if any_call or each.outline.has_gradients})
    building = calls.reaching({each for each in functions if each.outline.builds or _names_model(each, models)})
    for one in functions:
        it = one.outline
        if not one.source.analyzed:
            continue
        uses = one in using and one in building and (any_call or it.has_gradients or it.is_plain)
        builds = not it.owner and (uses or it.names_an_op or (one in building and it.is_factory))
        if it.decays or it.names_a_method or builds:
            yield one.source, it
    possible = [each for each in functions if each in using and not (each.source.is_test or each.outline.is_of_module)]
    setting = _Calls(possible).reaching({each for each in possible if each.outline.sets_train_mode}, depth=3)
    yield from _from_callers_on([each for each in possible if each in setting and each.outline.is_plain])


def _from_callers_on(functions: list[_Candidate]) -> Iterator[tuple[Source, FunctionOutline]]:
    """The functions, those first that none of the others calls: they show what they call with its arguments."""
    called = {name for each in functions for name in each.outline.called}
    for each in sorted(functions, key=lambda each: not called.isdisjoint(each.names)):
        yield each.source, each.outline


class _Calls:
    """Which functions call a function of some name."""

    def __init__(self, functions: Iterable[_Candidate]) -> None:
        self._callers: dict[str, list[_Candidate]] = {}
        for each in functions:
            for name in each.outline.called:
                self._callers.setdefault(name, []).append(each)

    def reaching(self, targets: set[_Candidate], depth: int | None = None) -> set[_Candidate]:
        """The known functions, and all that call one of them, or its class, directly or through up to `depth`."""
        reached, latest = set(targets), set(targets)
        for _ in count() if depth is None else range(depth):
            if not latest:
                break
            latest = self._callers_of(latest) - reached
            reached |= latest
        return reached

    def _callers_of(self, targets: Iterable[_Candidate]) -> set[_Candidate]:
        """The functions that call one of the targets: their file defines it, or imports it, its class or its file."""
        files: dict[str, set[Source]] = {}
        words: dict[str, set[str]] = {}
        for each in targets:
            for name in each.names:
                files.setdefault(name, set()).add(each.source)
                if not each.source.is_torch:
                    words.setdefault(name, set()).update((*each.names, each.source.tail))
        return {
            caller
            for name, defining in files.items()
            for caller in self._callers.get(name, ())
            if caller.source in defining or not caller.source.imported_words.isdisjoint(words.get(name, ()))
        }


def _names_model(each: _Candidate, models: dict[str, list[Source]]) -> bool:
    """Whether a function mentions a model class that its file defines, or imports with its file or by its name."""
    return any(
        source is each.source or not (source.is_torch or each.source.imported_words.isdisjoint((name, source.tail)))
        for name in each.outline.models
        for source in models.get(name, ())
    )
