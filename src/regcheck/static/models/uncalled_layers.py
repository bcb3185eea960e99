"""Dropout layers, and containers of these, that a class registers and no code reads."""

from __future__ import annotations

from collections.abc import Iterator

from regcheck.core.graph import Kind, Op, Reach, Site
from regcheck.files.attribute_reads import FRAMEWORK_BASES, ClassReads, calls_in
from regcheck.static.interpreter.values import (
    Container,
    External,
    Instance,
    LayerValue,
    Module,
    descendants,
    modules_in,
)
from regcheck.static.project.names import Definition, Project
from regcheck.static.torch_calls import Rate
from regcheck.torch_api.functions import DROPPING, call_text, kind_of
from regcheck.torch_api.layers import layer_named


def uncalled_dropouts(project: Project, model: Module) -> tuple[Op, ...]:
    """The dropout layers with a rate above zero in a model that no code of the project reads, as ops that never run.

    A container of nothing but dropouts is one op, at the place that constructs its first layer with such a rate. All
    other layers of the module that registers one must be read, so that it is no remnant among others.
    """
    return tuple(op for path, owner in descendants(model) for op in _uncalled_in(owner, path, project))


def _uncalled_in(owner: Module, path: str, project: Project) -> Iterator[Op]:
    if not isinstance(owner, Instance) or not isinstance(owner.definition, Definition) or owner.base is not None:
        return
    definition = owner.definition
    layers = {name: layer for name, value in owner.cells.items() for layer in modules_in(value)}
    dropouts = {name: drops for name, each in layers.items() if (drops := _dropouts_of(each))}
    if not dropouts or not _is_followed(definition):
        return
    rest = [
        name
        for name, each in layers.items()
        if name not in dropouts and (not isinstance(each, LayerValue) or layer_named(each.name).learned)
    ]
    statements = [*_statements(definition)]
    own_reads = frozenset[str]().union(*(each.reads for each in statements if not definition.source.is_torch))

    def is_read(name: str) -> bool:
        # Other classes are asked last: that parses all files of the project.
        return name in own_reads or any(project.attribute_readers.may_read(each, name) for each in statements)

    for name, drops in dropouts.items():
        dropping = [(each, rate) for each in drops if (rate := _rate(each)).number != 0 and not rate.default]
        if not dropping:
            continue
        built = [call for each in statements for call in each.built.get(name, ())]
        inside = built if isinstance(layers[name], LayerValue) else [each for call in built for each in calls_in(call)]
        layer, rate = dropping[0]
        place, row = layer.place, layer_named(layer.name)
        if place is None or (place.line, place.column) not in [(each.lineno, each.col_offset + 1) for each in inside]:
            continue
        if is_read(name):
            continue
        if all(map(is_read, rest)):
            yield Op(
                id=f"uncalled {path}.{name}",
                kind=kind_of(row.function),
                site=Site(f"{path}.{name}".lstrip("."), row.function, place),
                call=call_text(row.function, layer.name, rate.number),
                rate=rate.number,
                drops=DROPPING[row.function].drops,
                reach=Reach.REGISTERED,
            )


def _dropouts_of(module: Module) -> list[LayerValue]:
    """The dropout layers that a module is, or that a container holds beside nothing but `nn.Identity`; else none."""
    inside = [each for _, each in descendants(module) if not isinstance(each, Container)]
    layers = [each for each in inside if isinstance(each, LayerValue) and each.name != "Identity"]
    others = [each for each in inside if not isinstance(each, LayerValue)]
    return layers if not others and all(map(_drops, layers)) else []


def _drops(layer: LayerValue) -> bool:
    return kind_of(layer_named(layer.name).function) is Kind.DROPOUT


def _rate(layer: LayerValue) -> Rate:
    row = layer_named(layer.name)
    assert row.rate is not None
    return Rate.of(layer.argument(*row.rate))


def _is_followed(definition: Definition) -> bool:
    """Whether all classes that may read an attribute of an object of this class are in the project."""
    outside = (base for each in definition.mro for base in each.bases if not isinstance(base, Definition))
    are_frameworks = all(isinstance(base, External) and base.name.endswith(FRAMEWORK_BASES) for base in outside)
    return are_frameworks and definition.method("forward") is not None


def _statements(definition: Definition) -> Iterator[ClassReads]:
    """The class statements of a class and of those that it derives from."""
    for each in definition.mro:
        yield from (reads for reads in each.source.attribute_reads.classes if reads.line == each.node.lineno)
