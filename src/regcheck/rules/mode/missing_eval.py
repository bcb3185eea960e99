"""Predictions made in train mode.

## What it finds

A model called for inference (gradients off, the result kept) while dropout or batch norm are still in train mode,
because nobody called `eval()`. Passes that need train mode are left alone: a call whose result is thrown away (batch
norm recalibration, `update_bn`), a call right after an explicit `train()` (Monte-Carlo dropout), a call in a function
that itself trains (teachers, generators), and a test's own smoke call.

## Why it matters

Dropout zeroes activations at random and batch norm normalizes by the test batch, so scores depend on chance and on how
the data is batched. At least one published medical result was computed this way.

## How it is confirmed

On a copy of the model, with the very input of the call: predictions with the layers' modes as they were at the call
against predictions in eval mode. Each of the former must lie farther from an eval run than any other eval run does (an
exact rank test). The figures are the relative change and the share of argmax flips.

## When to keep the code

Monte-Carlo dropout and test-time batch statistics: call `train()` explicitly just before, or ignore the line.

## References

Gal and Ghahramani, "Dropout as a Bayesian approximation", ICML 2016 (the case where train mode is meant).
"""

from __future__ import annotations

import ast
from collections.abc import Iterator
from typing import TypeGuard

from regcheck.core.finding import Evidence, Severity, Suspicion, Verdict
from regcheck.core.patch import Code, Patch
from regcheck.core.rule import Example, Probe
from regcheck.core.usage import Called, Usage

CODE = "REG201"
SEVERITY = Severity.ERROR


def check(usage: Usage) -> Iterator[Suspicion]:
    for index, call in usage.calls():
        if is_prediction(call) and not usage.trains_in(call.function) and not usage.put_in_train_mode_for(index):
            layers = " and ".join(call.model.mode_dependent)
            yield Suspicion(
                call,
                f"`{call.model.name}` predicts in train mode: {layers} still act as in training",
                fix="call `model.eval()` before predicting, and `model.train()` before training again",
            )


def is_prediction(call: Called) -> bool:
    """Whether a call made in train mode, without gradients, is kept as a prediction."""
    kept = call.result == "used" and not call.test_code
    return call.training is True and not call.grad and kept and call.model.learned and bool(call.model.mode_dependent)


def fix(code: Code) -> Patch | None:
    """Call what was only named, `model.eval`, or put `model.eval()` before the code that predicts."""
    function = next((each for each in code.around if isinstance(each, (ast.FunctionDef, ast.Module))), None)
    if not code.calls or function is None:
        return None
    model = next((code.text_of(each.func) for each in code.calls if _is_dotted(each.func)), "")
    if model in ("", "self") or model.endswith(".forward"):
        return None
    named = [
        node.value
        for node in ast.walk(function)
        if isinstance(node, ast.Expr) and _is_dotted(node.value) and code.text_of(node.value) == f"{model}.eval"
    ]
    if len(named) == 1:
        return Patch(f"call `{model}.eval`", False, (code.inserted_after(named[0], "()"),))
    statement = outermost(code, model)
    edit = code.line_before(statement, f"{model}.eval()") if statement and not named else None
    message = f"call `{model}.eval()` first; call `{model}.train()` before training goes on"
    return Patch(message, False, (edit,)) if edit else None


def outermost(code: Code, model: str) -> ast.stmt | None:
    """The outermost loop or `with` around the prediction that does nothing else with the model."""
    found: ast.stmt | None = None
    for each in code.around:
        if found is not None and not isinstance(each, (ast.For, ast.While, ast.With)):
            break
        if isinstance(each, ast.stmt):
            mentioned = [node for node in ast.walk(each) if _is_dotted(node) and code.text_of(node) == model]
            run = [node.func for node in ast.walk(each) if isinstance(node, ast.Call)]
            if any(node not in run for node in mentioned):
                break
            found = each
            if isinstance(each, ast.With) and any("no_grad" in w or "inference_mode" in w for w in items(code, each)):
                break
    return found


def items(code: Code, statement: ast.With) -> list[str]:
    return [code.text_of(each.context_expr) for each in statement.items]


def _is_dotted(node: ast.AST) -> TypeGuard[ast.expr]:
    """Whether a node is a name, or an attribute of one."""
    while isinstance(node, ast.Attribute):
        node = node.value
    return isinstance(node, ast.Name)


def confirm(suspicion: Suspicion, probe: Probe) -> Evidence:
    gap = probe.gap(suspicion.event)
    if gap.verdict is Verdict.UNMEASURED:
        return probe.evidence(gap.verdict, gap.doubt, gap)
    if gap.verdict is Verdict.REFUTED:
        return probe.evidence(Verdict.REFUTED, "the prediction is the same in eval mode", gap)
    because = f"on this call's input the prediction is {gap.relative:.2g} (relative) away from eval mode's"
    because += "" if gap.flips is None else f", and {gap.flips:.0%} of its argmaxes change"
    return probe.evidence(Verdict.CONFIRMED, because, gap)


BAD = (
    Example("""\
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


def evaluate(model, batches):
    hits = 0
    with torch.no_grad():
        for x, y in batches:
            scores = model(x)  # <-
            hits += (scores.argmax(1) == y).sum().item()
    return hits


def main():
    model = Classifier()
    evaluate(model, [(torch.randn(32, 16), torch.zeros(32))])


main()
"""),
    Example("""\
import torch
from torch import nn


def train(model, x, y):
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    model.train()
    loss = nn.functional.mse_loss(model(x), y)
    loss.backward()
    optimizer.step()


@torch.no_grad()
def predict(model, x):
    return model(x).sigmoid()  # <-


class Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.body = nn.Sequential(nn.Linear(8, 16), nn.BatchNorm1d(16), nn.ReLU(), nn.Linear(16, 2))

    def forward(self, x):
        return self.body(x)


def main():
    model = Net()
    train(model, torch.randn(32, 8), torch.randn(32, 2))
    print(predict(model, torch.randn(32, 8)).shape)


main()
"""),
)

GOOD = (
    Example("""\
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


def evaluate(model, batches):
    model.eval()
    hits = 0
    with torch.no_grad():
        for x, y in batches:
            scores = model(x)
            hits += (scores.argmax(1) == y).sum().item()
    return hits


def main():
    model = Classifier()
    evaluate(model, [(torch.randn(32, 16), torch.zeros(32))])


main()
"""),
)
