"""The skeleton of a rule file, which passes `check_rule` as it is: its sample rule is to be replaced, part by part."""

from __future__ import annotations

import re
from collections.abc import Iterable
from pathlib import Path

from regcheck.core.errors import UsageError
from regcheck.core.rule import Rule

NAME = re.compile(r"[a-z][a-z0-9]*(-[a-z0-9]+)*")

SKELETON = '''\
"""One sentence that names the defect: here, a dropout that drops more than half.

## What it finds

The code that is reported, and the code beside it that is not.

## Why it matters

What goes wrong, and when somebody notices.

## How it is confirmed

What is measured, and what the measurement is compared with. Without `confirm`: why it is read from source only.

## When to keep the code

The cases in which the code is meant, and how it is declared then.

## References

The paper or the documentation that says so.
"""

from __future__ import annotations

from collections.abc import Iterator

from regcheck.core.finding import Severity, Suspicion
from regcheck.core.graph import Graph, Mode
from regcheck.core.rule import Example
from regcheck.core.starting_points import Trait

CODE = "ACME101"
SEVERITY = Severity.WARNING
BEGINS_AT = (Trait.DROPS,)  # the kinds and traits of ops, and the types of events, that `check` starts from


def check(graph: Graph) -> Iterator[Suspicion]:
    """`check(usage)` reads what a program does with its models, `check(graph, usage)` a model and its use together."""
    for drop in graph.dropouts(active_in=Mode.TRAIN):
        if drop.rate is not None and drop.rate > 0.5:
            yield Suspicion(drop, f"`{drop.call}` drops more than half", fix="lower the rate")


BAD = (
    Example("""\\
import torch
from torch import nn

model = nn.Sequential(
    nn.Linear(8, 8),
    nn.Dropout(0.7),  # <-
    nn.Linear(8, 2),
)
inputs = (torch.randn(4, 8),)
"""),
)

GOOD = (
    Example("""\\
import torch
from torch import nn

model = nn.Sequential(
    nn.Linear(8, 8),
    nn.Dropout(0.5),
    nn.Linear(8, 2),
)
inputs = (torch.randn(4, 8),)
"""),
)
'''


def write(name: str, path: Path, rules: Iterable[Rule]) -> Path:
    """Write the skeleton of a rule into a folder, or as the file that `path` names, and return where it stands.

    A folder that does not exist is created.

    Raises:
        UsageError: the name is not in kebab-case, or some rule's already; the file exists, is not named after the rule,
            or cannot be written.
    """
    if not NAME.fullmatch(name):
        raise UsageError(f"{name!r} names no rule: write the defect in kebab-case, as in `softmax-before-loss`")
    for rule in rules:
        if rule.name == name:
            raise UsageError(f"there is a rule called {name} already: {rule.code} in {rule.module}")
    file = path if path.suffix == ".py" else path / f"{name.replace('-', '_')}.py"
    if file.stem != name.replace("-", "_"):
        raise UsageError(f"{file}: the file of the rule {name} must be called {name.replace('-', '_')}.py")
    try:
        if not file.parent.is_dir():
            file.parent.mkdir(parents=True)
        with file.open("x", encoding="utf-8") as new:
            new.write(SKELETON)
    except FileExistsError:
        raise UsageError(f"{file}: exists already, and is not overwritten") from None
    except OSError as error:
        raise UsageError(f"{file}: cannot be written: {error.strerror}") from None
    return file
