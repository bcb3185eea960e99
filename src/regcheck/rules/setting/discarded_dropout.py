"""A dropout whose result no code reads.

## What it finds

A dropout that is not in place, and whose result is lost: the call is a statement of its own, or the name that it is
bound to is assigned again, or never read, on every path through the function. The rule ignores results that code
stores, returns or logs, those that only one branch reads, results of a layer with a forward hook, and attention.

## Why it matters

The call draws a mask and drops nothing: the network goes on with the values that it had before. The model trains
without the regularization that its code shows, and a search over the rate compares equal models.

## How it is confirmed

In train mode, with all other random ops fixed: runs with other draws of this call only, and a run with it replaced by
identity, must not differ from one another by more than replays do. If every run with other draws lies above the replays
(an exact rank test), the suspicion is refuted.

## How it is fixed

A call that is a statement of its own assigns its result to the name that it drops: `F.dropout(x, …)` becomes
`x = F.dropout(x, …)`. Where a result has a name that no code reads, and exactly one later expression reads the name
that was dropped, that expression reads the result instead.

Both are safe where the dropout certainly follows the mode, because the model's predictions stay as they are; training
begins to drop. They are unsafe where the code around does not say so.

## When to keep the code

If the call only advances the random generator, to repeat the numbers of an earlier program.

## References

The documentation of `torch.nn.functional.dropout`: the input is unchanged unless `inplace` is True.
"""

from __future__ import annotations

import ast
from collections.abc import Iterator

from regcheck.core.finding import Evidence, Severity, Suspicion, Verdict
from regcheck.core.graph import Graph, Kind
from regcheck.core.measurements.output_change import OutputChange
from regcheck.core.patch import Code, Patch, argument, builder, mentions
from regcheck.core.rule import Example, Probe
from regcheck.core.starting_points import Trait
from regcheck.torch_api.functions import DROPPING

CODE = "REG405"
SEVERITY = Severity.WARNING
SINCE = "1.0"
BEGINS_AT = (Trait.DROPS,)


def check(graph: Graph) -> Iterator[Suspicion]:
    for drop in graph.train:
        acts = drop.active is not False and drop.rate != 0 and not drop.latent
        if drop.kind is Kind.DROPOUT and drop.discarded and acts:
            yield Suspicion(
                drop,
                f"`{drop.call}` drops nothing: no code reads its result",
                fix="assign the result to the variable that the next layer reads, or remove the call",
            )


def fix(code: Code) -> Patch | None:
    """Assign the result to the name that it drops, or read the result where the code reads that name."""
    function = next((each for each in code.around if isinstance(each, _SCOPES)), None)
    if len(code.calls) != 1 or not isinstance(function, ast.FunctionDef):
        return None
    (call,), statement = code.calls, code.around[0]
    operand = call.args[0] if call.args else None
    safe = follows_mode(code, call)
    if not isinstance(operand, ast.Name) or safe is None or not is_local(function, operand.id):
        return None
    if isinstance(statement, ast.Expr):
        edit = code.inserted_before(statement, f"{operand.id} = ")
        return Patch(f"assign the result to `{operand.id}`", safe, (edit,))
    if isinstance(statement, ast.Assign) and len(statement.targets) == 1:
        result = statement.targets[0]
        if isinstance(result, ast.Name) and not result.id.startswith("_"):
            read = only_read_after(function, statement, operand.id, result.id)
            if read is not None:
                message = f"read `{result.id}`, the result, in place of `{operand.id}`"
                return Patch(message, safe, (code.replaced(read, result.id),))
    return None


def follows_mode(code: Code, call: ast.Call) -> bool | None:
    """Whether a dropout certainly acts in train mode only; None if it certainly does not."""
    gates = [each for each in code.around if isinstance(each, ast.If) and code.text_of(each.test) == "self.training"]
    if any(node is call for gate in gates for each in gate.body for node in ast.walk(each)):
        return True
    package, _, function = code.name_of(call.func).rpartition(".")
    if package in ("torch.nn.functional", "torch") and function in DROPPING:
        how = DROPPING[function].training
        if how is None:
            return None
        switch = argument(call, how.position, how.name)
        return True if switch is not None and code.text_of(switch) == "self.training" else None
    layer = builder(code, call)
    return layer is not None and code.name_of(layer.func).startswith("torch.nn.")


def is_local(function: ast.FunctionDef, name: str) -> bool:
    """Whether a name is a parameter of a function, or bound in it, and shared with no other function."""
    parts = [each for each in ast.walk(function) if each is not function]
    inner = [each for each in parts if isinstance(each, _SCOPES)]
    if mentions(inner, name) or any(isinstance(each, (ast.Global, ast.Nonlocal)) for each in parts):
        return False
    bound = any(not isinstance(each.ctx, ast.Load) for each in mentions([function], name))
    return bound or any(isinstance(each, ast.arg) and each.arg == name for each in ast.walk(function.args))


def only_read_after(function: ast.FunctionDef, statement: ast.Assign, name: str, result: str) -> ast.Name | None:
    """The one expression that reads a name between a statement of the function's own block and the next assignment.

    None where a branch or a loop may read either name, or where `result` is no longer what the statement assigned.
    """
    if statement not in function.body:
        return None
    reads: list[ast.Name] = []
    for each in function.body[function.body.index(statement) + 1 :]:
        here = mentions([each], name)
        if here and (not isinstance(each, (ast.Assign, ast.Return)) or _hides_a_read(each)):
            return None
        if mentions([each], result) and not reads and not here:
            return None
        reads += [node for node in here if isinstance(node.ctx, ast.Load)]
        if any(not isinstance(node.ctx, ast.Load) for node in here):
            break
    return reads[0] if len(reads) == 1 else None


def _hides_a_read(statement: ast.stmt) -> bool:
    """Whether names in a statement may have a scope, or a position, of their own."""
    return any(isinstance(node, (*_SCOPES, ast.JoinedStr, ast.NamedExpr)) for node in ast.walk(statement))


_COMPREHENSIONS = (ast.ListComp, ast.SetComp, ast.DictComp, ast.GeneratorExp)
_SCOPES = (ast.FunctionDef, ast.AsyncFunctionDef, ast.Lambda, ast.ClassDef, *_COMPREHENSIONS)


def confirm(suspicion: Suspicion, probe: Probe) -> Evidence:
    change = probe.measure(OutputChange, suspicion.op)
    runs = f"{len(change.changed)} train runs with new random numbers"
    if change.is_nothing:
        return probe.evidence(Verdict.CONFIRMED, f"{runs}, and one without this call, agree", change)
    if change.acts:
        return probe.evidence(Verdict.REFUTED, f"{runs} all differ", change)
    return probe.evidence(Verdict.UNMEASURED, f"only some of {runs} differ", change)


BAD = (
    Example(
        """\
import torch
import torch.nn.functional as F
from torch import nn


class Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.hidden = nn.Linear(16, 64)
        self.head = nn.Linear(64, 4)

    def forward(self, x):
        x = torch.relu(self.hidden(x))
        F.dropout(x, 0.3, self.training)  # <-
        return self.head(x)


model = Net()
inputs = (torch.randn(8, 16),)
""",
        fixed="""\
import torch
import torch.nn.functional as F
from torch import nn


class Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.hidden = nn.Linear(16, 64)
        self.head = nn.Linear(64, 4)

    def forward(self, x):
        x = torch.relu(self.hidden(x))
        x = F.dropout(x, 0.3, self.training)
        return self.head(x)


model = Net()
inputs = (torch.randn(8, 16),)
""",
    ),
    Example(
        """\
import torch
from torch import nn


class Scorer(nn.Module):
    def __init__(self):
        super().__init__()
        self.inner = nn.Linear(16, 64)
        self.outer = nn.Linear(64, 16)
        self.drop = nn.Dropout(0.2)

    def forward(self, x):
        hidden = torch.relu(self.inner(x))
        dropped = self.drop(hidden)  # <-
        return x + self.outer(hidden)


model = Scorer()
inputs = (torch.randn(8, 16),)
""",
        fixed="""\
import torch
from torch import nn


class Scorer(nn.Module):
    def __init__(self):
        super().__init__()
        self.inner = nn.Linear(16, 64)
        self.outer = nn.Linear(64, 16)
        self.drop = nn.Dropout(0.2)

    def forward(self, x):
        hidden = torch.relu(self.inner(x))
        dropped = self.drop(hidden)
        return x + self.outer(dropped)


model = Scorer()
inputs = (torch.randn(8, 16),)
""",
    ),
)

GOOD = (
    Example("""\
import torch
import torch.nn.functional as F
from torch import nn


class Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.hidden = nn.Linear(16, 64)
        self.head = nn.Linear(64, 4)
        self.drop = nn.Dropout(0.3, inplace=True)

    def forward(self, x):
        x = torch.relu(self.hidden(x))
        self.drop(x)
        return self.head(x)


model = Net()
inputs = (torch.randn(8, 16),)
"""),
    Example("""\
import torch
from torch import nn


class Scorer(nn.Module):
    def __init__(self):
        super().__init__()
        self.inner = nn.Linear(16, 64)
        self.outer = nn.Linear(64, 16)
        self.drop = nn.Dropout(0.2)

    def forward(self, x):
        hidden = torch.relu(self.inner(x))
        dropped = self.drop(hidden)
        return x + self.outer(dropped if self.training else hidden)


model = Scorer()
inputs = (torch.randn(8, 16),)
"""),
)
