"""Evaluates expressions: names, literals, operators, conditions, comprehensions."""

from __future__ import annotations

import ast
import builtins
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from functools import cache, partial
from itertools import islice
from time import process_time
from typing import TYPE_CHECKING, Any, NamedTuple

from regcheck.files.syntax import children

from .constant_folding import (
    BINARY,
    COMPARED,
    CONVERSIONS,
    LARGEST,
    OPERANDS,
    UNARY,
    concatenate,
    fits,
    identical,
    is_data,
)
from .domain import Args
from .part import Part
from .state import OUTER, SECONDS, Choice, Frame, Next, OutOfTime, TooLong
from .values import (
    ANY_ITEMS,
    FIXED,
    NONE,
    OPEN,
    VARYING,
    Cells,
    Constant,
    Entries,
    External,
    Function,
    Items,
    Maybe,
    Module,
    OptionParser,
    ParameterOf,
    Setting,
    Several,
    TensorRef,
    Unknown,
    Value,
    by_default,
    computed_from,
    element,
    is_atom,
    truth,
)

if TYPE_CHECKING:
    from .interpreter import Interpreter


@cache
def _builtin(name: str) -> External | None:
    """The builtin with a name, if there is one."""
    return External(f"builtins.{name}") if hasattr(builtins, name) else None


_METHODS = {kind: f"_{kind.__name__.lower()}" for kind in ast.expr.__subclasses__()}


class Condition(NamedTuple):
    """Whether a condition holds: None where that is not known, and then whether it may differ from call to call.

    If it depends on a setting, the default of `setting` says whether it holds unless the user chooses otherwise.
    `tensors` are the values computed from ops that it depends on.
    """

    result: bool | None
    doubt: bool = False
    setting: Setting | None = None
    tensors: tuple[TensorRef, ...] = ()

    @property
    def inverted(self) -> Condition:
        setting = self.setting and replace(self.setting, default=Constant(not truth(self.setting.default)))
        return Condition(None if self.result is None else not self.result, self.doubt, setting, self.tensors)

    @property
    def choice(self) -> Choice | None:
        """The default of the two branches that the condition selects."""
        return None if self.setting is None else Choice(0 if truth(self.setting.default) else 1, self.setting)


class Evaluator(Part):
    """Evaluates expressions in the current frame; the method `_binop` evaluates an `ast.BinOp`, and so on."""

    def connect(self, interpreter: Interpreter) -> None:
        super().connect(interpreter)
        self._by_type: dict[type[ast.expr], Callable[[Any], Value]] = {
            kind: getattr(self, name) for kind, name in _METHODS.items() if hasattr(self, name)
        }

    def evaluate(self, node: ast.expr) -> Value:
        """The value of an expression.

        Raises:
            TooLong: no steps are left.
            OutOfTime: the file's time is used up.
        """
        state = self.state
        state.steps += 1
        if state.steps > state.limit:
            raise TooLong("too long to follow from the source")
        if not state.steps & 1023 and process_time() > state.project.deadline:
            raise OutOfTime(f"following the file takes more than {SECONDS} seconds")
        method = self._by_type.get(type(node))
        if method is not None:
            return method(node)
        parts = [self.evaluate(each) for each in children(node) if isinstance(each, ast.expr)]
        return self.domain.opaque(parts, node)

    def _constant(self, node: ast.Constant) -> Value:
        constants = self.state.project.constants
        value = constants.get(node)
        if value is None:
            if not fits(node.value):
                return FIXED
            value = constants[node] = Constant(node.value)
        return value

    def _name(self, node: ast.Name) -> Value:
        """A local, a name of an enclosing function or of the file, or a builtin."""
        name = node.id
        frame = self.state.frames[-1]
        cells: Any = frame.locals
        while isinstance(cells, dict):
            if name in cells:
                local: Value = cells[name]
                return local
            cells = cells.get(OUTER)
        source = frame.source
        top = self.state.globals.get(source.path)
        if top is None:
            top = self.domain.globals_of(source)
        if top is not None and name in top:
            value: Value = top[name]
            return value
        constant = self.state.project.lookup(source, name)
        if isinstance(constant, ast.expr):
            result = self.attributes.constant(constant, Frame(None, source, Cells()))
            return self.options.at_top(source, name, result) if isinstance(result, OptionParser) else result
        if isinstance(constant, Unknown) and name not in source.bindings:
            return _builtin(name) or constant
        return constant

    def _attribute(self, node: ast.Attribute) -> Value:
        return self.attributes.attribute(self.evaluate(node.value), node.attr)

    def _call(self, node: ast.Call) -> Value:
        func = node.func
        if isinstance(func, ast.Name) and func.id == "super":
            return self.calls.super_object(node)
        owner = self.evaluate(func.value if isinstance(func, ast.Attribute) else func)
        args = tuple(self._elements(node.args))
        kwargs: dict[str, Value] = {}
        for each in node.keywords:
            value = self.evaluate(each.value)
            if each.arg is not None:
                kwargs[each.arg] = value
            else:
                kwargs.update(value.cells if isinstance(value, Entries) else {OPEN: value})
        if isinstance(func, ast.Attribute):
            return self.calls.method(owner, func.attr, args, kwargs, node)
        return self.calls.call(owner, args, kwargs, node)

    def _tuple(self, node: ast.Tuple) -> Value:
        return Items.of(self._display(node.elts), mutable=False)

    def _list(self, node: ast.List | ast.Set) -> Value:
        return Items.of(self._display(node.elts))

    _set = _list

    def _display(self, nodes: Sequence[ast.expr]) -> tuple[Value, ...]:
        if len(nodes) > LARGEST and all(map(is_data, nodes)):
            return ANY_ITEMS
        return self.containers.limited(tuple(self._elements(nodes)))

    def _elements(self, nodes: Sequence[ast.expr]) -> list[Value]:
        """The values of a display's elements or a call's positional arguments, stars unpacked."""
        values: list[Value] = []
        for node in nodes:
            if isinstance(node, ast.Starred):
                items = self.containers.items_of(self.evaluate(node.value))
                self.state.spend(len(items))
                values += items
            else:
                values.append(self.evaluate(node))
        return values

    def _dict(self, node: ast.Dict) -> Value:
        if len(node.keys) > LARGEST and is_data(node):
            return Entries.of({OPEN: FIXED})
        cells: dict[str, Value] = {}
        for key, each in zip(node.keys, node.values, strict=True):
            value = self.evaluate(each)
            if key is None:
                if not isinstance(value, Entries) or OPEN in value.cells:
                    cells = {name: VARYING if isinstance(old, Setting) else old for name, old in cells.items()}
                cells.update(value.cells if isinstance(value, Entries) else {OPEN: FIXED})
                self.state.spend(len(cells))
            else:
                name = self.evaluate(key)
                cells[str(name.value) if isinstance(name, Constant) else f"*{len(cells)}"] = value
                if not isinstance(name, Constant):
                    cells[OPEN] = FIXED
        return Entries.of(cells)

    def _joinedstr(self, node: ast.JoinedStr) -> Value:
        texts: list[object] = []
        for index, each in enumerate(node.values):
            value = self.evaluate(each.value if isinstance(each, ast.FormattedValue) else each)
            self.domain.observe_format(value)
            if isinstance(each, ast.FormattedValue) and isinstance(value, Constant):
                form = self.evaluate(each.format_spec) if each.format_spec else Constant("")
                if each.conversion > 0:
                    value = self.state.compute(CONVERSIONS[chr(each.conversion)], value.value)
                if isinstance(value, Constant) and isinstance(form, Constant) and form.value:
                    value = self.state.compute(format, value.value, form.value)
            if not isinstance(value, Constant):
                for rest in node.values[index + 1 :] if self.domain.observes_uses else ():
                    self.domain.observe_format(
                        self.evaluate(rest.value if isinstance(rest, ast.FormattedValue) else rest)
                    )
                return VARYING
            texts.append(value.value)
        return self.state.compute(concatenate, *texts)

    def _namedexpr(self, node: ast.NamedExpr) -> Value:
        value = self.evaluate(node.value)
        self.state.set(self.state.frame.locals, node.target.id, value)
        return value

    def _lambda(self, node: ast.Lambda) -> Value:
        frame = self.state.frame
        return Function(node, frame.source, f"{frame.name}.<lambda>", frame.locals)

    def _starred(self, node: ast.Starred) -> Value:
        return self.domain.opaque(self.containers.items_of(self.evaluate(node.value)), node)

    def _await(self, node: ast.Await) -> Value:
        return self.evaluate(node.value)

    def _ifexp(self, node: ast.IfExp) -> Value:
        return self.choose(node, self.decide(node.test))

    def choose(self, node: ast.IfExp, test: Condition) -> Value:
        """The value of a conditional expression, given the result of its test."""
        if test.result is not None:
            return self.evaluate(node.body if test.result else node.orelse)
        makers = [partial(self.evaluate, each) for each in (node.body, node.orelse)]
        return self.alternatives(makers, test.doubt, test.choice, test.tensors)

    def alternatives(
        self,
        makers: Sequence[Callable[[], Value]],
        doubt: bool,
        default: Choice | None = None,
        tensors: Sequence[TensorRef] = (),
    ) -> Value:
        """The join of values of which the program computes one."""
        values: list[Value] = []

        def run(make: Callable[[], Value]) -> Next:
            values.append(make())
            return Next.GO

        self.state.branch([partial(run, make) for make in makers], doubt, default)
        self.domain.branch(tensors)
        return self.state.join_chosen(values, default)

    def decide(self, node: ast.expr) -> Condition:
        """Whether a condition holds."""
        if isinstance(node, ast.UnaryOp) and isinstance(node.op, ast.Not):
            return self.decide(node.operand).inverted
        if isinstance(node, ast.BoolOp):
            decisive = isinstance(node.op, ast.Or)
            results = []
            for each in node.values:
                results.append(self.decide(each))
                if results[-1].result is decisive:
                    return results[-1]
            undecided = [each for each in results if each.result is None]
            if not undecided:
                return Condition(not decisive)
            settings = [each.setting for each in undecided if each.setting is not None]
            telling = [each for each in settings if truth(each.default) is decisive]
            setting = telling[0] if telling else settings[0] if len(settings) == len(undecided) else None
            tensors = tuple([tensor for each in undecided for tensor in each.tensors])
            return Condition(None, any(each.doubt for each in undecided), setting, tensors)
        value = self.evaluate(node)
        result = truth(value)
        is_setting = isinstance(value, Setting) and truth(value.default) is not None
        doubt = result is None and self.state.is_doubtful(node, value)
        tensors = (value,) if isinstance(value, TensorRef) else ()
        return Condition(result, doubt, value if is_setting else None, tensors)  # type: ignore[arg-type]

    def _boolop(self, node: ast.BoolOp) -> Value:
        decisive = isinstance(node.op, ast.Or)
        undecided: list[Value] = []
        for each in node.values[:-1]:
            value = self.evaluate(each)
            is_true = truth(value)
            if is_true is decisive:
                return value
            if is_true is None:
                undecided.append(value)
        last = self.evaluate(node.values[-1])
        if not undecided or (not decisive and truth(last) is False):
            return last
        if all(isinstance(each, Setting) for each in undecided):
            values = [*undecided, last]
            telling = [each for each in undecided if truth(by_default(each)) is decisive]
            chosen = by_default(telling[0] if telling else last)
            if is_atom(chosen):
                return computed_from(values, chosen)
        if any(isinstance(each, TensorRef) for each in undecided):
            return self.domain.opaque([*undecided, last], node)
        return self.state.join([*undecided, last])

    def _unaryop(self, node: ast.UnaryOp) -> Value:
        value = self.evaluate(node.operand)
        if isinstance(node.op, ast.Not):
            is_true = truth(by_default(value))
            if is_true is not None:
                return computed_from((value,), Constant(not is_true))
            return self.domain.opaque((value,), node)
        operand = by_default(value)
        if isinstance(operand, Constant) and isinstance(operand.value, (int, float)):
            return computed_from((value,), self.state.compute(UNARY[type(node.op)], operand.value))
        return self.domain.arithmetic("invert" if isinstance(node.op, ast.Invert) else "neg", (value,), node)

    def _binop(self, node: ast.BinOp) -> Value:
        return self.binary(node.op, self.evaluate(node.left), self.evaluate(node.right), node)

    def binary(self, op: ast.operator, left: Value, right: Value, node: ast.AST) -> Value:
        """`left op right`."""
        name, compute = BINARY.get(type(op), ("other", None))
        one, other = by_default(left), by_default(right)
        if isinstance(one, Constant) and isinstance(other, Constant) and compute is not None:
            return computed_from((left, right), self._folded(compute, one.value, other.value))
        if name == "mul" and any(each in (Constant(0), Constant(0.0), Constant(False)) for each in (left, right)):
            return self.domain.zero_product((left, right), node)
        if isinstance(left, Items) and isinstance(right, Items) and name == "add":
            return Items.of(self.containers.limited((*left.items, *right.items)))
        if isinstance(left, Items) and name == "mul":
            return self.containers.repeat(left, right)
        is_parameter = isinstance(left, ParameterOf)
        if name == "div" and isinstance(left, Unknown) and isinstance(right, Unknown) and not is_parameter:
            return Unknown(varies=left.varies or right.varies)
        return self.domain.arithmetic(name, (left, right), node)

    def _folded(self, compute: Callable[[Any, Any], object], left: Any, right: Any) -> Value:
        """The result of an operator on two constants."""
        if isinstance(left, OPERANDS) and isinstance(right, OPERANDS):
            return self.state.compute(compute, left, right)
        return FIXED

    def _compare(self, node: ast.Compare) -> Value:
        values: Args = (self.evaluate(node.left), *[self.evaluate(each) for each in node.comparators])
        if len(values) == 2:
            (left, right), op = [by_default(each) for each in values], node.ops[0]
            if left is not values[0] and isinstance(right, Items) and right.exact:
                items = [each.value for each in right.items if isinstance(each, Constant)]
                right = Constant(tuple(items)) if len(items) == len(right.items) else right
            if isinstance(op, (ast.Is, ast.IsNot)):
                is_same = identical(left, right)
                if isinstance(left, Module) and isinstance(right, Module):
                    is_same = self.domain.are_same(left, right)
                if is_same is not None:
                    return computed_from(values, Constant(is_same is isinstance(op, ast.Is)))
            elif isinstance(left, Constant) and isinstance(right, Constant):
                return computed_from(values, self._folded(COMPARED[type(op)], left.value, right.value))
            elif isinstance(op, (ast.In, ast.NotIn)) and isinstance(left, Constant) and isinstance(right, Entries):
                is_key = str(left.value) in right.cells
                if is_key or OPEN not in right.cells:
                    return computed_from(values, Constant(is_key is isinstance(op, ast.In)))
        compute = COMPARED.get(type(node.ops[0])) if len(node.ops) == 1 else None
        return self.domain.arithmetic(compute.__name__ if compute else "compare", values, node)

    def _subscript(self, node: ast.Subscript) -> Value:
        owner, index = self.evaluate(node.value), node.slice
        if isinstance(owner, Items) and isinstance(index, ast.Slice):
            bounds = [self.evaluate(each) if each else NONE for each in (index.lower, index.upper, index.step)]
            return self.containers.slice_of(owner, bounds)
        return self.containers.item(owner, self.evaluate(index), node)

    def _slice(self, node: ast.Slice) -> Value:
        return VARYING

    def _listcomp(self, node: ast.ListComp | ast.GeneratorExp | ast.SetComp) -> Value:
        values = islice(self._produced(node.generators, node.elt), LARGEST + 1)
        return Items.of(self.containers.limited(tuple(values)))

    _generatorexp = _setcomp = _listcomp

    def _dictcomp(self, node: ast.DictComp) -> Value:
        cells: dict[str, Value] = {}
        pair = ast.Tuple([node.key, node.value], ast.Load())
        for each in self._produced(node.generators, pair):
            both = element(each)
            key, value = both.items if isinstance(both, Items) else (FIXED, FIXED)
            cells[str(key.value) if isinstance(key, Constant) else f"*{len(cells)}"] = value
            if not isinstance(key, Constant) or isinstance(each, Several):
                cells[OPEN] = FIXED
        return Entries.of(cells)

    def _produced(self, generators: Sequence[ast.comprehension], result: ast.expr) -> Iterator[Value]:
        """The values that a comprehension gives."""
        if not generators:
            yield self.evaluate(result)
            return
        first, *rest = generators
        for each in self.containers.items_of(self.evaluate(first.iter)):
            is_repeated = isinstance(each, (Several, Maybe))
            self.statements.assign(first.target, element(each))
            conditions = [self.decide(test).result for test in first.ifs]
            if False in conditions:
                continue
            for value in self._produced(rest, result):
                yield Several(element(value)) if is_repeated or None in conditions else value
