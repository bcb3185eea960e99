"""`dataclass` that makes methods when they are called first, not as the class is defined.

`dataclasses.dataclass` inspects a class and compiles up to twelve methods, which takes 0.6 ms, at the start of every
run. Most runs construct few of the classes that they import.
"""

from __future__ import annotations

import dataclasses
import operator
import sys
from _thread import RLock
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import MISSING, FrozenInstanceError, fields
from functools import partial
from reprlib import recursive_repr
from types import ModuleType
from typing import TYPE_CHECKING, Any

Class = type[Any]
Method = Callable[..., Any]

PARAMS = "__dataclass_params__"
COLLECTED = ("__dataclass_fields__", PARAMS, "__match_args__")
"""What `dataclasses` itself notes on a class, for its own functions and for `match`."""
ORDERS = ("lt", "le", "gt", "ge")
_collecting = RLock()


def lazy_dataclass(
    cls: Class | None = None, /, *, eq: bool = True, order: bool = False, frozen: bool = False, slots: bool = False
) -> Class | Callable[[Class], Class]:
    """Makes a class a dataclass, for `fields`, `replace`, `match` and static type checkers too.

    Takes the arguments of `dataclasses.dataclass` that this package needs. A frozen instance accepts no attribute.
    """

    def collect(cls: Class) -> Class:
        cls.__doc__ = cls.__doc__ or cls.__name__  # else `dataclasses` computes a signature
        with frozen_bases_hidden(cls):
            collected = dataclasses.dataclass(init=False, repr=False, eq=False, slots=slots)(cls)
        parameters = getattr(collected, PARAMS)
        parameters.eq, parameters.order, parameters.frozen = eq, order, frozen
        return collected

    def decorate(cls: Class) -> Class:
        if slots or any(isinstance(each, dataclasses.Field) for each in vars(cls).values()):
            cls = collect(cls)
        else:
            for name in COLLECTED:
                setattr(cls, name, CollectedLater(cls, name, collect))
        if "__init__" not in vars(cls):
            setattr(cls, "__signature__", SignatureLater(cls))  # noqa: B010 (for mypy)
        methods: dict[str, Method | None] = {"__init__": lazy_method(cls, compiled_init), "__repr__": represent}
        if eq:
            methods["__eq__"] = lazy_method(cls, equality)
            if vars(cls).get("__hash__") is None:
                setattr(cls, "__hash__", lazy_method(cls, hashing) if frozen else None)  # noqa: B010 (for mypy)
        if order:
            methods |= {f"__{each}__": lazy_method(cls, partial(ordering, each)) for each in ORDERS}
        if frozen:
            methods |= {"__setattr__": refuse, "__delattr__": refuse}
        if frozen and slots:
            methods |= {"__getstate__": state_of, "__setstate__": restore}
        for name, method in methods.items():
            if name not in vars(cls):
                setattr(cls, name, method)
        return cls

    return decorate if cls is None else decorate(cls)


if TYPE_CHECKING:
    from dataclasses import dataclass as dataclass
else:
    dataclass = lazy_dataclass


class CollectedLater:
    """Stands for an attribute in `COLLECTED` until one of them is read."""

    def __init__(self, cls: Class, name: str, collect: Callable[[Class], Class]) -> None:
        self._cls, self._name, self._collect = cls, name, collect
        self._module = sys.modules[cls.__module__]

    def __get__(self, instance: object, owner: Class) -> Any:
        with _collecting, loaded(self._module):
            if vars(self._cls)[self._name] is self:
                for name in COLLECTED:
                    delattr(self._cls, name)
                self._collect(self._cls)
        return getattr(self._cls, self._name)


@contextmanager
def loaded(module: ModuleType) -> Iterator[None]:
    """Puts the module back into `sys.modules`, where `dataclasses` looks, for the block if a program removed it."""
    absent = module.__name__ not in sys.modules
    if absent:
        sys.modules[module.__name__] = module
    try:
        yield
    finally:
        if absent:
            del sys.modules[module.__name__]


class SignatureLater:
    """The parameters of a class, for `inspect.signature`, which its `__init__` shows after a call."""

    def __init__(self, cls: Class) -> None:
        self._cls = cls

    def __get__(self, instance: object, owner: Class) -> Any:
        if owner is not self._cls:
            raise AttributeError("__signature__")
        from inspect import signature

        of_init = signature(compiled_init(owner))
        return of_init.replace(parameters=[*of_init.parameters.values()][1:])


@contextmanager
def frozen_bases_hidden(cls: Class) -> Iterator[None]:
    """Let `dataclasses` extend frozen classes by one whose `__setattr__` it does not write."""
    bases = [getattr(each, PARAMS) for each in cls.__mro__[1:] if PARAMS in vars(each)]
    frozen = [each for each in bases if each.frozen]
    for each in frozen:
        each.frozen = False
    try:
        yield
    finally:
        for each in frozen:
            each.frozen = True


def lazy_method(cls: Class, make: Callable[[Class], Method]) -> Method:
    """A method that replaces itself, when it is called first, by the one that `make` returns."""

    def method(self: Any, *args: Any, **kwargs: Any) -> Any:
        compiled = make(cls)
        setattr(cls, compiled.__name__, compiled)
        return compiled(self, *args, **kwargs)

    return method


def compiled_init(cls: Class) -> Method:
    """The `__init__` that assigns each field and calls `__post_init__`."""
    namespace: dict[str, Any] = {"assign": object.__setattr__, "MISSING": MISSING}
    frozen = getattr(cls, PARAMS).frozen
    parameters, lines = ["self"], []
    for each in sorted(fields(cls), key=lambda each: bool(each.kw_only)):
        name = value = each.name
        if each.kw_only and "*" not in parameters:
            parameters.append("*")
        if each.default_factory is not MISSING:
            namespace[f"new_{name}"] = each.default_factory
            parameters.append(f"{name}=MISSING")
            value = f"new_{name}() if {name} is MISSING else {name}"
        elif each.default is not MISSING:
            namespace[f"default_{name}"] = each.default
            parameters.append(f"{name}=default_{name}")
        else:
            parameters.append(name)
        lines.append(f"assign(self, {name!r}, {value})" if frozen else f"self.{name} = {value}")
    if hasattr(cls, "__post_init__"):
        lines.append("self.__post_init__()")
    exec(f"def __init__({', '.join(parameters)}):\n " + "\n ".join(lines or ["pass"]), namespace)
    init: Method = namespace["__init__"]
    init.__qualname__ = f"{cls.__qualname__}.__init__"
    return init


def compared(cls: Class) -> Callable[[Any], tuple[Any, ...]]:
    """A function from an instance to the values that comparison and hash depend on."""
    names = [each.name for each in fields(cls) if each.compare]
    if len(names) > 1:
        return operator.attrgetter(*names)
    return lambda instance: tuple(getattr(instance, name) for name in names)


def equality(cls: Class) -> Method:
    """An `__eq__` between instances of one class."""
    of = compared(cls)

    def __eq__(self: Any, other: object) -> bool:  # noqa: N807
        return of(self) == of(other) if other.__class__ is self.__class__ else NotImplemented

    return __eq__


def ordering(name: str, cls: Class) -> Method:
    """An `__lt__`, or the like, between instances of one class."""
    of, compare = compared(cls), getattr(operator, name)

    def method(self: Any, other: object) -> bool:
        return compare(of(self), of(other)) if other.__class__ is self.__class__ else NotImplemented

    method.__name__ = f"__{name}__"
    return method


def hashing(cls: Class) -> Method:
    """A `__hash__` of the values that equality depends on."""
    of = compared(cls)

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
