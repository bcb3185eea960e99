"""The options of a run, as every door hands them on."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from typing import Any

from regcheck.core.errors import UsageError, unknown
from regcheck.core.finding import Severity


@dataclass(frozen=True)
class Options:
    """What to check and how. Keys are those of `[tool.regcheck]`, with `_` for `-`.

    `select`, `ignore` and `extend_select` hold codes, names or code prefixes. `devices` is `("auto",)` for the CPU
    and every accelerator present. `confirm` measures suspicions; `require_proof` lets only confirmed findings fail.
    `budget` bounds the seconds spent on proving the findings of one model. `baseline` is the file of findings to live
    with. Without `run` no forward of a model runs and no optimizer steps: models are followed on fake tensors, and
    nothing is measured. `budget_named` is no key of its own: it is what the door at hand calls `budget`.
    """

    select: tuple[str, ...] = ()
    ignore: tuple[str, ...] = ()
    extend_select: tuple[str, ...] = ()
    fail_on: Severity | None = Severity.WARNING
    devices: tuple[str, ...] = ("auto",)
    confirm: bool = True
    run: bool = True
    require_proof: bool = False
    require_reason: bool = False
    seed: int = 0
    budget: float = 60.0
    strict: bool = False
    exclude: tuple[str, ...] = ()
    per_file_ignores: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    per_module_ignores: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    models: tuple[str, ...] = ()
    baseline: str = ""
    budget_named: str = field(default='`options={"budget": …}`', metadata={"key": False})

    @classmethod
    def of(cls, given: Options | Mapping[str, Any] | None) -> Options:
        """Options from a mapping whose keys may be written with `-` or `_`.

        Raises:
            UsageError: an unknown key (with its nearest neighbour) or a value of the wrong type.
        """
        if isinstance(given, Options):
            return given
        if not isinstance(given, (Mapping, type(None))):
            raise UsageError(f"options are an Options or a mapping, not {type(given).__name__}")
        known = [each.name for each in fields(cls) if each.metadata.get("key", True)]
        values: dict[str, Any] = {}
        for key, value in (given or {}).items():
            name = key.replace("-", "_")
            if name not in known:
                raise unknown("option", key, [each.replace("_", "-") for each in known])
            values[name] = _read(name, value)
        return cls(**values)


def _read(name: str, value: Any) -> Any:
    default = getattr(Options(), name)
    if name == "fail_on":
        return severity(value)
    if isinstance(default, bool):
        return _checked(name, value, bool, "true or false")
    if isinstance(default, str):
        text: str = _checked(name, value, str, "a path")
        return text
    if isinstance(default, tuple):
        items = (value,) if isinstance(value, str) else value
        if not isinstance(items, (list, tuple)) or not all(isinstance(each, str) for each in items):
            raise UsageError(f"option {name.replace('_', '-')!r} takes a list of strings, not {value!r}")
        return tuple(items)
    if isinstance(default, dict):
        entries = _checked(name, value, Mapping, "a table of lists").items()
        return {key: (each,) if isinstance(each, str) else tuple(each) for key, each in entries}
    if isinstance(value, bool) or not isinstance(value, (int, float)) or value < 0:
        raise UsageError(f"option {name.replace('_', '-')!r} takes a number, zero or more, not {value!r}")
    return type(default)(value)


def _checked(name: str, value: Any, types: Any, what: str) -> Any:
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
