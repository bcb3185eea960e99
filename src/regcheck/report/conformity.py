"""Hold a JSON document to the published schema, without a library for it."""

from __future__ import annotations

from typing import Any

_TYPES: dict[str, tuple[type, ...]] = {
    "object": (dict,),
    "array": (list,),
    "string": (str,),
    "boolean": (bool,),
    "integer": (int,),
    "number": (int, float),
    "null": (type(None),),
}


def deviation(value: Any, schema: dict[str, Any], root: dict[str, Any], where: str = "") -> str:
    """The first place where a value differs from its schema: `findings[0].line is 'x'`; empty where it conforms.

    Reads the keywords that the report's schema uses for types, enumerations, objects, arrays and least values.

    Args:
        value: the value, as `json.loads` returns it.
        schema: the schema of the value.
        root: the whole schema, which has the definitions.
        where: the place of the value in the document.
    """
    if "$ref" in schema:
        schema = root["$defs"][schema["$ref"].rpartition("/")[2]]
    if "oneOf" in schema:
        deviations = [deviation(value, each, root, where) for each in schema["oneOf"]]
        return "" if "" in deviations else deviations[-1]
    shown = f"{where or 'the document'} is {str(value)[:40]!r}"
    if "enum" in schema and not any(value == each and type(value) is type(each) for each in schema["enum"]):
        return shown
    types = schema.get("type", ())
    allowed = [each for name in ([types] if isinstance(types, str) else types) for each in _TYPES[name]]
    if allowed and not (isinstance(value, tuple(allowed)) and (not isinstance(value, bool) or bool in allowed)):
        return shown
    if not isinstance(value, bool | None) and "minimum" in schema and value < schema["minimum"]:
        return shown
    parts: list[tuple[Any, dict[str, Any], str]] = []
    if isinstance(value, list):
        parts = [(each, schema["items"], f"{where}[{number}]") for number, each in enumerate(value)]
    elif isinstance(value, dict):
        properties, others = schema.get("properties", {}), schema.get("additionalProperties")
        prefix = f"{where}." if where else ""
        for key in schema.get("required", ()):
            if key not in value:
                return f"{prefix}{key} is missing"
        for key, each in value.items():
            if key not in properties and not others:
                return f"{prefix}{key} is unknown"
            parts.append((each, properties.get(key, others), f"{prefix}{key}"))
    return next(filter(None, (deviation(*each[:2], root, each[2]) for each in parts)), "")
