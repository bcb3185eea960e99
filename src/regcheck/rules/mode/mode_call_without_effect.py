"""A `model.eval` or `model.train` without the parentheses that call it.

## What it finds

`model.eval` or `model.train` without the call's parentheses, as a statement of its own (also in a tuple, a list
comprehension or a conditional expression, or assigned to `_`) or as a condition: in an assertion, `if`, `while` or a
conditional expression. The owner must be a model: an object of a module class, or a value that the same function or
class calls, asks for its parameters, puts in eval mode or annotates as `nn.Module`. The rule ignores a property or a
setting of that name, and a method that is passed on (`callback = model.eval`).

## Why it matters

The statement does nothing, so the model keeps its mode: predictions use dropout and batch statistics, or training
continues without them. A condition that names a method is always true and checks nothing.

## How it is confirmed

The rule reads source only: the line has no effect that a run could measure. Its consequences at run time are
missing-eval or trained-in-eval, which are measured.

## How it is fixed

`model.eval` as a statement gets its parentheses. It is unsafe: the model then runs in the other mode. An assertion is
left to the author.

## When to keep the code

Never: the line has no effect. To check the mode, write `assert not model.training`.

## References

The documentation of `torch.nn.Module.eval` and `torch.nn.Module.train`. Bare expressions of this kind are also reported
by flake8-bugbear (B018) where they are attributes.
"""

from __future__ import annotations

import ast
from collections.abc import Iterator

from regcheck.core.finding import Severity, Suspicion
from regcheck.core.patch import Code, Patch
from regcheck.core.rule import Example
from regcheck.core.usage import MethodNotCalled, Usage

CODE = "REG210"
SEVERITY = Severity.WARNING
SINCE = "1.0"
BEGINS_AT = (MethodNotCalled,)


def check(usage: Usage) -> Iterator[Suspicion]:
    for event in usage.events:
        if isinstance(event, MethodNotCalled) and event.method in ("eval", "train"):
            named = f"`{event.owner}.{event.method}`"
            if event.as_condition:
                message = f"the condition {named} is always true: it names the method and checks nothing"
                fix = f"check the mode: `{'not ' * (event.method == 'eval')}{event.owner}.training`"
            else:
                message = f"{named} names the method and does not call it, so the model keeps its mode"
                fix = f"call it: `{event.owner}.{event.method}()`"
            yield Suspicion(event, message, fix)


def fix(code: Code) -> Patch | None:
    """Call what a statement names; what an assertion was meant to check is the author's to say."""
    statement = next(iter(code.around), None)
    if not isinstance(statement, ast.Expr) or not isinstance(statement.value, ast.Attribute):
        return None
    named = code.text_of(statement.value)
    return Patch(f"call `{named}()`", False, (code.inserted_after(statement.value, "()"),))


BAD = (
    Example(
        """\
import torch
from torch import nn


class Classifier(nn.Module):
    def __init__(self):
        super().__init__()
        self.hidden = nn.Linear(16, 32)
        self.drop = nn.Dropout(0.5)
        self.head = nn.Linear(32, 4)

    def forward(self, x):
        return self.head(self.drop(torch.relu(self.hidden(x))))


model = Classifier()
model.eval  # <-
print(model(torch.randn(2, 16)))
""",
        fixed="""\
import torch
from torch import nn


class Classifier(nn.Module):
    def __init__(self):
        super().__init__()
        self.hidden = nn.Linear(16, 32)
        self.drop = nn.Dropout(0.5)
        self.head = nn.Linear(32, 4)

    def forward(self, x):
        return self.head(self.drop(torch.relu(self.hidden(x))))


model = Classifier()
model.eval()
print(model(torch.randn(2, 16)))
""",
    ),
    Example("""\
import torch


def evaluate(model, batches):
    assert model.eval  # <-
    with torch.no_grad():
        return [model(x) for x in batches]
"""),
)

GOOD = (
    Example("""\
import torch


class Timer:
    @property
    def eval(self):
        return 0.0


def evaluate(model, batches, timer, callbacks):
    timer.eval
    callbacks["eval"] = model.eval
    model.eval()
    assert not model.training
    with torch.no_grad():
        return [model(x) for x in batches]
"""),
)
