"""Dataclasses whose methods are not compiled at import: they behave as those of the standard library."""

from __future__ import annotations

import copy
import dataclasses
import pickle
import sys
from collections.abc import Callable
from dataclasses import FrozenInstanceError, asdict, field, fields, replace
from typing import Any, ClassVar

import pytest

from regcheck.lazy_dataclass import dataclass, lazy_dataclass


def point(dataclass: Callable[..., Any], **settings: bool) -> Any:
    """A class with every kind of field that the package uses."""

    @dataclass(**settings)
    class Point:
        count: ClassVar[int] = 0

        x: float
        y: float = 0.0
        tags: list[str] = field(default_factory=list, compare=False)
        name: str = field(default="", kw_only=True, repr=False)

        def __post_init__(self) -> None:
            object.__setattr__(self, "x", abs(self.x))

    return Point


def pair(dataclass: Callable[..., Any], **settings: bool) -> Any:
    """A class whose fields are not read as it is defined."""

    @dataclass(**settings)
    class Pair:
        first: int
        second: str = "b"

    return Pair


SETTINGS = [
    {"frozen": frozen, "slots": slots, "eq": eq}
    for frozen in (False, True)
    for slots in (False, True)
    for eq in (False, True)
]


def outcome(act: Callable[[], object]) -> object:
    try:
        return act()
    except (TypeError, AttributeError) as error:
        return type(error)


@pytest.mark.parametrize("settings", SETTINGS, ids=str)
def test_a_class_acts_as_one_of_the_standard_library(settings: dict[str, bool]) -> None:
    """Construction, representation, comparison, hash, matching and replacement give the same, with any arguments."""

    def behaviour(cls: Any) -> list[object]:
        first, second = cls(-1, 2.0, name="p"), cls(1, y=2.0, tags=["t"], name="p")
        match first:
            case cls(x, y):
                matched = x, y
        return [
            repr(second).rpartition(".")[2],
            asdict(first),
            matched,
            [each.name for each in fields(cls)],
            (first == second, first == cls(3), first == (1, 2.0), first != second, hasattr(first, "__dict__")),
            outcome(lambda: len({first, second})),
            outcome(lambda: setattr(first, "y", 5.0)),
            outcome(lambda: delattr(second, "y")),
            asdict(replace(first, y=7.0)),
            cls(1).tags is cls(1).tags,
            *(outcome(call) for call in (cls, lambda: cls(1, 2, [], "p"), lambda: cls(1, z=2), lambda: cls(1, x=1))),
        ]

    assert behaviour(point(lazy_dataclass, **settings)) == behaviour(point(dataclasses.dataclass, **settings))


@pytest.mark.parametrize("settings", [{"frozen": True}, {"frozen": True, "order": True}, {"slots": True}, {}], ids=str)
@pytest.mark.parametrize(
    "use",
    [
        dataclasses.is_dataclass,
        lambda cls: [each.name for each in fields(cls)],
        lambda cls: cls.__match_args__,
        lambda cls: cls.__dataclass_params__.frozen,
        lambda cls: (cls(1), cls(1) == cls(2), cls(1) == cls(1)),
        lambda cls: (cls(1) < cls(2), cls(1) < cls(1, "a"), cls(2) >= cls(2)),
        lambda cls: hash(cls(1)) == hash(cls(1)),
        lambda cls: cls(1) < 1,
        lambda cls: fields(dataclasses.dataclass(type("Sub", (cls,), {}), frozen=cls.__dataclass_params__.frozen)),
        lambda cls: fields(type("Sub", (cls,), {})(3)),
        lambda cls: replace(cls(1), second="c"),
    ],
)
def test_the_first_use_may_be_any(use: Callable[[Any], object], settings: dict[str, bool]) -> None:
    """Whatever first uses a class finds what the standard library would have put there."""
    lazy, eager = pair(lazy_dataclass, **settings), pair(dataclasses.dataclass, **settings)
    assert repr(outcome(lambda: use(lazy))) == repr(outcome(lambda: use(eager)))


@dataclass(frozen=True)
class Shape:
    """The base of the other classes."""

    name: str


@dataclass(frozen=True, slots=True)
class Circle(Shape):
    """Has slots of its own."""

    radius: float = 1.0


@dataclasses.dataclass(frozen=True)
class Square(Shape):
    """A plugin's class, which the standard library completes."""

    side: float = 1.0


@pytest.mark.parametrize("shape", [Shape("s"), Circle("c", 2.0), Square("q", 3.0)])
def test_instances_are_copied_and_pickled(shape: Shape) -> None:
    """A frozen instance survives a copy and a pickle, with slots and without."""
    assert copy.copy(shape) == copy.deepcopy(shape) == pickle.loads(pickle.dumps(shape)) == shape


def test_frozen_classes_extend_one_another() -> None:
    """A subclass has the fields of its bases, is frozen, and equals no instance of another class."""
    assert repr(Circle("c")) == "Circle(name='c', radius=1.0)"
    assert Circle("c") != Square("c") != Shape("c")
    with pytest.raises(FrozenInstanceError, match="Circle is frozen: cannot change 'name'"):
        Circle("c").name = "d"  # type: ignore[misc]
    with pytest.raises(TypeError, match="non-frozen"):
        dataclasses.dataclass(type("Soft", (Shape,), {}))


def test_methods_of_the_class_itself_stay() -> None:
    """What a class defines is not replaced."""

    @dataclass(frozen=True)
    class Word:
        text: str

        def __eq__(self, other: object) -> bool:
            return isinstance(other, Word) and other.text.lower() == self.text.lower()

        def __hash__(self) -> int:
            return hash(self.text.lower())

        def __repr__(self) -> str:
            return self.text

    assert repr({Word("A"), Word("a"), Word("A")}) == "{A}"


def test_no_method_is_compiled_before_the_first_call() -> None:
    """A class that is not constructed costs no compilation, and one that is costs a single one."""
    lazy = point(lazy_dataclass, frozen=True)
    before = lazy.__init__
    lazy(1)
    compiled = lazy.__init__
    lazy(2)
    assert before is not compiled
    assert lazy.__init__ is compiled


def test_a_class_outlives_its_module(monkeypatch: pytest.MonkeyPatch) -> None:
    """A class is complete though a program has removed its module since, as pytester does with what a run imports."""
    cls = pair(lazy_dataclass)
    monkeypatch.delitem(sys.modules, __name__)
    assert cls(1, 2) == cls(1, 2)
    assert [each.name for each in fields(cls)] == ["first", "second"]
    assert __name__ not in sys.modules
