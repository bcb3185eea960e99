"""Predictions in train mode.

## What it finds

A model called for inference while dropout or batch norm are still in train mode, because nobody called `eval()`. In
source these are calls without gradients whose result is used, outside functions that train, and some of the rows below.
A running program shows more, and this table decides. The first row that fits wins; "at most" caps what later rows say.
A call stands below a function if that function makes it, directly or through others.

| gradients | the call stands | what else is seen | reported as |
| --- | --- | --- | --- |
| any | anywhere | the result is dropped, or only its shape is read; `update_bn` | nothing |
| any | an export (`torch.export.export`, `torch.jit.trace`) | trained on later, or below a test | info |
| any | an export to ONNX, without `dynamo=False` | only batch norm depends on the mode | nothing |
| any | an export to ONNX | `dynamo=False` and no batch norm, or without `dynamo=False` | info |
| any | any other export | nothing is trained later; nobody asked for `train()` since the last step | error |
| off | right after `train()`, of loaded weights without batch norm, nothing trains | one pass for each input | error |
| off, in source | there, with or without batch norm | one pass of a single sample | error; with batch norm warning |
| off | after a `train()` for predictions alone | a decision, one pass; a row below says error | likewise |
| any | where one line sets train mode for predictions and eval mode for training | any | error |
| any | anywhere | `train()` was asked for, and nothing was trained since | nothing |
| any | in a test's own code | | nothing |
| any | in a method of a model, which a test calls directly | any name but one that predicts or evaluates | nothing |
| off | in no function that trains, nor below one | | error |
| off | below one that trains, trained on later | a decision, below a name that predicts or evaluates | error |
| off | below one that trains, trained on later | a name that predicts or evaluates | info |
| off | below one that trains, trained on later | any other name | nothing |
| off | below one that trains, never trained on later | a name that predicts, or a decision | error |
| off | in a function that trains, trained on later | | nothing |
| off | in a function that trains, never trained on later | a decision | error |
| off | on a line that others train through, too, never trained on later | a caller's name that predicts | error |
| off | in or below one that trains, never trained on later | neither | info |
| off | anywhere of these | one input three times in a row (sampling) | info at most |
| off | anywhere of these | in turns with training steps, no more than two at a time | info at most |
| on | anywhere | a loss was propagated back through the result | nothing |
| on | on a line that trains, called several times in a row without training | a decision | error |
| on | anywhere, in a program that loads weights and trains nothing | taken out of the graph | error |
| on | below a name that predicts or evaluates | taken out of the graph; an optimizer stepped the model | error |
| on | below a name that predicts or evaluates | taken out of the graph; never stepped, or trained on later | info |
| on | in a loop without training, never trained on later | a decision; trained elsewhere | error |
| on | in a function that trains, never trained on later | a decision | info |
| on, in source | below a name that predicts | a decision; trained elsewhere | error |
| on | anywhere else | | nothing |
| any | any of these, in source | the class of the model is not known | warning at most |
| any | any of these | `eval()` was asked for before, and something trains again | info at most |

A function trains if it back-propagates, steps an optimizer, or calls a model through whose result a loss is
back-propagated. So does the innermost function around a call and its backward pass, or around the backward pass and the
optimizer's step: a step may consist of helper functions, and `accelerator.backward(loss)` counts as `loss.backward()`.
A decision is an argmax, a top k, a loss or a metric, also one written by hand: the mean or sum of a result minus, times
or equal to another value. `detach`, `data`, `numpy`, `item` and `tolist` take a result out of the graph, too. So the
rule ignores teachers, generators, pseudo-labels and target networks in a training step, and finds a validation at the
end of the function that trains. In such a function, source shows a decision where equal calls come in a row, where the
line trains as well (a loop over phases), or after the loops that train. A pass whose results are dropped, as in
`update_bn`, uses up the `train()` before it.

A `train()` stands for predictions alone if the program trains the model after another one; one for a line that trains
with gradients and predicts without them is no request either. It may be meant: for Monte-Carlo dropout, which passes
each input several times, or for the statistics of the test batch, of which a single sample has none. A function whose
name says so (`evaluate_with_dropout`, `mc_predict`, `adapt`) is believed.

An export in train mode writes dropout and batch statistics into the program for ever; who goes on training may
have exported it for that. `torch.onnx.export` writes batch norms in eval mode, whatever their mode is; with
`dynamo=False` it exports in the mode that its argument `training` names, by default eval mode, and leaves batch norms
in train mode only if asked to. Runtimes remove most dropouts when they load an ONNX file. `torch.jit.script` keeps the
mode as a switch, and is no prediction.

Code that calls a part of a model, such as an encoder, predicts with that part. In source this counts without gradients,
where the program trains the whole model or loads its weights.

In source a model may be unknown: handed in, built by name, by a registry or by another package. The rule finds a
prediction with it in the train mode that the program itself has set by `train()`, if the model was trained since and
no code in between may have called `eval()`. Where the program sets no mode, nothing is reported. `generate()` of a
model of transformers is a prediction as well: it leaves the mode alone.

## Why it matters

Dropout zeroes activations at random and batch norm normalizes by the test batch, so scores depend on chance and on the
batching of the data. At least one published medical result was computed this way.

## How it is confirmed

On a copy of the model, with the input of the call: predictions with the layers' modes at the call against predictions
in eval mode. Each prediction in the modes of the call must differ from an eval run by more than any other eval run does
(an exact rank test). If an op draws in eval mode, too (an ungated dropout), eval runs differ from seed to seed; then
each run is compared with the eval run of the same seed only. The figures are the change of the output that changes
most, relative to the spread of its values, and the share of its predicted classes that flip.

## How it is fixed

`model.eval()` is put before the outermost loop or `with` that only predicts with the model. If the model is an argument
of the function, and one statement holds all that the function does with it, `model.train(was_training)` after that
statement restores the mode. Elsewhere, call `model.train()` before training goes on. A `model.eval` without its
parentheses gets them. All of this is unsafe: predictions change.

## When to keep the code

Monte-Carlo dropout and test-time batch statistics: call `train()` explicitly just before, or ignore the line.

## References

Gal and Ghahramani, "Dropout as a Bayesian approximation", ICML 2016 (the case where train mode is meant).
"""

from __future__ import annotations

import ast
import re
from collections.abc import Iterable, Iterator
from pathlib import PurePath
from typing import TypeGuard

from regcheck.core.finding import Evidence, Severity, Suspicion
from regcheck.core.measurements.mode_difference import ModeDifference
from regcheck.core.patch import Code, Edit, Patch, mentions
from regcheck.core.rule import Example, Probe
from regcheck.core.starting_points import Trait
from regcheck.core.usage import ONNX, ONNX_BY_TRACING, Backward, Called, StepComposed, Stepped, Usage, bare_name, trains

CODE = "REG201"
SEVERITY = Severity.ERROR
SINCE = "1.0"
BEGINS_AT = (Trait.NO_GRADIENTS, Trait.WEIGHTS_LOADED, Trait.EXPORTED, Backward)
PREDICTS = re.compile(
    r"(?:^|[_.])(?:predict\w*|infer|inference|evaluat\w*|eval|validat\w*|valid|val|test|classify|forecast)(?:_|$)", re.I
)
SAMPLES = re.compile(r"(?:^|_)mc|monte|stochast|dropout|uncertain|bayes|sampl|ensemble|adapt|calibrat|statistic", re.I)

FIX = "call `model.eval()` before predicting, and `model.train()` before training goes on"
EXPORT_FIX = "call `model.eval()` before the export, and `model.train()` before training goes on"
KERAS_FIX = "pass `training=False`, or no `training`, to the call that predicts"


def check(usage: Usage) -> Iterator[Suspicion]:
    for index, call in usage.calls():
        if not is_prediction(call):
            continue
        severity = graded(usage, index, call)
        if severity is not None:
            layers = " and ".join(call.model.mode_dependent)
            place = call.mode_set_at if usage.requested_mode(index) else None
            asked = f", set at line {place.line} of {PurePath(place.path).name}" if place else ""
            does = f"is exported by `{call.exporter}`" if call.exporter else "predicts"
            yield Suspicion(
                call,
                f"`{call.model.name}` {does} {f'with {layers} ' if layers else ''}in train mode{asked}",
                fix=KERAS_FIX if call.mode_argument else EXPORT_FIX if call.exporter else FIX,
                severity=severity,
            )


def is_prediction(call: Called) -> bool:
    """Whether the values of a result, computed in train mode by the code under test, may be meant as a prediction."""
    is_used = call.result == "used" and call.result_use != "shape"
    of_a_test = call.test_code or (call.under_test and not predicts_by_name(call))
    return call.training is True and is_used and not of_a_test and call.model.learned and call.model.follows_mode


def graded(usage: Usage, index: int, call: Called) -> Severity | None:
    """How certain it is that a prediction was meant; None where train mode may be wanted."""
    asked = usage.requested_mode(index)
    if call.exporter:
        return None if asked else of_export(usage, index, call)
    if asked:
        return Severity.ERROR if usage.inverts_modes(call) else after_train(usage, index, call)
    if call.mode_argument and call.result_use == "decision" and not (call.repeats_input or call.alternating):
        return Severity.ERROR
    severity = with_gradients(usage, index, call) if call.grad else without_gradients(usage, index, call)
    if severity and (asked is False or not call.model.known):
        return Severity.INFO if asked is False else min(severity, Severity.WARNING)
    return severity


def of_export(usage: Usage, index: int, call: Called) -> Severity | None:
    """The grade of an export in a train mode that nobody asked for."""
    if call.exporter == ONNX and normalizes(call, alone=True):
        return None
    of_a_test = any(bare_name(each).startswith("test_") for each in call.callers)
    followed = call.trained_after
    if followed is None:  # from source
        followed = any(map(trains, usage.events[index + 1 :]))
    certain = not (followed or of_a_test or drops_only(call))
    return Severity.INFO if not certain else Severity.ERROR if call.model.known else Severity.WARNING


def normalizes(call: Called, *, alone: bool = False) -> bool:
    """Whether a batch norm of the called model depends on the mode; `alone`: and nothing else does."""
    kinds = call.model.mode_dependent
    return bool(kinds) and (all if alone else any)("norm" in kind for kind in kinds)


def drops_only(call: Called) -> bool:
    """Whether an ONNX file holds no more of train mode than dropouts, which runtimes remove when they load it.

    `torch.onnx.export` writes batch norms in eval mode, whatever their mode is, unless it traces.
    """
    return call.exporter == ONNX or (call.exporter == ONNX_BY_TRACING and not normalizes(call))


def after_train(usage: Usage, index: int, call: Called) -> Severity | None:
    """The grade of a prediction without gradients right after `train()`, where `eval()` may have been meant.

    Monte-Carlo dropout passes each input several times, and batch norm may be meant to normalize by the test batch.
    """
    may_be_meant = call.repeats_input or call.passes_again or says_so((call.function, *call.callers[:2]), SAMPLES)
    if call.grad or may_be_meant:
        return None
    decides = call.result_use == "decision"
    by_statistics = any("norm" in kind for kind in call.model.mode_dependent) or not call.model.known
    severity = Severity.WARNING if by_statistics else Severity.ERROR
    if call.weights_loaded and call.model.known and not usage.trains_anything:
        if decides and call.inputs > 1 and not by_statistics:
            return Severity.ERROR
        return severity if call.single and call.result_use in ("decision", "value") else None
    of_both = usage.trains_on_line_of(call) and usage.calls_in_a_row(index)
    validates = decides and (usage.sets_train_for_predictions(call) or of_both)
    return severity if validates and without_gradients(usage, index, call) is Severity.ERROR else None


def without_gradients(usage: Usage, index: int, call: Called) -> Severity | None:
    """The grade of a call that nothing can be propagated back through."""
    trains_here = usage.trains_in(call.function)
    within_training = trains_here or any(map(usage.trains_in, call.callers))
    followed = call.trained_after
    if followed is None:  # from source, which does not know either through which results a loss is propagated
        apart = usage.calls_in_a_row(index) or call.after_training or usage.trains_on_line_of(call)
        validates = call.result_use == "decision" and apart
        followed = (trains_here and not validates) or any(map(trains, usage.events[index + 1 :]))
        within_training = within_training or computes_a_loss(usage, call)
    by_name = not trains_here and predicts_by_name(call)
    if followed and within_training:
        between = call.result_use == "decision" and not (call.repeats_input or call.alternating)
        return (Severity.ERROR if between else Severity.INFO) if by_name else None
    if call.repeats_input or call.alternating or (trains_here and call.passes_again):
        return Severity.INFO
    by_name = says_so(call.callers[:2]) if passes_on(usage, call) else by_name
    certain = not within_training or call.result_use == "decision" or by_name
    return Severity.ERROR if certain or call.trained_after is None else Severity.INFO


def computes_a_loss(usage: Usage, call: Called) -> bool:
    """Whether the function that makes a call, or one around it, makes calls with gradients as well."""
    around = {call.function, *call.callers} - {"<module>"}
    return any(each.grad and each.function in around for _, each in usage.calls())


def with_gradients(usage: Usage, index: int, call: Called) -> Severity | None:
    """The grade of a call that a loss could have been propagated back through, and was not."""
    if usage.predicts_beside_training(call) and call.result_use == "decision":
        return Severity.ERROR
    if call.backpropagated or not call.result_use:
        return None
    if call.weights_loaded and not usage.trains_anything:
        return Severity.ERROR
    if call.backpropagated is None:  # from source: the program back-propagates nothing through the result
        return Severity.ERROR if scores_a_trained_model(usage, index, call) else None
    if predicts_by_name(call):
        return (
            Severity.ERROR
            if usage.is_stepped(call.model) and not (call.trained_after or call.repeats_input)
            else Severity.INFO
        )
    late = call.trained_after is False and usage.is_stepped(call.model)
    if call.result_use != "decision" or not late:
        return None
    if usage.calls_in_a_row(index):
        return Severity.ERROR
    return Severity.INFO if usage.trains_in(call.function) else None


def scores_a_trained_model(usage: Usage, index: int, call: Called) -> bool:
    """Whether a program decides by a model that it trains at another place, and trains nothing any more.

    The call stands below a name that predicts, or in a loop of its own, which does not train.
    """
    if call.result_use != "decision" or any(map(trains, usage.events[index + 1 :])):
        return False
    named = predicts_by_name(call) and not usage.trains_in(call.function)
    elsewhere = (each for each in usage.calls_of(call.model.key) if each.place != call.place)
    return (named or usage.calls_in_a_row(index)) and any(each.backpropagated for each in elsewhere)


def passes_on(usage: Usage, call: Called) -> bool:
    """Whether the function that makes the call only makes it for others, some of which train through that very line."""
    if any(
        isinstance(each, (Backward, Stepped, StepComposed)) and each.function == call.function for each in usage.events
    ):
        return False
    trained = [each for _, each in usage.calls() if each.backpropagated and each.function == call.function]
    return bool(trained) and all(
        each.line_of_code == call.line_of_code and each.callers[:1] != call.callers[:1] for each in trained
    )


def predicts_by_name(call: Called) -> bool:
    """Whether the function that makes the call, or one of the two around it, says that it predicts or evaluates."""
    return says_so((call.function, *call.callers[:2]))


def says_so(functions: Iterable[str], words: re.Pattern[str] = PREDICTS) -> bool:
    """Whether the name of a function has certain words in it: by default, that it predicts or evaluates."""
    names = [bare_name(each) for each in functions]
    return any(words.search(name) for name in names if not name.startswith("test_"))


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
    if statement is None or named:
        return None
    if isinstance(function, ast.FunctionDef) and (edits := restoring(code, function, statement, model)):
        return Patch(f"predict in eval mode, and restore the mode of `{model}`", False, edits)
    edit = code.line_before(statement, f"{model}.eval()")
    message = f"call `{model}.eval()` first; call `{model}.train()` before training goes on"
    return Patch(message, False, (edit,)) if edit else None


def restoring(code: Code, function: ast.FunctionDef, statement: ast.stmt, model: str) -> tuple[Edit, ...]:
    """Put a caller's model in eval mode around a statement that holds all of its use; no edits where none does."""
    own = [*ast.walk(statement)]
    is_argument = any(isinstance(each, ast.arg) and each.arg == model for each in ast.walk(function.args))
    if not is_argument or any(node not in own for node in mentions(function.body, model)):
        return ()
    around = code.around[code.around.index(statement) + 1 : code.around.index(function)]
    if around and all(isinstance(each, (ast.For, ast.While, ast.With)) for each in around):
        statement = next(each for each in function.body if each is around[-1])
    leaving = _LEAVING if isinstance(statement, (ast.For, ast.While)) else (*_LEAVING, ast.Break, ast.Continue)
    if any(isinstance(each, leaving) for each in ast.walk(statement)):
        return ()
    names = {getattr(each, "id", getattr(each, "arg", "")) for each in ast.walk(code.tree)}
    flag = next(each for each in ("was_training", *(f"was_training_{n}" for n in range(2, 1000))) if each not in names)
    edits = (
        code.line_before(statement, f"{flag} = {model}.training"),
        code.line_before(statement, f"{model}.eval()"),
        code.line_after(statement, f"{model}.train({flag})"),
    )
    return tuple(each for each in edits if each) if all(edits) else ()


_LEAVING = (ast.Return, ast.Yield, ast.YieldFrom)


def outermost(code: Code, model: str) -> ast.stmt | None:
    """The outermost loop or `with` around the prediction that does nothing else with the model."""
    statement: ast.stmt | None = None
    for each in code.around:
        if statement is not None and not isinstance(each, (ast.For, ast.While, ast.With)):
            break
        if isinstance(each, ast.stmt):
            mentioned = [node for node in ast.walk(each) if _is_dotted(node) and code.text_of(node) == model]
            run = [node.func for node in ast.walk(each) if isinstance(node, ast.Call)]
            if any(node not in run for node in mentioned):
                break
            statement = each
            if isinstance(each, ast.With) and any("no_grad" in w or "inference_mode" in w for w in items(code, each)):
                break
    return statement


def items(code: Code, statement: ast.With) -> list[str]:
    return [code.text_of(each.context_expr) for each in statement.items]


def _is_dotted(node: ast.AST) -> TypeGuard[ast.expr]:
    """Whether a node is a name, or an attribute of one."""
    while isinstance(node, ast.Attribute):
        node = node.value
    return isinstance(node, ast.Name)


def confirm(suspicion: Suspicion, probe: Probe) -> Evidence:
    difference = probe.measure(ModeDifference, suspicion.event)
    return probe.evidence(difference.verdict, difference.describe("prediction", "in eval mode"), difference)


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


def evaluate(model, batches):
    hits = 0
    was_training = model.training
    model.eval()
    with torch.no_grad():
        for x, y in batches:
            scores = model(x)
            hits += (scores.argmax(1) == y).sum().item()
    model.train(was_training)
    return hits


def main():
    model = Classifier()
    evaluate(model, [(torch.randn(32, 16), torch.zeros(32))])


main()
""",
    ),
    Example(
        """\
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
""",
        fixed="""\
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
    model.eval()
    return model(x).sigmoid()


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
""",
    ),
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
