"""What a piece of code mentions: the names through which the interpreter may reach other code from it."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from dataclasses import field

from regcheck.files.dotted_name import decorator_names, is_self, last_name
from regcheck.files.syntax import children, walk
from regcheck.lazy_dataclass import dataclass

ATTENTION = "scaled_dot_product_attention"
CONSTRUCTING = ("__init__", "__post_init__", "__attrs_post_init__")
_CLASS_TESTS = frozenset(("isinstance", "issubclass"))
_WORD = re.compile(r"\w+")


@dataclass
class Mentions:
    """What code mentions where the interpreter evaluates it.

    It does not evaluate annotations, decorators, class tests, nor assertions, except where these assign a name.

    Attributes:
        names: the variables that it reads or sets.
        owners: the variables of which it only reads or sets attributes.
        attributes: the names of attributes, of any object; those of constructors only where they are called by name.
        foreign: those of them of other objects than `self`, which may be functions of torch or methods of tensors.
        gated: attributes of `self` whose `p` is the rate of an attention in train mode, and zero is it in eval mode.
        strings: the strings that may be names, or parts of names where code composes strings.
        fragments: those parts.
        imports: the import statements.
        sets_training: whether it assigns an attribute `training`.
        computes_names: whether it asks for an attribute whose name it does not spell.
        computes_own_names: whether it does so of `self`, or of an attribute of it.
    """

    names: set[str] = field(default_factory=set)
    owners: set[str] = field(default_factory=set)
    attributes: set[str] = field(default_factory=set)
    foreign: set[str] = field(default_factory=set)
    gated: set[str] = field(default_factory=set)
    strings: set[str] = field(default_factory=set)
    fragments: set[str] = field(default_factory=set)
    imports: list[ast.Import | ast.ImportFrom] = field(default_factory=list)
    sets_training: bool = False
    computes_names: bool = False
    computes_own_names: bool = False

    @classmethod
    def of(cls, code: ast.AST) -> Mentions:
        """The mentions in a function, with its defaults, or in an expression."""
        mentions = cls()
        is_method = _is_method(code)
        is_constructor = getattr(code, "name", "") in CONSTRUCTING  # those of its bases are reached with it
        todo = [code]
        while todo:
            node = todo.pop()
            if isinstance(node, ast.Call):
                if last_name(node.func) in CONSTRUCTING and not is_constructor:
                    mentions.attributes.add(last_name(node.func))
                todo += mentions._call(node, is_method)
                continue
            if isinstance(node, ast.Attribute):
                if node.attr not in CONSTRUCTING:
                    mentions.attributes.add(node.attr)
                if not (is_method and is_self(node.value)):
                    mentions.foreign.add(node.attr)
                mentions.sets_training |= node.attr == "training" and isinstance(node.ctx, ast.Store)
                if isinstance(node.value, ast.Name):
                    mentions.owners.add(node.value.id)
                    continue
            elif isinstance(node, ast.Name):
                mentions.names.add(node.id)
            elif isinstance(node, (ast.Import, ast.ImportFrom)):
                mentions.imports.append(node)
            else:
                mentions._note_strings(node)
            todo += _evaluated(node)
        return mentions

    def _call(self, node: ast.Call, is_method: bool) -> Iterator[ast.AST]:
        """Notes a call, and yields what is evaluated in it."""
        name = node.func.id if isinstance(node.func, ast.Name) else ""
        if name in _CLASS_TESTS:
            yield from node.args[:1]
            return
        if name == "getattr" and len(node.args) > 1:
            attribute = node.args[1]
            if isinstance(attribute, ast.Constant) and isinstance(attribute.value, str):
                self.attributes.add(attribute.value)
                self.foreign.add(attribute.value)
            elif is_method and is_self(node.args[0].value if isinstance(node.args[0], ast.Attribute) else node.args[0]):
                self.computes_own_names = True
            else:
                self.computes_names = True
        if last_name(node.func) == ATTENTION and (rates := _rates_of_attention(node)) is not None:
            self.gated.update(rates)
            yield from (child for child in children(node) if child is not node.func)
            yield from children(node.func)
        else:
            yield from children(node)

    def _note_strings(self, node: ast.AST) -> None:
        if isinstance(node, ast.Constant) and isinstance(node.value, str):
            if node.value.isidentifier():
                self.strings.add(node.value)
            elif "{" in node.value or "%" in node.value:
                self.fragments.update(_WORD.findall(node.value))
        elif isinstance(node, (ast.JoinedStr, ast.BinOp)):
            parts = node.values if isinstance(node, ast.JoinedStr) else [node.left, node.right]
            texts = (each.value for each in parts if isinstance(each, ast.Constant) and isinstance(each.value, str))
            self.fragments.update(each for each in texts if _WORD.fullmatch(each))


def _is_method(code: ast.AST) -> bool:
    """Whether the first parameter of a function is an object of the class around it, under its usual name."""
    if not isinstance(code, (ast.FunctionDef, ast.AsyncFunctionDef)):
        return False
    first = [*code.args.posonlyargs, *code.args.args][:1]
    return bool(first) and first[0].arg == "self" and decorator_names(code).isdisjoint(("staticmethod", "classmethod"))


def _evaluated(node: ast.AST) -> list[ast.AST]:
    """The nodes directly inside a node that the interpreter evaluates."""
    if isinstance(node, ast.Raise):
        return []
    if isinstance(node, ast.Assert):
        return [each for each in walk(node.test) if isinstance(each, ast.NamedExpr)]
    if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef)):
        return [*_defaults(node.args), *node.body]
    if isinstance(node, ast.Lambda):
        return [*_defaults(node.args), node.body]
    if isinstance(node, ast.ClassDef):
        return [*node.bases, *node.body]
    if isinstance(node, ast.AnnAssign):
        return [node.target, *([node.value] if node.value is not None else [])]
    if isinstance(node, ast.ExceptHandler):
        return [*node.body]
    return children(node)


def _defaults(spec: ast.arguments) -> list[ast.expr]:
    return [*spec.defaults, *[each for each in spec.kw_defaults if each is not None]]


def _rates_of_attention(node: ast.Call) -> list[str] | None:
    """The attributes of `self` whose `p` is the drop rate of an attention in train mode; None if it is another rate.

    Without a rate, or with a literal zero, there are none. In eval mode the rate is a literal zero.
    """
    keywords = {each.arg: each.value for each in node.keywords}
    if None in keywords or any(isinstance(each, ast.Starred) for each in node.args):
        return None
    rate = keywords.get("dropout_p", node.args[4] if len(node.args) > 4 else None)
    if rate is None or _is_zero(rate):
        return []
    if not isinstance(rate, ast.IfExp) or not _is_zero(rate.orelse) or not isinstance(rate.body, ast.Attribute):
        return None
    layer, mode = rate.body.value, rate.test
    is_gate = isinstance(mode, ast.Attribute) and mode.attr == "training" and is_self(mode.value)
    if is_gate and rate.body.attr == "p" and isinstance(layer, ast.Attribute) and is_self(layer.value):
        return [layer.attr]
    return None


def _is_zero(node: ast.expr) -> bool:
    return isinstance(node, ast.Constant) and type(node.value) in (int, float) and node.value == 0
