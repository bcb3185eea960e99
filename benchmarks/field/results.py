"""Results of tools on the cases, stored one line a tool and one line a case with messages or an error."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from .cases import Case
from .score import Judged, judge

FILE = Path(__file__).with_name("results.jsonl")
LONGEST_TEXT = 110


@dataclass
class Results:
    """What one tool says of the cases.

    Attributes:
        seconds: the mean processor time of a case.
        messages: by case; a case without messages is absent.
        errors: how the tool failed, by case.
        failure: why the tool did not run at all.
    """

    way: str
    requirements: tuple[str, ...]
    seconds: float = 0.0
    messages: dict[str, list[Mapping[str, Any]]] = field(default_factory=dict)
    errors: dict[str, str] = field(default_factory=dict)
    failure: str = ""

    def note(self, case: str, answer: Mapping[str, Any]) -> None:
        """Add the worker's answer about a case."""
        if answer["messages"]:
            self.messages[case] = [{**one, "text": _shortened(one["text"])} for one in answer["messages"]]
        if "error" in answer:
            self.errors[case] = answer["error"]

    def judged(self, chosen: Iterable[Case]) -> list[Judged]:
        return [judge(case, self.messages.get(case.id, ())) for case in chosen]


def _shortened(text: str) -> str:
    return " ".join(text.split())[:LONGEST_TEXT]


def load() -> tuple[str, dict[str, Results]]:
    """The stored version of the cases, and the results by tool."""
    tools: dict[str, Results] = {}
    if not FILE.exists():
        return "", tools
    head, *lines = map(json.loads, FILE.read_text(encoding="utf-8").splitlines())
    for line in lines:
        name, case = line.pop("tool"), line.pop("case", None)
        if case is None:
            tools[name] = Results(**{**line, "requirements": tuple(line["requirements"])})
        elif "error" in line:
            tools[name].errors[case] = line["error"]
        else:
            tools[name].messages[case] = line["messages"]
    return head["version"], tools


def store(version: str, tools: Mapping[str, Results]) -> None:
    lines: list[dict[str, Any]] = [{"version": version}]
    for name, one in tools.items():
        facts = {"way": one.way, "requirements": one.requirements, "seconds": one.seconds, "failure": one.failure}
        lines.append({"tool": name, **facts})
        lines += [{"tool": name, "case": case, "messages": messages} for case, messages in one.messages.items()]
        lines += [{"tool": name, "case": case, "error": error} for case, error in one.errors.items()]
    FILE.write_text("".join(json.dumps(line) + "\n" for line in lines), encoding="utf-8")
