"""What a released version promised still holds."""

from __future__ import annotations

import copy
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from .surface import broken_promises, surface

RELEASED = sorted((Path(__file__).parent / "released").glob("*.json"))
NOW = surface()


@pytest.mark.parametrize("version", RELEASED, ids=lambda file: file.stem)
def test_a_released_version_keeps_its_promises(version: Path) -> None:
    """Names, parameters, options, keys, rules, exit codes and the report's keys of each release are there."""
    assert [*broken_promises(json.loads(version.read_text(encoding="utf-8")), NOW)] == []


def test_the_surface_has_what_users_build_on() -> None:
    """The three doors, their options, the keys, the rules and the report are in it."""
    assert {"regcheck.audit", "regcheck.scan", "regcheck.watch", "regcheck.Report.to_json"} <= NOW["names"].keys()
    assert NOW["options"]["scan"]["--fail-on"] and not NOW["options"]["pytest"]["--regcheck"]
    assert "per-file-ignores" in NOW["keys"]
    assert NOW["rules"]["REG201"] == "missing-eval"
    assert NOW["report"]["findings[].evidence.effect.value"] == ["null", "number"]


BREAKS: dict[str, Callable[[dict[str, Any]], Any]] = {
    "the name regcheck.audit is gone": lambda now: now["names"].pop("regcheck.audit"),
    "regcheck.watch no longer takes options": lambda now: now["names"]["regcheck.watch"].pop("options"),
    "regcheck.scan requires more": lambda now: now["names"]["regcheck.scan"].update(more=True),
    "regcheck.audit requires optimizer": lambda now: now["names"]["regcheck.audit"].update(optimizer=True),
    "scan has no option --quiet": lambda now: now["options"]["scan"].pop("--quiet"),
    "audit has no option --seed with": lambda now: now["options"]["audit"].update({"--seed": False}),
    "the key seed is gone": lambda now: now["keys"].remove("seed"),
    "REG101 of the rules": lambda now: now["rules"].update(REG101="another-rule"),
    "FOUND of the exit codes": lambda now: now["exit codes"].update(FOUND=4),
    "findings[].line of the report may be missing": lambda now: now["report"].pop("findings[].line"),
    "seed of the report": lambda now: now["report"].update(seed=["integer", "null"]),
}


@pytest.mark.parametrize("sentence", BREAKS)
def test_a_broken_promise_is_named(sentence: str) -> None:
    """Whatever is removed, required or widened is one broken promise."""
    now = copy.deepcopy(NOW)
    BREAKS[sentence](now)
    (broken,) = broken_promises(NOW, now)
    assert broken.startswith(sentence)


def test_additions_break_nothing() -> None:
    """A new name, optional parameter, option, key, rule and key of the report are allowed."""
    now = copy.deepcopy(NOW)
    now["names"]["regcheck.merge"] = {}
    now["names"]["regcheck.audit"]["more"] = False
    now["options"]["scan"]["--more"] = True
    now["keys"].append("more")
    now["rules"]["REG999"] = "more"
    now["report"]["more"] = ["string"]
    assert [*broken_promises(NOW, now)] == []
