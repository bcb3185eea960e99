"""Dropout that stays on after `eval()`.

## What it finds

A dropout that still drops when the model is in eval mode: `F.dropout(x)` without `training=self.training`,
`training=True`, an `nn.Dropout()` built inside `forward` (a new module is always in train mode), and
`scaled_dot_product_attention(dropout_p=…)`, which ignores the mode and drops whenever its rate is above zero, as
flash-attn's `flash_attn_func` and xformers' `memory_efficient_attention(p=…)` do. If that rate comes from a
configuration with unknown values, the finding is a warning, not an error.

The mode is the one that `train()` and then `eval()` of the model leave, as its classes define these methods: a flag
that `train()` sets and `eval()` does not take back keeps the dropout on.

`torch.fx` (and tools based on it, such as PyG's `to_hetero`), `torch.export` and `torch.jit.trace` bake the value of
`self.training` into the traced code. If they trace a model in train mode, correct code becomes such a dropout, also
between the layers of an LSTM or GRU, which only an audit or a watched run can see; the finding is at the original line,
if the tracer recorded it.

A rate that is zero by default (`def __init__(self, dropout=0.0)`, a field of a configuration) harms only users who set
it. If such a dropout does not follow the mode, the finding is advice (`info`), which `regcheck scan` shows with
`--extend-select REG202`.

## Why it matters

Predictions become random and worse, evaluation scores are those of a damaged model, and nothing crashes. nanoGPT, timm,
torchvision and torchtune all shipped this.

## How it is confirmed

The model runs in eval mode. Each random op draws from its own stream, so the measurement can change the suspect's
stream alone. Runs with the same streams show how much rounding changes the output; runs with a changed stream must
differ by more (an exact test, with twice the runs if the first do not decide). With the arguments of eval mode at that
one call (`training=False`, `dropout_p=0.0`), the runs must agree again.

## How it is fixed

Safe, in a method of a class that is certainly a module: a call without `training` gets `training=self.training`, and an
attention's rate `p` becomes `p if self.training else 0.0`. Training stays as it is, and eval mode drops nothing.

Unsafe, because it may be meant: an explicit `True`, and a call under a condition about the mode, follow the mode, too.
Unsafe, because the class gets one more attribute: `nn.Dropout(p)(x)` with a constant rate is built in `__init__`.

## When to keep the code

If randomness at prediction time is the method: Monte-Carlo dropout, or Tacotron 2's prenet. Declare it once, on the
line: `# regcheck: ignore[REG202] Monte-Carlo dropout`.

## References

Srivastava et al., "Dropout: a simple way to prevent neural networks from overfitting", JMLR 15 (2014).
"""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from dataclasses import replace

from regcheck.core.finding import Evidence, Severity, Suspicion, Verdict
from regcheck.core.graph import Drops, Graph, Kind, Mode, Op, Reach
from regcheck.core.measurements.spread import Spread
from regcheck.core.patch import Code, Patch, argument, is_literal, is_plain, keyword, zero_unless
from regcheck.core.rule import Example, Probe
from regcheck.core.starting_points import Trait
from regcheck.torch_api.functions import DROPPING, FOREIGN

CODE = "REG202"
SEVERITY = Severity.ERROR
SINCE = "1.0"
BEGINS_AT = (Trait.DROPS,)
ABOUT_MODE = re.compile(r"train|eval|infer|test|mc|monte|sampl|stoch|uncertain", re.IGNORECASE)


def check(graph: Graph) -> Iterator[Suspicion]:
    for drop in graph.dropouts(active_in=Mode.EVAL):
        if counts(graph, drop) and not drop.latent:
            when = "when the model is called without `training`" if is_keras(drop) else "after `eval()`"
            message = f"`{drop.call}` still drops {what(drop)} {when}{since(drop)}"
            yield Suspicion(drop, message, remedy(drop), (), doubted(drop))
    for stack in graph.eval:
        if stack.kind is Kind.RECURRENT and stack.traced_by and stack.active and counts(graph, stack):
            message = f"`{stack.call}` still drops activations between its layers after `eval()`{since(stack)}"
            yield Suspicion(stack, message, remedy(stack))
    for drop in graph.latent_dropouts(Mode.EVAL):
        if counts(graph, drop):
            would = f"it drops {what(drop)} after `eval()`"
            message = f"`{drop.call}` ignores the mode: at any rate above its default of 0 {would}"
            yield Suspicion(drop, message, remedy(drop), (), Severity.INFO)


def counts(graph: Graph, drop: Op) -> bool:
    """Whether a dropout changes predictions; what is wrong with a layer that is kept is eval-does-not-reach."""
    return drop.reach not in (Reach.REGISTERED, Reach.HIDDEN) and bool(graph.eval.outputs_reached(drop))


def what(drop: Op) -> str:
    return drop.drops.value if drop.drops else ""


def is_keras(drop: Op) -> bool:
    """Whether a layer of Keras or a function of TensorFlow drops: the argument `training` of a call holds the mode."""
    return drop.call.startswith(("keras.", "tf."))


def since(drop: Op) -> str:
    """Why a traced dropout stays in train mode."""
    return f": the code that {drop.traced_by} wrote holds train mode as a constant" if drop.traced_by else ""


def doubted(drop: Op) -> Severity | None:
    """Attention may be given a rate of zero on purpose: where the rate is unknown or a default, this is a warning."""
    return Severity.WARNING if drop.drops is Drops.ATTENTION and (drop.rate is None or drop.by_default) else None


def remedy(drop: Op) -> str:
    if drop.traced_by:
        layers = ", or drop with an `nn.Dropout`, which torch.fx leaves as it is"
        return "call `eval()` before it is traced" + (layers if drop.traced_by == "torch.fx" else "")
    if is_keras(drop) and not drop.call.startswith("keras.layers."):
        return "use a `keras.layers.Dropout`, or call this only `if training`"
    if is_keras(drop):
        return "call the layer without `training=True`, and pass that to the model where it trains"
    how = DROPPING.get(drop.site.function)
    if how is not None and how.training is None:
        return f"pass `{how.rate[1]}=… if self.training else 0.0`"
    if drop.call.startswith("nn."):
        return "create the layer in `__init__`, as a registered submodule, so that `eval()` reaches it"
    return "pass `training=self.training`"


def switch(drop: Op) -> str:
    """What makes the call drop nothing."""
    how = DROPPING.get(drop.site.function)
    if how is None:
        return "a rate of 0 in this call"
    return f"`{how.rate[1]}=0.0` in this call" if how.training is None else f"`{how.training[1]}=False` in this call"


def fix(code: Code) -> Patch | None:
    """Gate the call by the mode; safe where nothing says that somebody asked for the opposite."""
    method = code.module_method()
    if method is None:
        return None
    for call in code.calls:
        package, _, function = code.name_of(call.func).rpartition(".")
        has_training_argument = package in ("torch.nn.functional", "torch") or function in FOREIGN.get(package, ())
        if has_training_argument and function in DROPPING and is_plain(call):
            modeless = DROPPING[function].training is None
            patch = gate_rate(code, call, function) if modeless else gate_switch(code, call, function)
            return replace(patch, safe=patch.safe and not is_asked_for(code)) if patch else None
        if isinstance(call.func, ast.Call) and code.name_of(call.func.func).startswith("torch.nn."):
            return register(code, call.func, *method)
    return None


def is_asked_for(code: Code) -> bool:
    """Whether a condition around the call speaks of the mode: its dropout may be meant for that mode."""
    tests = [each.test for each in code.around if isinstance(each, (ast.If, ast.IfExp, ast.While))]
    return any(ABOUT_MODE.search(code.text_of(test)) for test in tests)


def gate_rate(code: Code, call: ast.Call, function: str) -> Patch | None:
    """Let the rate of an attention be zero outside of training."""
    position, name, _ = DROPPING[function].rate
    rate = argument(call, position, name)
    if rate is None:
        return None
    return Patch(f"make `{name}` zero outside of training", True, (zero_unless(code, rate, "self.training"),))


def gate_switch(code: Code, call: ast.Call, function: str) -> Patch | None:
    """Let a dropout follow the mode: pass `training` where it is missing, or replace its `True`."""
    how = DROPPING[function].training
    if how is None:
        return None
    position, name, _ = how
    renamed = keyword(call, "train")
    switch = renamed.value if renamed else argument(call, position, name)
    if switch is None and function != "multi_head_attention_forward":
        edits = code.with_argument(call, f"{name}=self.training")
        return Patch("pass `training=self.training`", True, edits)
    if switch is not None and is_literal(switch, True):
        edits = (code.replaced(switch, "self.training"),)
        return Patch("pass `self.training` for `True`, which may have been meant", False, edits)
    return None


def register(code: Code, layer: ast.Call, owner: ast.ClassDef, method: ast.FunctionDef) -> Patch | None:
    """Build a layer once in `__init__`, where that is all there is to its making."""
    begin = next((each for each in owner.body if isinstance(each, ast.FunctionDef) and each.name == "__init__"), None)
    plain = is_plain(layer) and all(isinstance(each, ast.Constant) for each in _values(layer))
    if begin is None or method is begin or not plain or layer.lineno != layer.end_lineno or _leaves(begin):
        return None
    if [code.name_of(base) for base in owner.bases] != ["torch.nn.Module"] or begin.args.args[0].arg != "self":
        return None
    names = {node.attr for node in ast.walk(owner) if isinstance(node, ast.Attribute)}
    names |= {each.name for each in owner.body if isinstance(each, (ast.FunctionDef, ast.AsyncFunctionDef))}
    name = next(each for each in ("dropout", *(f"dropout{n}" for n in range(2, 1000))) if each not in names)
    line = code.line_after(begin.body[-1], f"self.{name} = {code.text_of(layer)}")
    if line is None:
        return None
    return Patch(
        f"build the layer in `__init__`, as `self.{name}`", False, (line, code.replaced(layer, f"self.{name}"))
    )


def _values(call: ast.Call) -> list[ast.expr]:
    return [*call.args, *(each.value for each in call.keywords)]


def _leaves(function: ast.FunctionDef) -> bool:
    """Whether a line at the function's end might not be reached."""
    return any(isinstance(node, (ast.Return, ast.Raise)) for node in ast.walk(function))


def confirm(suspicion: Suspicion, probe: Probe) -> Evidence:
    spread = probe.measure(Spread, suspicion.ops, Mode.EVAL)
    because = spread.describe("this call")
    if spread.verdict is Verdict.CONFIRMED:
        removed = spread.vanishes and suspicion.op.drops is not None
        condition = switch(suspicion.op) if removed else "this call's random numbers fixed"
        because += f"; with {condition} they are {spread.agreement}"
    return probe.evidence(spread.verdict, because, spread)


BAD = (
    Example(
        """\
import torch
import torch.nn as nn
import torch.nn.functional as F


class Classifier(nn.Module):
    def __init__(self):
        super().__init__()
        self.hidden = nn.Linear(16, 32)
        self.head = nn.Linear(32, 4)

    def forward(self, x):
        x = F.relu(self.hidden(x))
        x = F.dropout(x, p=0.5)  # <-
        return self.head(x)


model = Classifier()
inputs = (torch.randn(8, 16),)
""",
        fixed="""\
import torch
import torch.nn as nn
import torch.nn.functional as F


class Classifier(nn.Module):
    def __init__(self):
        super().__init__()
        self.hidden = nn.Linear(16, 32)
        self.head = nn.Linear(32, 4)

    def forward(self, x):
        x = F.relu(self.hidden(x))
        x = F.dropout(x, p=0.5, training=self.training)
        return self.head(x)


model = Classifier()
inputs = (torch.randn(8, 16),)
""",
    ),
    Example(
        """\
import torch
import torch.nn.functional as F
from torch import nn


class Attention(nn.Module):
    def __init__(self, width=32, heads=4, rate=0.1):
        super().__init__()
        self.heads = heads
        self.rate = rate
        self.qkv = nn.Linear(width, 3 * width)
        self.out = nn.Linear(width, width)

    def forward(self, x):
        n, length, width = x.shape
        qkv = self.qkv(x).view(n, length, 3, self.heads, width // self.heads)
        q, k, v = qkv.permute(2, 0, 3, 1, 4).unbind(0)
        y = F.scaled_dot_product_attention(q, k, v, dropout_p=self.rate)  # <-
        return self.out(y.transpose(1, 2).reshape(n, length, width))


model = Attention()
inputs = (torch.randn(4, 10, 32),)
""",
        fixed="""\
import torch
import torch.nn.functional as F
from torch import nn


class Attention(nn.Module):
    def __init__(self, width=32, heads=4, rate=0.1):
        super().__init__()
        self.heads = heads
        self.rate = rate
        self.qkv = nn.Linear(width, 3 * width)
        self.out = nn.Linear(width, width)

    def forward(self, x):
        n, length, width = x.shape
        qkv = self.qkv(x).view(n, length, 3, self.heads, width // self.heads)
        q, k, v = qkv.permute(2, 0, 3, 1, 4).unbind(0)
        y = F.scaled_dot_product_attention(q, k, v, dropout_p=self.rate if self.training else 0.0)
        return self.out(y.transpose(1, 2).reshape(n, length, width))


model = Attention()
inputs = (torch.randn(4, 10, 32),)
""",
    ),
    Example(
        """\
import torch
from torch import nn


class Classifier(nn.Module):
    def __init__(self):
        super().__init__()
        self.hidden = nn.Linear(16, 32)
        self.head = nn.Linear(32, 4)

    def forward(self, x):
        x = torch.relu(self.hidden(x))
        x = nn.Dropout(0.3)(x)  # <-
        return self.head(x)


model = Classifier()
inputs = (torch.randn(8, 16),)
""",
        fixed="""\
import torch
from torch import nn


class Classifier(nn.Module):
    def __init__(self):
        super().__init__()
        self.hidden = nn.Linear(16, 32)
        self.head = nn.Linear(32, 4)
        self.dropout = nn.Dropout(0.3)

    def forward(self, x):
        x = torch.relu(self.hidden(x))
        x = self.dropout(x)
        return self.head(x)


model = Classifier()
inputs = (torch.randn(8, 16),)
""",
    ),
)

GOOD = (
    Example("""\
import torch
import torch.nn as nn
import torch.nn.functional as F


class Classifier(nn.Module):
    def __init__(self):
        super().__init__()
        self.hidden = nn.Linear(16, 32)
        self.drop = nn.Dropout(0.5)
        self.head = nn.Linear(32, 4)

    def forward(self, x):
        x = F.relu(self.hidden(x))
        x = F.dropout(x, 0.5, self.training)
        if self.training:
            x = F.dropout(x, 0.1)
        return self.head(self.drop(x))


model = Classifier()
inputs = (torch.randn(8, 16),)
"""),
    Example("""\
import torch
import torch.nn.functional as F
from torch import nn


class Attention(nn.Module):
    def __init__(self, width=32, heads=4, rate=0.1):
        super().__init__()
        self.heads = heads
        self.rate = rate
        self.qkv = nn.Linear(width, 3 * width)
        self.out = nn.Linear(width, width)

    def forward(self, x):
        n, length, width = x.shape
        qkv = self.qkv(x).view(n, length, 3, self.heads, width // self.heads)
        q, k, v = qkv.permute(2, 0, 3, 1, 4).unbind(0)
        rate = self.rate if self.training else 0.0
        y = F.scaled_dot_product_attention(q, k, v, dropout_p=rate)
        return self.out(y.transpose(1, 2).reshape(n, length, width))


model = Attention()
inputs = (torch.randn(4, 10, 32),)
"""),
)
