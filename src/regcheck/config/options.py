"""The options of a run, the same for every way in."""

from __future__ import annotations

import warnings
from collections.abc import Mapping
from dataclasses import field, fields, replace
from typing import Any

from regcheck.core.errors import UsageError, unknown
from regcheck.core.finding import Severity
from regcheck.lazy_dataclass import dataclass


@dataclass(frozen=True)
class Options:
    """What to check and how: the keys of `[tool.regcheck]`, with `_` for `-`. `config/keys.py` has their meaning.

    `fail_on` is None for `never`. Two fields are no keys: `budget_named` is the name of `budget` on the way in at hand;
    `notes` tell the user about deprecated keys and their replacements.
    """

    select: tuple[str, ...] = ()
    ignore: tuple[str, ...] = ()
    extend_select: tuple[str, ...] = ()
    fail_on: Severity | None = Severity.WARNING
    devices: tuple[str, ...] = ("auto",)
    confirm: bool = True
    run: bool = True
    fail_on_unproven: bool = False
    require_reason: bool = False
    seed: int = 0
    budget: float = 60.0
    strict: bool = False
    exclude: tuple[str, ...] = ()
    extend_exclude: tuple[str, ...] = ()
    force_exclude: bool = True
    per_file_ignores: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    per_module_ignores: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    models: tuple[str, ...] = ()
    baseline: str = ""
    budget_named: str = field(default='`options={"budget": …}`', metadata={"key": False})
    notes: tuple[str, ...] = field(default=(), metadata={"key": False})

    @classmethod
    def keys(cls) -> list[str]:
        """The names of the fields that are keys."""
        return [each.name for each in fields(cls) if each.metadata.get("key", True)]

    @classmethod
    def of(cls, options: Options | Mapping[str, Any] | None) -> Options:
        """The options from a program's argument; a deprecated key in a mapping is a `DeprecationWarning`.

        Raises:
            UsageError: as `read`.
        """
        if isinstance(options, Options):
            return options
        read = cls.read(options)
        for note in read.notes:
            warnings.warn(note, DeprecationWarning, stacklevel=3)
        return replace(read, notes=())

    @classmethod
    def read(cls, mapping: Mapping[str, Any] | None) -> Options:
        """Options from a mapping whose keys may be written with `-` or `_`.

        Raises:
            UsageError: an unknown key (with its nearest neighbour) or a value of the wrong type.
        """
        if not isinstance(mapping, (Mapping, type(None))):
            raise UsageError(f"options are an Options or a mapping, not {type(mapping).__name__}")
        keys = cls.keys()
        values: dict[str, Any] = {}
        for key, value in (mapping or {}).items():
            name = key.replace("-", "_")
            if name == DEPRECATED:
                values["fail_on_unproven"] = not _require(name, value, bool, "true or false")
                values["notes"] = (_deprecated(value),)
                continue
            if name not in keys:
                raise unknown("option", key, [each.replace("_", "-") for each in keys])
            values[name] = _read(name, value)
        return cls(**values)

    def to_dict(self) -> dict[str, Any]:
        """The options by their keys, as values of JSON."""
        values = {key.replace("_", "-"): getattr(self, key) for key in self.keys()}
        return {**values, "fail-on": self.fail_on.value if self.fail_on else "never"}


DEPRECATED = "require_proof"
"""The former key: the opposite of `fail_on_unproven`."""


def _deprecated(value: bool) -> str:
    instead = "only confirmed findings fail now" if value else "write fail-on-unproven = true"
    return f"option 'require-proof' is deprecated: {instead}"


def _read(name: str, value: Any) -> Any:
    default = getattr(Options(), name)
    if name == "fail_on":
        return severity(value)
    if isinstance(default, bool):
        return _require(name, value, bool, "true or false")
    if isinstance(default, str):
        text: str = _require(name, value, str, "a path")
        return text
    if isinstance(default, tuple):
        items = (value,) if isinstance(value, str) else value
        if not isinstance(items, (list, tuple)) or not all(isinstance(each, str) for each in items):
            raise UsageError(f"option {name.replace('_', '-')!r} takes a list of strings, not {value!r}")
        return tuple(items)
    if isinstance(default, dict):
        entries = _require(name, value, Mapping, "a table of lists").items()
        return {key: (each,) if isinstance(each, str) else tuple(each) for key, each in entries}
    if isinstance(value, bool) or not isinstance(value, (int, float)) or value < 0:
        raise UsageError(f"option {name.replace('_', '-')!r} takes a number, zero or more, not {value!r}")
    return type(default)(value)


def _require(name: str, value: Any, types: Any, what: str) -> Any:
    if not isinstance(value, types):
        raise UsageError(f"option {name.replace('_', '-')!r} takes {what}, not {value!r}")
    return value


def severity(value: Severity | str | None) -> Severity | None:
    """The severity of that name; None for `never`.

    Raises:
        UsageError: no such severity, with its nearest neighbour.
    """
    if value is None or isinstance(value, Severity):
        return value
    names = [each.value for each in Severity]
    if value == "never":
        return None
    if value not in names:
        raise unknown("severity", str(value), [*names, "never"])
    return Severity(value)
