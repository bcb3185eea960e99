"""Which norms of a model belong to a part of it that is frozen while the rest is trained."""

from __future__ import annotations

from collections.abc import Sequence

from regcheck.lazy_dataclass import dataclass


@dataclass(frozen=True, slots=True)
class OwnedParameters:
    """The parameters that one module of a model registers itself, or a norm that has none.

    Attributes:
        path: the module's dotted path.
        trained: whether an optimizer trains any of them; None where it is unknown.
        is_norm: the module is a norm, so that they are its scale and shift.
        is_empty: the module is a norm without a scale and a shift.
        moves: the module is a norm in train mode, which updates running statistics.
    """

    path: str
    trained: bool | None
    is_norm: bool = False
    is_empty: bool = False
    moves: bool = False

    @property
    def is_frozen(self) -> bool:
        return self.trained is False


def frozen_norms(owners: Sequence[OwnedParameters]) -> tuple[str, ...]:
    """The paths of norms that move although the part of the model that they belong to is frozen.

    `owners` are in the order of registration. A norm belongs to a frozen part if nothing in its top-level part is
    trained, or nothing that is registered before it. So a norm whose scale alone is frozen, behind a layer that is
    trained, does not: its statistics have to follow that layer. A norm without a scale may be the input of the layer
    after it, which must then be frozen too. Nothing is frozen in a model that trains nothing.
    """
    if not any(each.trained for each in owners):
        return ()
    depth = _shared_depth(owners)
    parts: dict[str, list[OwnedParameters]] = {}
    for each in owners:
        parts.setdefault(_part(each, depth), []).append(each)
    frozen = []
    for index, each in enumerate(owners):
        if each.moves and each.is_frozen:
            follower = next((other for other in owners[index + 1 :] if not other.is_norm), None)
            is_input = each.is_empty and (follower is None or not follower.is_frozen)
            if _is_frozen(parts[_part(each, depth)]) or (not is_input and _is_frozen(owners[:index])):
                frozen.append(each.path)
    return tuple(frozen)


def norms_of_frozen_model(owners: Sequence[OwnedParameters]) -> tuple[str, ...]:
    """The paths of norms that move in a model of which nothing is trained, and of which more than norms is known."""
    return tuple([each.path for each in owners if each.moves]) if _is_frozen(owners) else ()


def _is_frozen(owners: Sequence[OwnedParameters]) -> bool:
    """Whether these are frozen, and are more than norms."""
    return all(each.is_frozen for each in owners) and not all(each.is_norm for each in owners)


def _shared_depth(owners: Sequence[OwnedParameters]) -> int:
    """The number of wrappers around the model: the names that all paths begin with."""
    paths = [each.path.split(".") for each in owners]
    shared = 0
    while len({tuple(path[: shared + 1]) for path in paths}) == 1 and len(paths[0]) > shared + 1:
        shared += 1
    return shared


def _part(owner: OwnedParameters, depth: int) -> str:
    return ".".join(owner.path.split(".")[: depth + 1])
