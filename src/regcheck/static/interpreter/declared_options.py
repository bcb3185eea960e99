"""Options of the command line and of the environment: their values are settings with the declared defaults."""

from __future__ import annotations

import ast
from dataclasses import replace

from regcheck.static.project.files import Source, file_scope
from regcheck.static.project.names import parameters_of

from .constant_folding import BUILTINS
from .domain import Args, Kwargs
from .part import Part
from .setting_apis import (
    ADDING,
    AS_DICT,
    COPIES,
    DECLARATIONS,
    DECORATORS,
    ENTRY_POINTS,
    ENVIRONMENT,
    FACTORIES,
    FLAGS,
    KNOWN,
    NAMESPACES,
    NO_OPTIONS,
    PARSERS,
    PARSING,
    SHARING,
    attribute_of,
)
from .state import Frame
from .values import (
    NONE,
    OPEN,
    VARYING,
    Cells,
    Constant,
    Entries,
    External,
    Function,
    Instance,
    Items,
    Module,
    Namespace,
    OptionParser,
    Origin,
    Setting,
    Value,
    argument,
    attributes_as_dict,
    by_default,
)


class DeclaredOptions(Part):
    """Follows the parsers of a program, and other calls that declare a default."""

    def external(self, name: str, args: Args, kwargs: Kwargs, node: ast.expr) -> Value | None:
        """A call of a function or class by its canonical name; None for one that declares no default."""
        if name not in KNOWN:
            return None
        if name in PARSERS:
            return self._parser(kwargs)
        if name in DECLARATIONS:
            return self.declared(name, args, kwargs, node)
        if name in NAMESPACES:
            return Namespace(Cells(self._entries(args, kwargs)))
        if name in ENVIRONMENT and args and isinstance(args[0], Constant):
            origin = Origin(str(args[0].value), self.state.place(node))
            default = by_default(argument(args, kwargs, 1, "default"))
            return Setting(True, default=default, origin=origin) if isinstance(default, Constant) else VARYING
        if name in ENTRY_POINTS and args:
            return self.calls.call(args[0], (), {}, node)
        if name in AS_DICT and args:
            return attributes_as_dict(args[0])
        if name in COPIES and args and isinstance(args[0], Instance) and not args[0].is_module:
            return replace(args[0], cells=Cells({**args[0].cells, **kwargs}))
        return None

    def declared(self, name: str, args: Args, kwargs: Kwargs, node: ast.expr) -> Value:
        """The default that a call of a function in `DECLARATIONS` declares."""
        factory = next((kwargs[each] for each in FACTORIES if each in kwargs), None)
        if factory is not None:
            return self.calls.call(factory, (), {}, node)
        default = argument(args, kwargs, *DECLARATIONS[name][:2], default=...)
        return default if default != Constant(...) else VARYING

    def of_decorators(self, function: Function, parameter: str) -> Setting | None:
        """The setting of a parameter that a decorator of the function declares an option for."""
        decorators = [] if isinstance(function.node, ast.Lambda) else function.node.decorator_list
        for each in decorators:
            callee = self.state.project.resolve(function.source, each.func) if isinstance(each, ast.Call) else None
            if isinstance(each, ast.Call) and isinstance(callee, External) and callee.name in DECORATORS:
                names = [str(name.value) for name in each.args if isinstance(name, ast.Constant)]
                if names and attribute_of(names) == parameter:
                    settings = {one.arg: self.evaluator.evaluate(one.value) for one in each.keywords if one.arg}
                    setting = self._setting(names, settings, each)
                    return setting if isinstance(setting, Setting) else None
        return None

    def method(self, owner: OptionParser, name: str, args: Args, kwargs: Kwargs, node: ast.expr) -> Value:
        """A method of a parser."""
        options = owner.options
        if name in ADDING:
            self._add(options, args, kwargs, node)
            return VARYING
        if name == "set_defaults":
            for each, value in kwargs.items():
                is_constant = isinstance(value, Constant)
                origin = Origin(each, self.state.place(node))
                self.state.set(options, each, Setting(True, default=value, origin=origin) if is_constant else value)
            if OPEN in kwargs:
                self.forget(options)
            return NONE
        if name == "get_default":
            default: Value = options.get(str(_text(*args[:1])), VARYING)
            return default
        if name in SHARING:
            return owner
        if name in PARSING:
            return self._parsed(options, args, kwargs, PARSING[name])
        return VARYING

    def at_top(self, source: Source, name: str, parser: OptionParser) -> OptionParser:
        """The parser that a top-level name stands for, with the options that the file's top adds to it."""
        parsers = self.state.project.parsers
        if any(each is parser for each in parsers.values()):  # a group of a parser
            return parser
        if (source.path, name) not in parsers:
            parsers[source.path, name] = parser
            parser.options[OPEN] = VARYING
            with self.state.within(Frame(None, source, Cells())):
                for each in file_scope(source.tree.body):
                    call = each.value if isinstance(each, ast.Expr) else None
                    if isinstance(call, ast.Call) and isinstance(call.func, ast.Attribute) and call.func.attr in ADDING:
                        self.evaluator.evaluate(call)
            for option in parser.options.keys() & self.state.project.assigned_elsewhere:
                parser.options[option] = VARYING
        return parsers[source.path, name]

    def saved_parameters(self, module: Module, args: Args) -> Namespace:
        """The arguments of the constructor of the module that is running, or those with the names in `args`."""
        if args and isinstance(args[0], Entries):
            return Namespace(Cells(args[0].cells))
        frames = [each for each in self.state.frames if each.function and each.function.instance is module]
        if not frames or frames[0].function is None:
            return Namespace(Cells({OPEN: VARYING}))
        names = [each.arg for each, _ in parameters_of(frames[0].function.node.args)][1:]
        wanted = {_text(each) for each in args}
        parameters = {name: frames[0].locals[name] for name in names if not args or name in wanted}
        return Namespace(Cells(parameters | {OPEN: VARYING}))

    def forget(self, cells: Cells) -> None:
        """Unknown code may have changed any setting among the cells."""
        for name in [name for name, value in cells.items() if isinstance(value, Setting)]:
            self.state.set(cells, name, VARYING)

    def _parser(self, kwargs: Kwargs) -> OptionParser:
        parents = kwargs.get("parents")
        options = Cells()
        for each in parents.items if isinstance(parents, Items) else ():
            options.update(each.options if isinstance(each, OptionParser) else {OPEN: VARYING})
        return OptionParser(options)

    def _add(self, options: Cells, args: Args, kwargs: Kwargs, node: ast.expr) -> None:
        names = [str(each.value) for each in args if isinstance(each, Constant)]
        if _text(kwargs.get("action")) in NO_OPTIONS:
            return
        dest = kwargs.get("dest")
        if not names or len(names) < len(args) or (dest is not None and not isinstance(dest, Constant)):
            self.state.set(options, OPEN, VARYING)
            return
        attribute = str(dest.value) if isinstance(dest, Constant) else attribute_of(names)
        value = self._setting(names, kwargs, node)
        before = options.get(attribute)
        # Two sub-commands may give one option different defaults.
        is_same = before is None or (isinstance(value, Setting) and by_default(before) == value.default)
        self.state.set(options, attribute, value if is_same else VARYING)

    def _setting(self, names: list[str], declaration: Kwargs, node: ast.AST) -> Value:
        """The value of an option that is declared with these names and keyword arguments."""
        action = _text(declaration.get("action"))
        flag = FLAGS.get(action or "")
        if action is None and declaration.get("is_flag") == Constant(True):
            flag = False
        default = by_default(declaration.get("default", Constant(flag)))
        is_required = declaration.get("required", NONE) not in (NONE, Constant(False))
        is_positional = not names[0].startswith("-") and declaration.get("nargs") != Constant("?")
        if is_required or is_positional or OPEN in declaration or not isinstance(default, Constant):
            return VARYING
        convert = declaration.get("type")
        if isinstance(default.value, str) and isinstance(convert, External):
            package, _, name = convert.name.rpartition(".")
            if package == "builtins" and name in BUILTINS:
                default = self.state.compute(BUILTINS[name], default.value)
        name = max(names, key=len) if names[0].startswith("-") else names[0]
        return Setting(True, default=default, origin=Origin(name, self.state.place(node)))

    def _parsed(self, options: Cells, args: Args, kwargs: Kwargs, results: int) -> Value:
        """The result of parsing; options that the program itself passes are unknown."""
        words = argument(args, kwargs, 0, "args")
        values = Cells(options)
        for each in words.items if isinstance(words, Items) else ():
            text = _text(each)
            if text is None:
                self.forget(values)
            elif text.startswith("-"):
                values[attribute_of([text.partition("=")[0]])] = VARYING
        if argument(args, kwargs, 1, "namespace") != NONE:
            return VARYING
        parsed = Namespace(values)
        return parsed if results == 1 else Items.of((parsed, VARYING), mutable=False)

    def _entries(self, args: Args, kwargs: Kwargs) -> dict[str, Value]:
        mapping = args[0] if args else None
        entries = mapping.cells if isinstance(mapping, Entries) else {} if mapping is None else {OPEN: VARYING}
        return {**entries, **kwargs}


def _text(value: Value | None = None) -> str | None:
    """The text that a value is; None for any other value."""
    return value.value if isinstance(value, Constant) and isinstance(value.value, str) else None
