"""What users build on, as plain data: public names, options, keys, rules, exit codes, the JSON report.

`python tests/compatibility/surface.py > tests/compatibility/released/VERSION.json` records it for a release.
"""

from __future__ import annotations

import inspect
import json
import re
from collections.abc import Iterator
from enum import EnumMeta
from importlib import import_module
from importlib.resources import files
from pathlib import Path
from typing import Any

from regcheck.cli import main
from regcheck.config.keys import KEYS
from regcheck.pytest_plugin import OPTIONS
from regcheck.rules import load

API = Path(__file__).parents[2] / "docs" / "reference" / "api.md"
"""The page that names what is public."""


def surface() -> dict[str, Any]:
    """Everything that versions promise to keep."""
    return {
        "names": dict(public_names()),
        "options": {verb: options_of(verb) for verb in main.VERBS} | {"pytest": pytest_options()},
        "keys": sorted(KEYS),
        "rules": {rule.code: rule.name for rule in load()},
        "exit codes": {name: getattr(main, name) for name in ("CLEAN", "FOUND", "USAGE", "NOT_CHECKED")},
        "report": dict(
            keys_of(json.loads(files("regcheck.report").joinpath("schema.json").read_text(encoding="utf-8")))
        ),
    }


def public_names() -> Iterator[tuple[str, dict[str, bool]]]:
    """The names on the page, and the parameters of those that are called: is an argument required?"""
    blocks = re.split(r"^::: ", API.read_text(encoding="utf-8"), flags=re.MULTILINE)[1:]
    for block in blocks:
        name = block.split(maxsplit=1)[0]
        value = resolve(name)
        yield name, parameters_of(value)
        listed = re.search(r"members: \[(.*)\]", block)
        for member in listed[1].split(", ") if listed and listed[1] else ():
            yield f"{name}.{member}", parameters_of(inspect.getattr_static(value, member))


def resolve(name: str) -> Any:
    """The object with a dotted name."""
    words = name.split(".")
    for cut in range(len(words), 0, -1):
        try:
            value = import_module(".".join(words[:cut]))
        except ModuleNotFoundError:
            continue
        for word in words[cut:]:
            value = getattr(value, word)
        return value
    raise LookupError(f"{API.name} names {name}, which does not exist")


def parameters_of(value: Any) -> dict[str, bool]:
    """The parameters that a call of it can name: is an argument required? None of what is not called."""
    if isinstance(value, EnumMeta):
        return dict.fromkeys(value.__members__, False)
    try:
        parameters = inspect.signature(getattr(value, "__func__", value)).parameters.values()
    except (TypeError, ValueError):  # not called, or an exception that takes what every exception takes
        return {}
    named = [each for each in parameters if each.kind in (each.POSITIONAL_OR_KEYWORD, each.KEYWORD_ONLY)]
    return {each.name: each.default is each.empty for each in named if each.name not in ("self", "cls")}


def options_of(verb: str) -> dict[str, bool]:
    """The options of a verb: does it take a value?"""
    parser = main.parser_of(verb)
    return {form: each.nargs != 0 for each in parser._actions for form in each.option_strings}


def pytest_options() -> dict[str, bool]:
    """The options of the pytest plugin: does it take a value?"""
    return {"--regcheck": False} | {f"--regcheck-{name}": bool(metavar) for name, (metavar, _) in OPTIONS.items()}


def keys_of(schema: dict[str, Any]) -> Iterator[tuple[str, list[str]]]:
    """The keys that are always there, as paths, and what their values can be."""

    def walk(part: dict[str, Any], path: str) -> Iterator[tuple[str, list[str]]]:
        if "$ref" in part:
            part = schema["$defs"][part["$ref"].rpartition("/")[2]]
        for choice in part.get("oneOf", ()):
            yield from walk(choice, path)
        for key in part.get("required", ()):
            yield f"{path}{key}", sorted(kinds(part["properties"][key]))
            yield from walk(part["properties"][key], f"{path}{key}.")
        if "items" in part:
            yield from walk(part["items"], f"{path.removesuffix('.')}[].")

    def kinds(part: dict[str, Any]) -> set[str]:
        if "$ref" in part:
            return kinds(schema["$defs"][part["$ref"].rpartition("/")[2]])
        if "oneOf" in part:
            return set().union(*map(kinds, part["oneOf"]))
        if "enum" in part:
            return {json.dumps(each) for each in part["enum"]}
        return {part["type"]} if isinstance(part["type"], str) else set(part["type"])

    return walk(schema, "")


def broken_promises(promised: dict[str, Any], now: dict[str, Any]) -> Iterator[str]:
    """What a user of an earlier version would miss, a sentence each."""
    for name, parameters in promised["names"].items():
        if name not in now["names"]:
            yield f"the name {name} is gone"
            continue
        current = now["names"][name]
        for each in parameters.keys() - current.keys():
            yield f"{name} no longer takes {each}"
        for each, required in current.items():
            if required and not parameters.get(each, False):
                yield f"{name} requires {each}"
    for door, options in promised["options"].items():
        for option, value in options.items():
            if now["options"].get(door, {}).get(option) is not value:
                yield f"{door} has no option {option} {'with' if value else 'without'} a value"
    for key in promised["keys"]:
        if key not in now["keys"]:
            yield f"the key {key} is gone"
    for kind in ("rules", "exit codes"):
        for name, value in promised[kind].items():
            if now[kind].get(name) != value:
                yield f"{name} of the {kind} is no longer {value}"
    for path, values in promised["report"].items():
        if not set(now["report"].get(path, ("missing",))) <= set(values):
            yield f"{path} of the report may be {now['report'].get(path, 'missing')}, no longer one of {values}"


if __name__ == "__main__":
    print(json.dumps(surface(), indent=1))
