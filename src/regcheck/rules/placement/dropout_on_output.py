"""Dropout applied to the model's output.

## What it finds

A dropout on the scores of a model: its result reaches a model output, or a loss inside `forward`, through passive ops
only (reshape, softmax, sigmoid, scaling, pooling over an axis, masks, resizing, sums of dropped heads), and no learned
layer reads it. The scores may be a sum of several layers' results. Each output of a tuple or a dict is judged
separately. Activations behind the last layer count as
passive where the code says that its results are scores: the program trains the model or scores its outputs (a loss,
`argmax`, a method such as `predict`), a loss or a log-softmax inside `forward` reads them, the layer is named for
predictions (`classifier`, `logits`, `lm_head`), or the source names the layer's width as a number of classes
(`num_classes`, `vocab_size`).

The rule ignores dropout before the last layer, which is right. It ignores parts of larger models: in source every class
of which nothing above says that it is whole, in a run every model that is called but not trained. It ignores a block,
whose output has the shape of its input (integer inputs are ids, not features, and an autoencoder narrows its input on
the way), and features that leave a backbone: the result of an activation counts as a hidden layer's unless it is
scored.

## Why it matters

In training, a share of the predictions is replaced by a constant whatever the network computed, and the loss pushes the
weights to answer for it. Nothing after the dropout can learn to compensate, so this is label noise, not regularization.

## How it is confirmed

In train mode, with all other random ops fixed: dropping everything gives the constant value of a dropped unit (zero, or
alpha dropout's value, after the ops that follow), which must be the same for all samples; the share of output units
equal to it must lie in the exact binomial interval around the rate p; and with this call replaced by identity no unit
may equal it. Where a softmax, a reduction or a loss follows, the units are those that it reads; the other dropouts of a
sum drop everything meanwhile.

## How it is fixed

`self.drop(self.head(x))` becomes `self.head(self.drop(x))`, also where two statements in a row do so, and the last two
items of an `nn.Sequential` change places, if the head is an `nn.Linear` and no other code runs the dropout. It is
unsafe: predictions stay as they are, but training changes, and a head in an `nn.Sequential` gets another name, under
which saved weights do not have it. There is no fix before a head that reads the model's input: the dropout would hide
inputs.

## When to keep the code

A module that is a part of a larger model, and only runs on its own here.

## References

Srivastava et al., "Dropout: a simple way to prevent neural networks from overfitting", JMLR 15 (2014), section 4.
"""

from __future__ import annotations

import ast
from collections.abc import Iterator
from math import prod

from regcheck.core.finding import Evidence, Severity, Suspicion, Verdict
from regcheck.core.graph import Flow, Graph, Kind, Mode, Op, Wholeness
from regcheck.core.measurements import percent
from regcheck.core.measurements.dropped_outputs import DroppedOutputs
from regcheck.core.patch import Code, Edit, Patch, builder, is_plain, mentions
from regcheck.core.rule import Example, Probe
from regcheck.core.starting_points import Trait
from regcheck.torch_api.head_names import is_head
from regcheck.torch_api.output_paths import CARRYING, OutputPaths

CODE = "REG101"
SEVERITY = Severity.WARNING
SINCE = "1.0"
BEGINS_AT = (Trait.DROPS,)


def check(graph: Graph) -> Iterator[Suspicion]:
    paths = OutputPaths(graph.train)
    for drop in graph.dropouts(active_in=Mode.TRAIN):
        where = output_dropped(graph, paths, drop) if drop.kind is Kind.DROPOUT else ""
        if where:
            yield Suspicion(
                drop,
                f"`{drop.call}` drops {where}: no learned layer follows it",
                fix="move it before the last layer, or remove it",
            )


def output_dropped(graph: Graph, paths: OutputPaths, drop: Op) -> str:
    """The output that a dropout acts on, in words; empty where it acts on none."""
    flow = paths.flow
    if paths.feeds_a_layer(drop):
        return ""
    scorers = paths.scorers(drop)
    are_scores = bool(scorers) or graph.wholeness is Wholeness.SCORED or is_after_a_head(paths, drop)
    if not (is_of_scores(paths, drop) if are_scores else any(map(is_layer, paths.layers_behind(drop, passive)))):
        return ""
    if scorers:
        return f"the scores that `{scorers[0].call}` reads"
    if graph.wholeness is Wholeness.UNKNOWN or not (are_scores or graph.wholeness is Wholeness.WHOLE):
        return ""
    outputs = flow.outputs_reached(drop, paths.through_scores if are_scores else paths.through)
    for name in outputs:
        if are_scores or not is_as_wide_as_an_input(flow, name):
            return "the model's output itself" if name == "output" else f"output `{name}` itself"
    return ""


def passive(op: Op) -> bool:
    """Whether an op hands a layer's result on as it is, but for its form, scale and squashing."""
    return op.kind in CARRYING or (op.kind is Kind.DROPOUT and not op.active)


def is_of_scores(paths: OutputPaths, drop: Op) -> bool:
    """Whether what is dropped was computed from a layer's result, and is no softmax of products as in attention."""
    layers = any(map(is_layer, paths.layers_behind(drop, paths.through_scores)))
    exact = paths.flow.behind(drop, lambda op: op.kind is not Kind.SOFTMAX and paths.through_scores(op))
    return layers or any(op.kind in (Kind.MATMUL, Kind.OPAQUE) for op in exact)


def is_layer(op: Op) -> bool:
    return op.kind in (Kind.LINEAR, Kind.CONV)


def is_after_a_head(paths: OutputPaths, drop: Op) -> bool:
    """Whether what is dropped comes from a layer that is named for predictions, or is as wide as there are classes.

    Where an activation follows the layer, the name of a `Sequential` around it may be that of its hidden layers.
    """
    straight = any(op.of_classes or is_head(head_of(op)) for op in paths.layers_behind(drop, paths.through))
    own = (op for op in paths.layers_behind(drop, paths.through_scores) if is_layer(op))
    return straight or any(op.of_classes or is_head(op.module.rpartition(".")[2]) for op in own)


def head_of(op: Op) -> str:
    """The attribute that holds a layer, or the `Sequential` that it is in; empty for no layer of torch's."""
    names = [each for each in op.module.split(".") if not each.isdecimal()] if is_layer(op) else []
    return names[-1] if names else ""


def is_as_wide_as_an_input(flow: Flow, output: str) -> bool:
    """Whether an output has the shape of an input of features, as the output of a block has.

    An autoencoder's has it, too, but there all that the output depends on passes through a narrower layer.
    """
    produced = flow.ops[dict(flow.outputs)[output]]
    shape = produced.shape
    if shape is None:
        return False
    sources = flow.behind(produced, lambda op: op.kind is not Kind.INPUT and not is_narrower(op, shape))
    return any(op.kind is Kind.INPUT and op.shape == shape and not op.integral for op in sources)


def is_narrower(op: Op, shape: tuple[int, ...]) -> bool:
    """Whether a layer's result has fewer values for each sample than a tensor of that shape."""
    return is_layer(op) and op.shape is not None and prod(op.shape[1:]) < prod(shape[1:])


def fix(code: Code) -> Patch | None:
    """Drop what the linear head reads, where head and dropout follow one another in plain sight."""
    if len(code.calls) != 1 or not code.around:
        return None
    drop, around = code.calls[0], code.around[0]
    if isinstance(around, ast.Call) and code.name_of(around.func) == "torch.nn.Sequential":
        edits = in_sequence(code, drop, around)
        message = "drop before the last layer; train again, the layer gets another name"
    else:
        edits = in_forward(code, drop)
        message = "drop before the last layer; train again"
    return Patch(message, False, edits) if edits else None


def in_sequence(code: Code, drop: ast.Call, sequence: ast.Call) -> tuple[Edit, ...]:
    """Exchange the last two items, a linear layer and a dropout, of a sequence without comments."""
    items = sequence.args
    if len(items) < 3 or items[-1] is not drop or sequence.keywords or "#" in code.text_of(sequence):
        return ()
    head = items[-2]
    if not isinstance(head, ast.Call) or code.name_of(head.func) != "torch.nn.Linear":
        return ()
    if code.name_of(drop.func) != "torch.nn.Dropout":
        return ()
    return code.replaced(head, code.text_of(drop)), code.replaced(drop, code.text_of(head))


def in_forward(code: Code, drop: ast.Call) -> tuple[Edit, ...]:
    """Exchange the calls of a head and a dropout, in one expression or in two statements in a row."""
    function = next((each for each in code.around if isinstance(each, ast.FunctionDef)), None)
    if function is None or not drop.args or not is_plain(drop) or not is_elementwise(code, drop):
        return ()
    operand, statement = drop.args[0], code.around[0]
    if isinstance(operand, ast.Call) and is_head_of_features(code, operand, function):
        return (code.replaced(drop, f"{code.text_of(operand.func)}({dropping(code, drop, operand.args[0])})"),)
    block = getattr(code.around[1], "body", []) if len(code.around) > 1 else []
    before = block[block.index(statement) - 1] if statement in block[1:] else None
    if not isinstance(operand, ast.Name) or not isinstance(statement, (ast.Assign, ast.Return)):
        return ()
    if not isinstance(before, ast.Assign) or not isinstance(before.value, ast.Call) or len(before.targets) != 1:
        return ()
    head, scores = before.value, before.targets[0]
    if not isinstance(scores, ast.Name) or scores.id != operand.id or not is_head_of_features(code, head, function):
        return ()
    ends = isinstance(statement, ast.Assign) and [*map(code.text_of, statement.targets)] == [scores.id]
    if not ends and len(mentions([function], scores.id)) != 2:
        return ()
    return (
        code.replaced(head, dropping(code, drop, head.args[0])),
        code.replaced(drop, f"{code.text_of(head.func)}({scores.id})"),
    )


def is_elementwise(code: Code, drop: ast.Call) -> bool:
    """Whether a call on one line drops single values: a function, or a layer that nothing else runs."""
    if drop.lineno != drop.end_lineno:
        return False
    layer = builder(code, drop)
    if layer is None or not isinstance(drop.func, ast.Attribute):
        return code.name_of(drop.func) == "torch.nn.functional.dropout"
    owner = next(each for each in code.around if isinstance(each, ast.ClassDef))
    uses = [node for node in ast.walk(owner) if isinstance(node, ast.Attribute) and node.attr == drop.func.attr]
    return code.name_of(layer.func) == "torch.nn.Dropout" and len(uses) == 2


def is_head_of_features(code: Code, call: ast.Call, function: ast.FunctionDef) -> bool:
    """Whether a call on one line runs a linear layer on what the function computes, rather than on its argument."""
    layer = builder(code, call)
    if layer is None or code.name_of(layer.func) != "torch.nn.Linear" or call.lineno != call.end_lineno:
        return False
    if len(call.args) != 1 or call.keywords:
        return False
    operand = call.args[0]
    if isinstance(operand, ast.Name):
        return any(not isinstance(each.ctx, ast.Load) for each in mentions([function], operand.id))
    return isinstance(operand, ast.Call)


def dropping(code: Code, drop: ast.Call, value: ast.expr) -> str:
    """The dropout's call on another value."""
    arguments = [value, *drop.args[1:], *drop.keywords]
    return f"{code.text_of(drop.func)}({', '.join(map(code.text_of, arguments))})"


def confirm(suspicion: Suspicion, probe: Probe) -> Evidence:
    lost = probe.measure(DroppedOutputs, suspicion.op)
    low, high = lost.interval
    because = f"in train mode {percent(lost.share)} of the output units are lost"
    if not lost.constant:
        because = "at the output, dropped units still depend on the input"
        return probe.evidence(Verdict.REFUTED, because, lost)
    if lost.is_too_small_a_sample:
        because = f"no output unit is lost in {lost.draws} draws: too few to decide at p = {lost.expected:g}"
        return probe.evidence(Verdict.UNMEASURED, because, lost)
    if not lost.is_expected or lost.remaining > 0:
        because += f", which p = {lost.expected:g} does not explain ({percent(low)} to {percent(high)})"
        return probe.evidence(Verdict.REFUTED, because, lost)
    because += f" (p = {lost.expected:g}); without this call none are"
    return probe.evidence(Verdict.CONFIRMED, because, lost)


BAD = (
    Example(
        """\
import torch
from torch import nn


class Classifier(nn.Module):
    def __init__(self):
        super().__init__()
        self.hidden = nn.Linear(16, 64)
        self.head = nn.Linear(64, 10)
        self.drop = nn.Dropout(0.4)

    def forward(self, x):
        x = torch.relu(self.hidden(x))
        return self.drop(self.head(x))  # <-


model = Classifier()
inputs = (torch.randn(32, 16),)
loss = nn.functional.cross_entropy(model(*inputs), torch.zeros(32, dtype=torch.long))
""",
        fixed="""\
import torch
from torch import nn


class Classifier(nn.Module):
    def __init__(self):
        super().__init__()
        self.hidden = nn.Linear(16, 64)
        self.head = nn.Linear(64, 10)
        self.drop = nn.Dropout(0.4)

    def forward(self, x):
        x = torch.relu(self.hidden(x))
        return self.head(self.drop(x))


model = Classifier()
inputs = (torch.randn(32, 16),)
loss = nn.functional.cross_entropy(model(*inputs), torch.zeros(32, dtype=torch.long))
""",
    ),
    Example(
        """\
import torch
import torch.nn.functional as F
from torch import nn


class Classifier(nn.Module):
    def __init__(self):
        super().__init__()
        self.hidden = nn.Linear(16, 64)
        self.head = nn.Linear(64, 10)

    def forward(self, x):
        scores = self.head(F.relu(self.hidden(x)))
        scores = F.dropout(scores, 0.4, training=self.training)  # <-
        return F.log_softmax(scores, dim=1)


model = Classifier()
inputs = (torch.randn(32, 16),)
loss = F.nll_loss(model(*inputs), torch.zeros(32, dtype=torch.long))
""",
        fixed="""\
import torch
import torch.nn.functional as F
from torch import nn


class Classifier(nn.Module):
    def __init__(self):
        super().__init__()
        self.hidden = nn.Linear(16, 64)
        self.head = nn.Linear(64, 10)

    def forward(self, x):
        scores = F.dropout(F.relu(self.hidden(x)), 0.4, training=self.training)
        scores = self.head(scores)
        return F.log_softmax(scores, dim=1)


model = Classifier()
inputs = (torch.randn(32, 16),)
loss = F.nll_loss(model(*inputs), torch.zeros(32, dtype=torch.long))
""",
    ),
    Example("""\
import torch
from torch import nn


class Frames(nn.Module):
    def __init__(self):
        super().__init__()
        self.rnn = nn.GRU(6, 24, batch_first=True)
        self.early = nn.Linear(6, 4)
        self.late = nn.Linear(24, 4)
        self.drop = nn.Dropout(0.4)

    def forward(self, x):
        states, _ = self.rnn(x)
        early = self.drop(self.early(x))  # <-
        return (early + self.drop(self.late(states))).mean(1)  # <-


model = Frames()
inputs = (torch.randn(16, 9, 6),)
loss = nn.functional.cross_entropy(model(*inputs), torch.zeros(16, dtype=torch.long))
"""),
)

GOOD = (
    Example("""\
import torch
from torch import nn


class Classifier(nn.Module):
    def __init__(self):
        super().__init__()
        self.hidden = nn.Linear(16, 64)
        self.drop = nn.Dropout(0.4)
        self.head = nn.Linear(64, 10)

    def forward(self, x):
        x = torch.relu(self.hidden(x))
        return self.head(self.drop(x)).softmax(-1)


model = Classifier()
inputs = (torch.randn(32, 16),)
loss = model(*inputs).log().mean()
"""),
    Example("""\
import torch
from torch import nn


class Residual(nn.Module):
    def __init__(self):
        super().__init__()
        self.norm = nn.LayerNorm(16)
        self.hidden = nn.Linear(16, 64)
        self.out = nn.Linear(64, 16)
        self.drop = nn.Dropout(0.1)

    def forward(self, x):
        return x + self.drop(self.out(torch.relu(self.hidden(self.norm(x)))))


model = Residual()
inputs = (torch.randn(32, 16),)
loss = model(*inputs).square().mean()
"""),
)
