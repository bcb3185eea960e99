"""The keys of `[tool.regcheck]`: one description for the help of all commands, the docs and the schema."""

from __future__ import annotations

from typing import Any, NamedTuple

LIST = {"type": ["array", "string"], "items": {"type": "string"}}
TABLE = {"type": "object", "additionalProperties": LIST}
SCHEMAS: dict[str, dict[str, Any]] = {
    "boolean": {"type": "boolean"},
    "devices": LIST,
    "globs": LIST,
    "number": {"type": "integer", "minimum": 0},
    "path": {"type": "string"},
    "rules": LIST,
    "seconds": {"type": "number", "minimum": 0},
    "severity": {"enum": ["info", "warning", "error", "never"]},
    "table of globs and rules": TABLE,
    "targets": LIST,
}
"""The types of the keys' values, by their names in the docs, as JSON Schema. One text stands for a list of one."""


class Key(NamedTuple):
    """A key: the effect of its value, the name of its type in `SCHEMAS`, and an example of a value."""

    effect: str
    type: str
    example: Any


KEYS = {
    "select": Key("run only these rules: codes, prefixes of codes, names, ALL", "rules", ["REG2", "double-penalty"]),
    "ignore": Key("skip these rules", "rules", ["REG102"]),
    "extend-select": Key("also run these rules", "rules", ["ALL"]),
    "fail-on": Key("fail from this severity on: info, warning, error, never", "severity", "error"),
    "strict": Key("fail if something was not checked, or is unproven", "boolean", True),
    "fail-on-unproven": Key("count findings that could not be measured as findings", "boolean", True),
    "require-reason": Key("ignores without a reason have no effect, and are reported", "boolean", True),
    "per-file-ignores": Key("skip rules in files", "table of globs and rules", {"reproductions/*": ["REG102"]}),
    "per-module-ignores": Key("skip rules in modules of a model", "table of globs and rules", {"prenet.*": ["REG202"]}),
    "baseline": Key("hide findings that are in this baseline", "path", "regcheck-baseline.json"),
    "exclude": Key("skip files and folders that match these globs in a scan", "globs", ["third_party", "*_pb2.py"]),
    "extend-exclude": Key("also skip these in a scan", "globs", ["notebooks/drafts"]),
    "force-exclude": Key("skip excluded files also where they are named", "boolean", False),
    "models": Key(
        "audit these targets where none is named, and under pytest each as an item of its own",
        "targets",
        ["my_package.models:Net", "timm:resnet18"],
    ),
    "confirm": Key("measure suspicions", "boolean", False),
    "run": Key("run models; otherwise they run on fake tensors, and all findings are unproven", "boolean", False),
    "devices": Key("measure on these devices; auto is the CPU and every accelerator present", "devices", ["cpu"]),
    "budget": Key("limit the work of proving one model's findings, in seconds of one ordinary core", "seconds", 120),
    "seed": Key("seed of all measurements", "number", 1),
}
"""The keys in the order of the docs. Each is a field of `Options`, which holds its default."""

EXTEND = "extend"
"""The key that names another configuration, whose keys hold where a file has none of its own."""


def schema(defaults: dict[str, Any]) -> dict[str, Any]:
    """Returns the JSON Schema of a `regcheck.toml`, or of the table `[tool.regcheck]`, with these defaults."""
    keys = {
        name: {**SCHEMAS[key.type], "description": key.effect, "default": defaults[name]} for name, key in KEYS.items()
    }
    extend = {"type": "string", "description": "take keys that this file does not have from this configuration"}
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": "Configuration of regcheck",
        "type": "object",
        "properties": {EXTEND: extend, **keys},
        "additionalProperties": False,
    }
