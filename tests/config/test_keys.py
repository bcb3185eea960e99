"""One description of the configuration's keys: for options, docs and schema."""

from __future__ import annotations

import json

import jsonschema
import pytest

from regcheck.config.keys import EXTEND, KEYS, schema
from regcheck.config.options import Options

SCHEMA = schema(Options().to_dict())


def test_every_option_is_described() -> None:
    """Each field of `Options` that is a key has an effect, a type and an example, and nothing else has."""
    assert {name.replace("-", "_") for name in KEYS} == set(Options.keys())


@pytest.mark.parametrize("name", KEYS)
def test_the_schema_and_the_options_accept_the_example(name: str) -> None:
    """The example of a key is a value that regcheck takes and the schema allows, and not the default."""
    example = KEYS[name].example
    jsonschema.validate({name: example}, SCHEMA)
    assert Options.read({name: example}) != Options()


@pytest.mark.parametrize("table", [{"selct": ["REG2"]}, {"seed": "one"}, {"budget": -1}, {"fail-on": "fatal"}])
def test_the_schema_refuses_what_the_options_refuse(table: dict[str, object]) -> None:
    """An unknown key, a value of another type and one out of range are errors in an editor."""
    with pytest.raises(jsonschema.ValidationError):
        jsonschema.validate(table, SCHEMA)


def test_the_schema_allows_defaults_and_extend() -> None:
    """What regcheck does without a configuration may be written down, and so may the file to extend."""
    jsonschema.validate({**json.loads(json.dumps(Options().to_dict())), EXTEND: "../regcheck.toml"}, SCHEMA)
