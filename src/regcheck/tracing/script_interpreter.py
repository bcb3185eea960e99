"""Run TorchScript op by op, so that a recorder sees its calls.

A scripted or traced module runs in C++, where no call can be seen or replaced. The interpreter runs the same graph with
the same operators from Python.
"""

from __future__ import annotations

import operator
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import field
from functools import lru_cache, partial
from typing import Any

import torch
from torch import nn
from torch.utils.weak import WeakIdKeyDictionary

from regcheck.lazy_dataclass import dataclass

from .traced_code import TracedFrame, frames_of, interprets

Values = dict[str, Any]
"""The values of a run, by the name that the graph gives them."""


class _Unsupported(Exception):
    """A graph has a node that the interpreter does not know."""


@dataclass(frozen=True, slots=True)
class Step:
    """One node of a graph: `run` takes the values of its inputs, the constant ones included."""

    kind: str
    run: Callable[..., Any]
    inputs: tuple[str, ...]
    outputs: tuple[str, ...]
    constants: Mapping[int, Any]
    frames: tuple[TracedFrame, ...] = ()
    blocks: tuple[Block, ...] = ()


@dataclass(frozen=True, slots=True)
class Block:
    """The steps of a graph or of a branch of it."""

    inputs: tuple[str, ...]
    steps: tuple[Step, ...]
    outputs: tuple[str, ...]


@dataclass
class _Programs:
    """The compiled graph of each script module; None where it cannot be interpreted."""

    programs: Any = field(default_factory=WeakIdKeyDictionary)

    def of(self, module: torch.jit.ScriptModule) -> Block | None:
        if module not in self.programs:
            try:
                self.programs[module] = _program(module._c._get_method("forward").graph)
            except (AttributeError, RuntimeError):
                self.programs[module] = None
        program: Block | None = self.programs[module]
        return program


@lru_cache(maxsize=512)
def _program(graph: Any) -> Block | None:
    """The compiled graph, which a module shares with its copies; None where it cannot be interpreted."""
    inlined = graph.copy()
    torch._C._jit_pass_inline(inlined)
    try:
        return _block(inlined)
    except (_Unsupported, AttributeError, RuntimeError):
        return None


_programs = _Programs()


def is_interpretable(module: nn.Module) -> bool:
    """Whether a module is a script with a `forward` of which every node is known; others run as they are.

    The first question compiles the script, which makes the tensors of its constants.
    """
    return isinstance(module, torch.jit.ScriptModule) and _programs.of(module) is not None


def is_opaque_script(module: nn.Module) -> bool:
    """Whether a module is a script that runs as it is, so that no call of it is seen."""
    forward = vars(module).get("forward")
    interpreted = isinstance(forward, partial) and forward.func is _forward
    return isinstance(module, torch.jit.ScriptModule) and not interpreted


@contextmanager
def interpreting(scripts: Sequence[nn.Module], note_part: Callable[[nn.Module], None]) -> Iterator[None]:
    """Interpret the calls of these scripts within the block; `note_part` is given the parts that run."""
    compiled = {each: vars(each)["forward"] for each in scripts if "forward" in vars(each)}
    for each in scripts:
        vars(each)["forward"] = partial(_forward, each, note_part)
    try:
        yield
    finally:
        for each in scripts:
            del vars(each)["forward"]
            if each in compiled:
                vars(each)["forward"] = compiled[each]


def _forward(module: nn.Module, note_part: Callable[[nn.Module], None], *args: Any, **kwargs: Any) -> Any:
    assert isinstance(module, torch.jit.ScriptModule)
    program = _programs.of(module)
    assert program is not None
    method: Any = module._c._get_method("forward")
    arguments = list(args)
    for argument in method.schema.arguments[1 + len(args) :]:
        if argument.name in kwargs:
            arguments.append(kwargs[argument.name])
        elif argument.has_default_value():
            arguments.append(argument.default_value)
        else:
            raise TypeError(f"forward() is missing its argument {argument.name!r}")
    (result,) = _run(program, {}, [module, *arguments], note_part)
    return result


def _run(block: Block, values: Values, arguments: Sequence[Any], note_part: Callable[[nn.Module], None]) -> list[Any]:
    """Run a block in the values around it, and return its outputs."""
    values.update(zip(block.inputs, arguments, strict=True))
    for step in block.steps:
        inputs = [values[name] for name in step.inputs]
        if step.kind == "prim::If":
            results = _run(step.blocks[0 if inputs[0] else 1], values, (), note_part)
        elif step.kind == "prim::Loop":
            results = _loop(step.blocks[0], values, inputs, note_part)
        else:
            result = _call(step, inputs)
            results = [result] if len(step.outputs) == 1 else list(result or ())
            if isinstance(result, nn.Module):
                note_part(result)
        values.update(zip(step.outputs, results, strict=True))
    return [values[name] for name in block.outputs]


def _loop(block: Block, values: Values, inputs: list[Any], note_part: Callable[[nn.Module], None]) -> list[Any]:
    most, goes_on, *carried = inputs
    turn = 0
    while goes_on and turn < most:
        goes_on, *carried = _run(block, values, [turn, *carried], note_part)
        turn += 1
    return carried


@interprets
def _call(step: Step, inputs: list[Any]) -> Any:
    """Run one step; its frame stands for the lines that the step was compiled from."""
    return step.run(*inputs)


def _block(block: Any) -> Block:
    return Block(
        tuple(each.debugName() for each in block.inputs()),
        tuple(_step(node) for node in block.nodes()),
        tuple(each.debugName() for each in block.outputs()),
    )


def _step(node: Any) -> Step:
    kind, inputs, outputs = node.kind(), [*node.inputs()], [*node.outputs()]
    constants = {i: each.toIValue() for i, each in enumerate(inputs) if each.node().kind() == "prim::Constant"}
    return Step(
        kind,
        _function(node, kind, len(outputs)),
        tuple(each.debugName() for each in inputs),
        tuple(each.debugName() for each in outputs),
        constants,
        tuple(frames_of(node.sourceRange())),
        tuple(_block(each) for each in node.blocks()),
    )


def _function(node: Any, kind: str, outputs: int) -> Callable[..., Any]:
    if kind == "prim::Constant":
        value = node.output().toIValue() if "name" not in node.attributeNames() else None  # a function has a name
        return lambda: value
    if kind == "prim::GetAttr":
        return operator.attrgetter(node.s("name"))
    if kind == "prim::SetAttr":
        return lambda owner, value: setattr(owner, node.s("name"), value)
    if kind == "prim::CreateObject":
        return _contexts(node)
    if kind in _PYTHON:
        return _PYTHON[kind]
    return _operator(node, kind)


def _contexts(node: Any) -> Callable[..., Any]:
    """Makes an object of a class that scripts and Python share: one that switches gradients."""
    name = node.output().type().annotation_str.rpartition(".")[2]
    if name not in ("no_grad", "enable_grad"):
        raise _Unsupported(name)
    return getattr(torch, name)  # type: ignore[no-any-return]


def _operator(node: Any, kind: str) -> Callable[..., Any]:
    """The operator of a node; arguments that its schema has by keyword only are passed by keyword."""
    space, _, name = kind.partition("::")
    if space == "prim" and name not in _OPERATORS:
        raise _Unsupported(kind)
    schema: Any = torch._C.parse_schema(node.schema())
    function = getattr(getattr(getattr(torch.ops, space), name), schema.overload_name or "default")
    named = [each.name for each in schema.arguments if each.kwarg_only]
    if not named:
        return function  # type: ignore[no-any-return]
    first = len(schema.arguments) - len(named)
    return lambda *inputs: function(*inputs[:first], **dict(zip(named, inputs[first:], strict=True)))


def _raise(message: Any, *kind: Any) -> None:
    raise RuntimeError(str(message))


def _formatted(template: str, *values: Any) -> str:
    parts = template.split("{}")
    texts: Iterable[str] = (*map(str, values), *[""] * len(parts))
    return "".join(text for pair in zip(parts, texts, strict=False) for text in pair)


def _dict(*items: Any) -> dict[Any, Any]:
    return dict(zip(items[::2], items[1::2], strict=True))


def _nothing(*values: Any) -> None:
    return None


_OPERATORS = frozenset(
    "device dtype layout is_cuda is_cpu is_meta is_nested is_sparse is_quantized requires_grad data min max abs type"
    " grad rangelist".split()
)
"""The operators of the namespace `prim` that need nothing but their arguments."""

_PYTHON: Mapping[str, Callable[..., Any]] = {
    "prim::If": _nothing,
    "prim::Loop": _nothing,
    "prim::ListConstruct": lambda *items: [*items],
    "prim::TupleConstruct": lambda *items: items,
    "prim::DictConstruct": _dict,
    "prim::ListUnpack": lambda value: value,
    "prim::TupleUnpack": lambda value: value,
    "prim::TupleIndex": operator.getitem,
    "prim::NumToTensor": torch.tensor,
    "prim::unchecked_cast": lambda value: value,
    "prim::unchecked_unwrap_optional": lambda value: value,
    "prim::Uninitialized": _nothing,
    "prim::Enter": lambda context: context.__enter__(),
    "prim::Exit": lambda context, *error: context.__exit__(None, None, None),
    "prim::RaiseException": _raise,
    "prim::Print": _nothing,
    "aten::warn": _nothing,
    "aten::__is__": operator.is_,
    "aten::__isnot__": operator.is_not,
    "aten::__not__": operator.not_,
    "aten::__getitem__": operator.getitem,
    "aten::__contains__": operator.contains,
    "aten::_set_item": operator.setitem,
    "aten::append": lambda values, value: values.append(value) or values,
    "aten::extend": lambda values, more: values.extend(more),
    "aten::insert": lambda values, place, value: values.insert(place, value),
    "aten::len": len,
    "aten::keys": list,
    "aten::values": lambda mapping: [*mapping.values()],
    "aten::items": lambda mapping: [*mapping.items()],
    "aten::Int": int,
    "aten::Float": float,
    "aten::Bool": bool,
    "aten::IntImplicit": int,
    "aten::FloatImplicit": float,
    "aten::ScalarImplicit": lambda tensor: tensor.item(),
    "aten::str": str,
    "aten::format": _formatted,
}
"""What runs in Python: control, containers (which the operators would copy) and numbers."""
