"""`dataclass` that compiles no method when a module is imported.

`dataclasses.dataclass` compiles up to eight methods as it defines a class, which takes 0.6 ms, at the start of every
run. Most runs construct few of the classes that they import. This one compiles a class's `__init__` when it is called
first, and none of the other methods.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import MISSING, FrozenInstanceError, fields
from operator import attrgetter
from reprlib import recursive_repr
from typing import TYPE_CHECKING, Any

Class = type[Any]


def lazy_dataclass(
    cls: Class | None = None, /, *, eq: bool = True, frozen: bool = False, slots: bool = False
) -> Class | Callable[[Class], Class]:
    """Makes a class a dataclass, for `fields`, `replace` and static type checkers too.

    Takes the arguments of `dataclasses.dataclass` that this package needs. A frozen instance accepts no attribute.
    """

    def decorate(cls: Class) -> Class:
        with frozen_bases_hidden(cls):
            made = dataclasses.dataclass(init=False, repr=False, eq=False, slots=slots)(cls)
        made.__dataclass_params__.eq, made.__dataclass_params__.frozen = eq, frozen
        methods = {"__init__": first_init(made, frozen), "__repr__": represent}
        if eq:
            methods |= {"__eq__": equality(made)}
        if frozen:
            methods |= {"__setattr__": refuse, "__delattr__": refuse}
        if frozen and slots:
            methods |= {"__getstate__": state_of, "__setstate__": restore}
        for name, method in methods.items():
            if name not in made.__dict__:
                setattr(made, name, method)
        if eq and made.__dict__.get("__hash__") is None:
            setattr(made, "__hash__", hashing(made) if frozen else None)  # noqa: B010 (mypy knows no unhashable class)
        return made

    return decorate if cls is None else decorate(cls)


if TYPE_CHECKING:
    from dataclasses import dataclass as dataclass
else:
    dataclass = lazy_dataclass


@contextmanager
def frozen_bases_hidden(cls: Class) -> Iterator[None]:
    """Let `dataclasses` extend frozen classes by one whose `__setattr__` it does not write."""
    parameters = [vars(each).get("__dataclass_params__") for each in cls.__mro__[1:]]
    frozen = [each for each in parameters if each is not None and each.frozen]
    for each in frozen:
        each.frozen = False
    try:
        yield
    finally:
        for each in frozen:
            each.frozen = True


def first_init(cls: Class, frozen: bool) -> Callable[..., None]:
    """An `__init__` that replaces itself by the compiled one."""

    def __init__(self: Any, *args: Any, **kwargs: Any) -> None:  # noqa: N807 (error messages show the name)
        cls.__init__ = compiled_init(cls, frozen)
        cls.__init__(self, *args, **kwargs)

    return __init__


def compiled_init(cls: Class, frozen: bool) -> Callable[..., None]:
    """The `__init__` that assigns each field and calls `__post_init__`."""
    known: dict[str, Any] = {"assign": object.__setattr__, "MISSING": MISSING}
    parameters, lines = ["self"], []
    for each in sorted(fields(cls), key=lambda each: bool(each.kw_only)):
        name = value = each.name
        if each.kw_only and "*" not in parameters:
            parameters.append("*")
        if each.default_factory is not MISSING:
            known[f"new_{name}"] = each.default_factory
            parameters.append(f"{name}=MISSING")
            value = f"new_{name}() if {name} is MISSING else {name}"
        elif each.default is not MISSING:
            known[f"default_{name}"] = each.default
            parameters.append(f"{name}=default_{name}")
        else:
            parameters.append(name)
        lines.append(f"assign(self, {name!r}, {value})" if frozen else f"self.{name} = {value}")
    if hasattr(cls, "__post_init__"):
        lines.append("self.__post_init__()")
    exec(f"def __init__({', '.join(parameters)}):\n " + "\n ".join(lines or ["pass"]), known)
    init: Callable[..., None] = known["__init__"]
    init.__qualname__ = f"{cls.__qualname__}.__init__"
    return init


def values(cls: Class) -> Callable[[Any], tuple[Any, ...]]:
    """A function from an instance to the values that equality and hash depend on."""
    names = [each.name for each in fields(cls) if each.compare]
    if len(names) > 1:
        return attrgetter(*names)
    return lambda instance: tuple(getattr(instance, name) for name in names)


def equality(cls: Class) -> Callable[[Any, object], bool]:
    """An `__eq__` between instances of one class."""
    of = values(cls)

    def __eq__(self: Any, other: object) -> bool:  # noqa: N807
        return of(self) == of(other) if other.__class__ is self.__class__ else NotImplemented

    return __eq__


def hashing(cls: Class) -> Callable[[Any], int]:
    """A `__hash__` of the values that equality depends on."""
    of = values(cls)

    def __hash__(self: Any) -> int:  # noqa: N807
        return hash(of(self))

    return __hash__


@recursive_repr()
def represent(self: Any) -> str:
    shown = ", ".join(f"{each.name}={getattr(self, each.name)!r}" for each in fields(self) if each.repr)
    return f"{type(self).__qualname__}({shown})"


def refuse(self: Any, name: str, value: object = None) -> None:
    raise FrozenInstanceError(f"{type(self).__name__} is frozen: cannot change {name!r}")


def state_of(self: Any) -> list[Any]:
    return [getattr(self, each.name) for each in fields(self)]


def restore(self: Any, state: list[Any]) -> None:
    for each, value in zip(fields(self), state, strict=True):
        object.__setattr__(self, each.name, value)
