"""Lowers the models that programs and constructors build."""

from __future__ import annotations

from collections.abc import Hashable, Iterable
from functools import partial

from regcheck.core.finding import NotChecked
from regcheck.files.place import Place

from .attempts import Attempts
from .interpreter.values import Instance, Module
from .models.forward_cache import ForwardCache
from .models.inspection import identity, likeness, name_of, parts_of
from .models.lowering import graph_of
from .models.scoring_methods import scores_itself
from .project.names import Definition, Project
from .reading import LoweredModel


class ModelLowering:
    """Lowers models, each of several like ones once: those with a likeness in `lowered`, which grows, are left out."""

    def __init__(self, project: Project, attempts: Attempts, lowered: set[str]) -> None:
        self.project = project
        self._attempts = attempts
        self._forwards = ForwardCache()
        self._lowered = lowered

    def lower(self, model: Module, build_functions: set[int]) -> LoweredModel | NotChecked:
        """The model with its graph; without, where a model like it has been lowered.

        `build_functions` are the functions that constructing the model entered, by the ids of their nodes.
        """
        place = model.place or Place("", 1)
        attempt = partial(self._attempts.attempt, name_of(model), place.path, place.line)
        for like in [*attempt(partial(likeness, model))]:
            if like in self._lowered:
                return LoweredModel(like, identity(model), is_lowered=False)
            self._lowered.add(like)
            lower = partial(graph_of, self.project, model, name_of(model), build_functions, self._forwards)
            for graph in [*attempt(lower)]:
                definition = model.definition if graph is not None and isinstance(model, Instance) else None
                scores = isinstance(definition, Definition) and scores_itself(definition)
                return LoweredModel(like, identity(model), graph, scores)
            return LoweredModel(like, identity(model), not_followed=self._attempts.take()[0])
        return self._attempts.take()[0]


def identities_of_parts(models: Iterable[Module]) -> frozenset[Hashable]:
    """The identities of the modules that run in the `forward` of models."""
    return frozenset([identity(each) for owner in models for each in parts_of(owner)])
