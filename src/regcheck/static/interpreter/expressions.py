"""Evaluating expressions: names, attributes, folding of constants, and what cannot be folded."""

from __future__ import annotations

import ast
import builtins
import operator
from abc import abstractmethod
from collections.abc import Callable, Iterator, Sequence
from functools import cached_property
from itertools import islice
from time import process_time
from typing import Any

from .attributes import Attributes
from .constant_folding import (
    BINARY,
    COMPARED,
    CONVERSIONS,
    LARGEST,
    OPERANDS,
    UNARY,
    fits,
    identical,
    is_data,
    joined,
)
from .state import OUTER, SECONDS, Frame, Next, OutOfTime, TooLong
from .values import (
    OPEN,
    Cells,
    Constant,
    Container,
    Entries,
    External,
    Function,
    Instance,
    Items,
    Maybe,
    Several,
    TensorRef,
    Unknown,
    Value,
    inner,
    truth,
)

_ANY = (Several(Unknown(varies=True)),)
"""The items of a list of which nothing is known."""
_EVALUATORS = {kind: f"_eval_{kind.__name__.lower()}" for kind in ast.expr.__subclasses__()}


class Expressions(Attributes):
    """The evaluator of expressions."""

    @cached_property
    def _evaluators(self) -> dict[type[ast.expr], Callable[[Any], Value]]:
        return {kind: getattr(self, name) for kind, name in _EVALUATORS.items() if hasattr(self, name)}

    def evaluate(self, node: ast.expr) -> Value:
        self.steps += 1
        if self.steps > self.limit:
            raise TooLong("too long to follow from the source")
        if not self.steps & 1023 and process_time() > self.project.deadline:
            raise OutOfTime(f"following the file takes more than {SECONDS} seconds")
        known: Callable[[ast.expr], Value] | None = self._evaluators.get(type(node))
        if known is not None:
            return known(node)
        return self.opaque(
            [self.evaluate(each) for each in ast.iter_child_nodes(node) if isinstance(each, ast.expr)], node
        )

    def _eval_constant(self, node: ast.Constant) -> Value:
        found = self.project.constants.get(node)
        if found is None:
            if not fits(node.value):
                return Unknown()
            found = self.project.constants[node] = Constant(node.value)
        return found

    def _eval_name(self, node: ast.Name) -> Value:
        return self.named(node.id)

    def named(self, name: str) -> Value:
        """What a name stands for here: a local, one of an enclosing function, of the file, or a builtin."""
        cells: Any = self.frames[-1].locals
        while isinstance(cells, dict):
            if name in cells:
                found: Value = cells[name]
                return found
            cells = cells.get(OUTER)
        return self.top_level(name)

    def top_level(self, name: str) -> Value:
        """What a name stands for at the top of the file that is being interpreted."""
        source = self.frame.source
        found = self.project.lookup(source, name)
        if isinstance(found, ast.expr):
            return self.constant(found, Frame(None, source, Cells()))
        if isinstance(found, Unknown) and name not in source.bindings and hasattr(builtins, name):
            return External(f"builtins.{name}")
        return found

    def _eval_tuple(self, node: ast.Tuple) -> Value:
        return Items.of(self._display(node.elts), mutable=False)

    def _eval_list(self, node: ast.List | ast.Set) -> Value:
        return Items.of(self._display(node.elts))

    _eval_set = _eval_list

    def _display(self, nodes: Sequence[ast.expr]) -> tuple[Value, ...]:
        if len(nodes) > LARGEST and all(map(is_data, nodes)):
            return _ANY
        return self.bounded(tuple(self.items(nodes)))

    def items(self, nodes: Sequence[ast.expr]) -> Iterator[Value]:
        """The values of a display's or a call's elements, stars unpacked."""
        for node in nodes:
            if isinstance(node, ast.Starred):
                inside = self.iterated(self.evaluate(node.value))
                self.spend(len(inside))
                yield from inside
            else:
                yield self.evaluate(node)

    def bounded(self, items: tuple[Value, ...]) -> tuple[Value, ...]:
        """The items of a list that was made of others; of more than `LARGEST` nothing is known."""
        self.spend(len(items))
        return items if len(items) <= LARGEST else _ANY

    def iterated(self, value: Value) -> tuple[Value, ...]:
        """What iterating a value gives."""
        if isinstance(value, Items):
            return value.items
        if isinstance(value, Instance) and isinstance(value.base, Container):
            return self.iterated(value.base)
        if isinstance(value, Container):
            if value.name == "ModuleDict":
                return tuple(Constant(name) for name in value.entries)
            return tuple(value.entries.values())
        if isinstance(value, Entries):
            names = tuple(Constant(name) for name in value.cells if name != OPEN)
            return (*names, Several(Unknown(varies=True))) if OPEN in value.cells else names
        if (
            isinstance(value, Constant)
            and isinstance(value.value, (str, range, tuple, list))
            and len(value.value) < 200
        ):
            return tuple(Constant(each) for each in value.value)
        if isinstance(value, TensorRef):
            return (Several(value),)
        return (Several(Unknown(varies=isinstance(value, Unknown) and value.varies)),)

    def _eval_dict(self, node: ast.Dict) -> Value:
        if len(node.keys) > LARGEST and is_data(node):
            return Entries.of({OPEN: Unknown()})
        cells: dict[str, Value] = {}
        for key, each in zip(node.keys, node.values, strict=True):
            value = self.evaluate(each)
            if key is None:
                cells.update(value.cells if isinstance(value, Entries) else {OPEN: Unknown()})
                self.spend(len(cells))
            else:
                name = self.evaluate(key)
                cells[str(name.value) if isinstance(name, Constant) else f"*{len(cells)}"] = value
                if not isinstance(name, Constant):
                    cells[OPEN] = Unknown()
        return Entries.of(cells)

    def _eval_joinedstr(self, node: ast.JoinedStr) -> Value:
        parts: list[object] = []
        for each in node.values:
            value = self.evaluate(each.value if isinstance(each, ast.FormattedValue) else each)
            if isinstance(each, ast.FormattedValue) and isinstance(value, Constant):
                form = self.evaluate(each.format_spec) if each.format_spec else Constant("")
                if each.conversion > 0:
                    value = self.computed(CONVERSIONS[chr(each.conversion)], value.value)
                if isinstance(value, Constant) and isinstance(form, Constant) and form.value:
                    value = self.computed(format, value.value, form.value)
            if not isinstance(value, Constant):
                return Unknown(varies=True)
            parts.append(value.value)
        return self.computed(joined, *parts)

    def _eval_namedexpr(self, node: ast.NamedExpr) -> Value:
        value = self.evaluate(node.value)
        self.set(self.frame.locals, node.target.id, value)
        return value

    def _eval_lambda(self, node: ast.Lambda) -> Value:
        return Function(node, self.frame.source, f"{self.frame.name}.<lambda>", self.frame.locals)

    def _eval_starred(self, node: ast.Starred) -> Value:
        return self.opaque(self.iterated(self.evaluate(node.value)), node)

    def _eval_await(self, node: ast.Await) -> Value:
        return self.evaluate(node.value)

    def _eval_ifexp(self, node: ast.IfExp) -> Value:
        return self.chosen(node, *self.tested(node.test))

    def chosen(self, node: ast.IfExp, test: bool | None, doubt: bool) -> Value:
        """What a conditional expression gives, once its condition was tested."""
        if test is not None:
            return self.evaluate(node.body if test else node.orelse)
        return self.alternatives([lambda: self.evaluate(node.body), lambda: self.evaluate(node.orelse)], doubt)

    def alternatives(self, makers: Sequence[Callable[[], Value]], doubt: bool) -> Value:
        """The joined result of expressions of which one is evaluated."""
        found: list[Value] = []

        def alternative(make: Callable[[], Value]) -> Callable[[], Next]:
            def run() -> Next:
                found.append(make())
                return Next.GO

            return run

        self.branch([alternative(make) for make in makers], doubt)
        return self.join(found)

    def tested(self, node: ast.expr) -> tuple[bool | None, bool]:
        """Whether a condition holds (None: cannot be told), and whether it may differ from call to call."""
        if isinstance(node, ast.UnaryOp) and isinstance(node.op, ast.Not):
            found, doubt = self.tested(node.operand)
            return (None if found is None else not found), doubt
        if isinstance(node, ast.BoolOp):
            decisive = isinstance(node.op, ast.Or)
            results = []
            for each in node.values:
                results.append(self.tested(each))
                if results[-1][0] is decisive:
                    return decisive, False
            known = not decisive if all(found is not None for found, _ in results) else None
            return known, any(doubt for found, doubt in results if found is None)
        value = self.evaluate(node)
        known = truth(value)
        return known, known is None and self.doubt(node, value)

    def _eval_boolop(self, node: ast.BoolOp) -> Value:
        decisive = isinstance(node.op, ast.Or)
        rest: list[Value] = []
        for each in node.values[:-1]:
            value = self.evaluate(each)
            known = truth(value)
            if known is decisive:
                return value
            if known is None:
                rest.append(value)
        last = self.evaluate(node.values[-1])
        if not rest or (not decisive and truth(last) is False):
            return last
        return (
            self.join([*rest, last])
            if not any(isinstance(each, TensorRef) for each in rest)
            else self.opaque([*rest, last], node)
        )

    def _eval_unaryop(self, node: ast.UnaryOp) -> Value:
        value = self.evaluate(node.operand)
        if isinstance(node.op, ast.Not):
            known = truth(value)
            return Constant(not known) if known is not None else self.opaque((value,), node)
        if isinstance(value, Constant) and isinstance(value.value, (int, float)):
            return self.computed(UNARY[type(node.op)], value.value)
        return self.arithmetic("neg", (value,), node)

    def _eval_binop(self, node: ast.BinOp) -> Value:
        return self.binary(node.op, self.evaluate(node.left), self.evaluate(node.right), node)

    def binary(self, op: ast.operator, left: Value, right: Value, node: ast.AST) -> Value:
        """`left op right`, folded where both are known, or where one is a zero factor."""
        name, compute = BINARY.get(type(op), ("other", None))
        if isinstance(left, Constant) and isinstance(right, Constant) and compute is not None:
            return self.folded(compute, left.value, right.value)
        if name == "mul" and any(each in (Constant(0), Constant(0.0), Constant(False)) for each in (left, right)):
            return self.zero((left, right), node)
        if isinstance(left, Items) and isinstance(right, Items) and name == "add":
            return Items.of(self.bounded((*left.items, *right.items)))
        if isinstance(left, Items) and name == "mul":
            times = right.value if isinstance(right, Constant) and isinstance(right.value, int) else None
            if times is not None and times * len(left.items) <= 200:
                return Items.of(left.items * max(min(times, 200), 0))
            return Items.of(tuple(each if isinstance(each, Several) else Several(each) for each in left.items))
        if name == "div" and isinstance(left, Unknown) and isinstance(right, Unknown):
            return Unknown(varies=left.varies or right.varies)
        return self.arithmetic(name, (left, right), node)

    def folded(self, compute: Callable[[Any, Any], object], left: Any, right: Any) -> Value:
        """What an operator gives for two constants."""
        if isinstance(left, OPERANDS) and isinstance(right, OPERANDS):
            return self.computed(compute, left, right)
        return Unknown()

    def zero(self, values: tuple[Value, ...], node: ast.AST) -> Value:
        """Something multiplied by a known zero."""
        return Constant(0.0)

    def arithmetic(self, name: str, values: tuple[Value, ...], node: ast.AST) -> Value:
        """An operator applied to values that cannot be folded."""
        return self.opaque(values, node)

    def _eval_compare(self, node: ast.Compare) -> Value:
        left, right = self.evaluate(node.left), self.evaluate(node.comparators[0])
        rest = [self.evaluate(each) for each in node.comparators[1:]]
        if not rest:
            op = node.ops[0]
            if isinstance(op, (ast.Is, ast.IsNot)):
                same = identical(left, right)
                if same is not None:
                    return Constant(same is isinstance(op, ast.Is))
            elif isinstance(left, Constant) and isinstance(right, Constant):
                return self.folded(COMPARED[type(op)], left.value, right.value)
            elif isinstance(op, (ast.In, ast.NotIn)) and isinstance(left, Constant):
                known = right.cells if isinstance(right, (Entries,)) else None
                if known is not None and (str(left.value) in known or OPEN not in known):
                    return Constant((str(left.value) in known) is isinstance(op, ast.In))
        return self.arithmetic("compare", (left, right, *rest), node)

    def _eval_subscript(self, node: ast.Subscript) -> Value:
        owner = self.evaluate(node.value)
        if isinstance(owner, Items) and isinstance(node.slice, ast.Slice):
            return self._sliced(owner, node.slice)
        return self.item(owner, self.evaluate(node.slice), node)

    def _sliced(self, owner: Items, node: ast.Slice) -> Value:
        bounds = [self.evaluate(each) if each else Constant(None) for each in (node.lower, node.upper, node.step)]
        if owner.exact and all(isinstance(each, Constant) for each in bounds):
            try:
                chosen = owner.items[slice(*(each.value for each in bounds if isinstance(each, Constant)))]
                return Items.of(self.bounded(chosen))
            except (TypeError, ValueError):
                return Unknown(varies=True)
        return Items.of((Several(self.join([inner(each) for each in owner.items] or [Unknown()])),))

    def _eval_slice(self, node: ast.Slice) -> Value:
        return Unknown(varies=True)

    def item(self, owner: Value, key: Value, node: ast.AST) -> Value:
        """`owner[key]`."""
        if isinstance(owner, Instance) and isinstance(owner.base, Container):
            owner = owner.base
        if isinstance(owner, Container) and isinstance(key, Constant):
            names = list(owner.entries)
            name = key.value
            if (
                isinstance(name, int)
                and not any(each.startswith("*") for each in names)
                and -len(names) <= name < len(names)
            ):
                name = names[name]
            if name in owner.entries:
                found: Value = owner.entries[name]
                return found
        if isinstance(owner, Container):
            return self.join([inner(each) for each in owner.entries.values()]) if owner.entries else Unknown()
        if isinstance(owner, Items):
            if isinstance(key, Constant) and isinstance(key.value, int) and owner.exact:
                return owner.items[key.value] if -len(owner.items) <= key.value < len(owner.items) else Unknown()
            return self.join([inner(each) for each in owner.items] or [Unknown()])
        if isinstance(owner, Entries) and isinstance(key, Constant):
            entry: Value = owner.cells.get(str(key.value), Unknown())
            return entry
        if isinstance(owner, Entries) and owner.cells:
            return self.join(list(owner.cells.values()))
        if isinstance(owner, Constant) and isinstance(key, Constant):
            return self.computed(operator.getitem, owner.value, key.value)
        return self.opaque((owner, key), node)

    def _comprehension(self, node: ast.ListComp | ast.GeneratorExp | ast.SetComp) -> Value:
        return Items.of(self.bounded(tuple(islice(self._produced(node.generators, node.elt), LARGEST + 1))))

    _eval_listcomp = _eval_generatorexp = _eval_setcomp = _comprehension

    def _produced(self, generators: Sequence[ast.comprehension], element: ast.expr) -> Iterator[Value]:
        if not generators:
            yield self.evaluate(element)
            return
        first, *rest = generators
        for each in self.iterated(self.evaluate(first.iter)):
            many = isinstance(each, (Several, Maybe))
            self.assign(first.target, inner(each))
            known = [self.tested(test)[0] for test in first.ifs]
            if False in known:
                continue
            for value in self._produced(rest, element):
                yield Several(inner(value)) if many or None in known else value

    def _eval_dictcomp(self, node: ast.DictComp) -> Value:
        cells: dict[str, Value] = {}
        pair = ast.Tuple([node.key, node.value], ast.Load())
        for each in self._produced(node.generators, pair):
            both = inner(each)
            key, value = both.items if isinstance(both, Items) else (Unknown(), Unknown())
            exact = isinstance(key, Constant) and not isinstance(each, Several)
            cells[str(key.value) if isinstance(key, Constant) else f"*{len(cells)}"] = value
            if not exact:
                cells[OPEN] = Unknown()
        return Entries.of(cells)

    @abstractmethod
    def assign(self, target: ast.expr, value: Value) -> None: ...

    def given(self, node: ast.Call) -> tuple[tuple[Value, ...], dict[str, Value]]:
        """The arguments of a call."""
        args = tuple(self.items(node.args))
        kwargs: dict[str, Value] = {}
        for each in node.keywords:
            value = self.evaluate(each.value)
            if each.arg is not None:
                kwargs[each.arg] = value
            else:
                kwargs.update(value.cells if isinstance(value, Entries) else {OPEN: value})
        return args, kwargs
