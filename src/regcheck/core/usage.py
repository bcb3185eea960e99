"""The usage of models: the ordered events of a test, a script or a function body.

The recorder of a running program and the interpreter of its source produce the same events.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import field
from functools import cached_property

from regcheck.files.place import Place
from regcheck.lazy_dataclass import dataclass

from .suppressions import CodeSuppression

ONNX, ONNX_BY_TRACING = "torch.onnx.export", "torch.onnx.export(dynamo=False)"
"""The exporters to ONNX: by way of `torch.export`, and by tracing to TorchScript."""


@dataclass(frozen=True, slots=True)
class Model:
    """A model of the program: `name` for messages, `key` to identify the live object.

    `mode_dependent` names the kinds of layer whose result depends on the mode. `learned` is True where the model has
    learned layers beside them: a lone dropout or batch norm is a layer, not a model. `known` is False where source does
    not say what the model is: then it follows the mode, because the program sets one.
    """

    key: str
    name: str
    mode_dependent: tuple[str, ...] = ()
    learned: bool = True
    known: bool = True

    @property
    def follows_mode(self) -> bool:
        """Whether the result depends on the mode, or may depend on it."""
        return bool(self.mode_dependent) or not self.known


DECIDING = re.compile(
    r"argmax|argsort|topk|cross_entropy|loss$|loss_|_loss|criterion|accura|metric|confusion|(?:^|_)auc"
)
"""Found in the lower-case names of functions that compute classes, a score or a loss from a prediction."""

WEIGHT, BIAS, NORM_SCALE = "weights", "biases", "norm scales"


@dataclass(frozen=True, slots=True)
class Group:
    """One parameter group of an optimizer; None where the value is unknown.

    `parameter_kinds` classifies its parameters: `WEIGHT`, `BIAS`, `NORM_SCALE`, or an empty string where the kind is
    unknown. A live optimizer lists the kind of each parameter, in order; source lists the kinds that are certainly in
    the group. `model` is set where source shows that the group holds all parameters of that model. `by_default` is a
    clause for messages where the decay is a default that the user of the program may change, else empty. `set_later`
    is True where source sets the decay after the construction of the optimizer. `penalty` is the argument of layers
    whose penalty the gradient holds as that decay, where the optimizer itself has none. `key` is the name of the decay
    in the group.
    """

    weight_decay: float | None
    decoupled: bool | None = False
    parameter_kinds: tuple[str, ...] = ()
    model: Model | None = None
    by_default: str = ""
    set_later: bool = False
    penalty: str = ""
    key: str = "weight_decay"

    @property
    def is_mixed(self) -> bool:
        """Whether it decays weights, and biases or norm scales like them."""
        return (
            bool(self.weight_decay)
            and WEIGHT in self.parameter_kinds
            and not {BIAS, NORM_SCALE}.isdisjoint(self.parameter_kinds)
        )


@dataclass(frozen=True, slots=True)
class OptimizerInfo:
    """An optimizer: `update_rule` is the torch.optim class whose update it follows (`Adam`, `SGD`, …), None if unknown.

    `decay_names` are the names in the expression that source passes as `weight_decay`.
    """

    key: str
    name: str
    update_rule: str | None
    groups: tuple[Group, ...] = ()
    decay_names: tuple[str, ...] = ()

    @property
    def decays(self) -> bool:
        """Whether it is known to decay a group."""
        return any(each.weight_decay for each in self.groups)

    def with_decay(self, group: Group) -> str:
        """The optimizer with the decay of one of its groups, for messages."""
        if group.penalty:
            return f"`{self.name}` with `{group.penalty}`"
        when = " (set after its construction)" if group.set_later else group.by_default
        return f"`{self.name}({group.key}={group.weight_decay:g})`{when}"


@dataclass(frozen=True, slots=True)
class Event:
    """An event at `place`, in the function `function` of the program under examination.

    Only a watched program sets the fields from `intended` on.

    Attributes:
        place: the line in the user's project.
        intended: the suppressions declared by the blocks around it.
        library: the line of an installed library where the event happens, if `place` only leads to it; `function` is
            the library's function then.
    """

    place: Place | None = None
    function: str = ""
    intended: tuple[CodeSuppression, ...] = field(default=(), kw_only=True)
    library: Place | None = field(default=None, kw_only=True)

    @property
    def line_of_code(self) -> Place | None:
        """Where the event happens, in the user's project or in a library."""
        return self.library or self.place


@dataclass(frozen=True, slots=True)
class Called(Event):
    """The program called a model as a whole (not from inside another model).

    A watched program sets the fields from `callers` on for all equal calls together; source sets some of them.

    Attributes:
        training: the model's mode, None where it is unknown.
        grad: gradients were enabled.
        mode_argument: for a model of Keras, whose calls hold the mode: `given` where the call passes the argument
            `training`, `missing` where it leaves it to the default; else empty.
        result: `used`, `discarded` or `unknown`.
        test_code: the call stands in a test's own body rather than in the code under test.
        under_test: between a test and the call there are only methods of larger models that contain `model`.
        capture: the index of the captured inputs.
        callers: the functions on the stack around `function`, innermost first.
        backpropagated: a loss was back-propagated through a result.
        trained_after: the program trained something after the last of these calls.
        alternating: calls and training alternated, with no more than two training steps between two calls.
        repeats_input: the program passed one input again and again.
        passes_again: from source: loops around the call that train nothing may pass each input again.
        single: from source: the input is one sample, as a batch of its own.
        after_training: from source: loops that train have ended before the call, and none is around it; where only
            norms depend on the mode, the input is not one that the model trains on.
        result_use: `decision` where the code computes a class, a score or a loss from the result, `value` where it only
            takes the result out of the graph, `shape` where it reads nothing but the shape, else empty.
        requested: the mode that the program last set before, None where it set none or has trained since.
        also_predicts: no loss was back-propagated through some of the results, of calls that came in a row.
        in_a_row: the last of these calls came in a row without training between, with another input each.
        inputs: the number of different inputs, counted for calls in train mode without gradients.
        mode_set_at: where the program set the train mode of a prediction, or the eval mode that it trained in on
            purpose.
        weights_loaded: the program loaded a state dict into the model, or into a part of it.
        eval_left_on: where `eval()` was called for a prediction, if one of these calls trained in that mode because
            the program did not set the mode again.
        loaded_in_eval: parts of the model, or the model itself, that are in eval mode only because a library loads
            models in that mode.
        pinned: paths of parts that one call of their own put in eval mode, and that are in it.
        unpinned: paths of such parts that are in train mode nevertheless.
        frozen_norms: paths of norms in train mode that move their running statistics, although the part of the model
            that they belong to is never trained while the rest is.
        undone: paths of parts in train mode that one `eval()` of their own had put in eval mode, and that a `train()`
            of a module around them put back before anything used them.
        train_set_at: where the program set the train mode of the call, in a file of its own; of a call without
            gradients only where it names that mode, as `train()` does and `train(mode)` does not.
        structure: a key that models built alike share, empty where it is unknown.
        exporter: the function of torch that called the model to write down what it does (`torch.export.export`), else
            empty.
        scored_by: torch's losses, by their names in `torch.nn.functional`, that take the very result as their input: a
            single tensor, and no value computed from it.
        feeds_models: the program hands the very result to another model.
        feeds_training: the program trains another model on the results.
        trained_beside: one training step sends gradients through calls of this model and of another one (None: the
            order of the events tells).
        trained_in_pairs: one training step sends gradients through several calls of this model (None: as above).
    """

    model: Model = field(kw_only=True)
    training: bool | None = field(kw_only=True)
    grad: bool = field(kw_only=True)
    mode_argument: str = field(default="", kw_only=True)
    result: str = field(default="used", kw_only=True)
    test_code: bool = field(default=False, kw_only=True)
    under_test: bool = field(default=False, kw_only=True)
    capture: int | None = field(default=None, kw_only=True)
    callers: tuple[str, ...] = field(default=(), kw_only=True)
    backpropagated: bool | None = field(default=None, kw_only=True)
    trained_after: bool | None = field(default=None, kw_only=True)
    alternating: bool = field(default=False, kw_only=True)
    requested: bool | None = field(default=None, kw_only=True)
    also_predicts: bool = field(default=False, kw_only=True)
    in_a_row: bool = field(default=False, kw_only=True)
    inputs: int = field(default=0, kw_only=True)
    mode_set_at: Place | None = field(default=None, kw_only=True)
    weights_loaded: bool = field(default=False, kw_only=True)
    eval_left_on: Place | None = field(default=None, kw_only=True)
    repeats_input: bool = field(default=False, kw_only=True)
    passes_again: bool = field(default=False, kw_only=True)
    single: bool = field(default=False, kw_only=True)
    after_training: bool = field(default=False, kw_only=True)
    result_use: str = field(default="", kw_only=True)
    loaded_in_eval: tuple[Model, ...] = field(default=(), kw_only=True)
    pinned: tuple[str, ...] = field(default=(), kw_only=True)
    unpinned: tuple[str, ...] = field(default=(), kw_only=True)
    frozen_norms: tuple[str, ...] = field(default=(), kw_only=True)
    undone: tuple[str, ...] = field(default=(), kw_only=True)
    train_set_at: Place | None = field(default=None, kw_only=True)
    structure: str = field(default="", kw_only=True)
    exporter: str = field(default="", kw_only=True)
    scored_by: tuple[str, ...] = field(default=(), kw_only=True)
    feeds_models: bool = field(default=False, kw_only=True)
    feeds_training: bool = field(default=False, kw_only=True)
    trained_beside: bool | None = field(default=None, kw_only=True)
    trained_in_pairs: bool | None = field(default=None, kw_only=True)

    @property
    def only_updates(self) -> bool:
        """Whether the program passes data in train mode for the running statistics alone."""
        return self.training is True and not self.grad and self.result == "discarded"


@dataclass(frozen=True, slots=True)
class ModeSet(Event):
    """The program called `train()` or `eval()` on a model."""

    model: Model = field(kw_only=True)
    training: bool = field(kw_only=True)


@dataclass(frozen=True, slots=True)
class ModeNotRestored(Event):
    """A function returns with a model, or a part of it, in a different mode than on entry.

    Attributes:
        place: where the function returns.
        training: the mode that it leaves the model in.
        mode_setter: the name of that function; `function` is its caller.
        part: the path of the part, empty for the whole model.
        next_use: where the program next calls the model and trains it in that mode, None where it does not.
        restores: the function restores the mode on some path; False where it never does.
    """

    model: Model = field(kw_only=True)
    training: bool = field(kw_only=True)
    mode_setter: str = field(kw_only=True)
    part: str = field(default="", kw_only=True)
    next_use: Place | None = field(default=None, kw_only=True)
    restores: bool = field(default=True, kw_only=True)


@dataclass(frozen=True, slots=True)
class MethodNotCalled(Event):
    """A method of a model was named where only a call has an effect: its value is discarded, or a condition.

    `owner` is the source of what the method belongs to, `method` its name.
    """

    model: Model = field(kw_only=True)
    owner: str = field(kw_only=True)
    method: str = field(kw_only=True)
    as_condition: bool = field(default=False, kw_only=True)


@dataclass(frozen=True, slots=True)
class Backward(Event):
    """The program back-propagated a loss.

    `constants` is the number of summands of the loss without a gradient, which only a watched program shows.
    """

    constants: int = field(default=0, kw_only=True)


@dataclass(frozen=True, slots=True)
class Stepped(Event):
    """The program built an optimizer (source) or stepped it (live).

    `models` are the keys of models whose parameters it holds, and of models `loaded_in_eval` that it trains whole.
    """

    optimizer: OptimizerInfo = field(kw_only=True)
    models: tuple[str, ...] = field(default=(), kw_only=True)


@dataclass(frozen=True, slots=True)
class StepComposed(Event):
    """`function` is the innermost one around the call, the backward pass and the step, which other functions make."""


@dataclass(frozen=True, slots=True)
class Penalized(Event):
    """The program back-propagated a loss that includes the squares, or the 2-norms, of a model's parameters.

    `by_default` is a clause for messages where their factor is a default that the user may change, else empty.
    """

    model: Model = field(kw_only=True)
    by_default: str = field(default="", kw_only=True)


@dataclass(frozen=True, slots=True)
class PenaltyWithoutGradient(Event):
    """The program back-propagated a loss that includes the magnitudes of a model's parameters as a mere number.

    Attributes:
        lost_by: the code that took the penalty out of the graph, as source writes it.
        constants: the number of summands without a gradient that the loss had in a watched program.
    """

    model: Model = field(kw_only=True)
    lost_by: str = field(kw_only=True)
    constants: int = field(default=0, kw_only=True)


@dataclass(frozen=True, slots=True, eq=False)
class Rows:
    """The rows of a weight along its first axis, and the norms of its columns along the second, at one time."""

    highest: tuple[float, ...]
    lowest: tuple[float, ...]
    norms: tuple[float, ...]
    column_norms: tuple[float, ...]


@dataclass(frozen=True, slots=True, eq=False)
class WeightRange:
    """A weight of a watched program before the first step of an optimizer, and before a later one.

    Attributes:
        names: its names in the models that the program called; empty where the program calls a lone layer.
        at_highest: how many elements were equal to the largest before the first step.
        at_lowest: how many were equal to the smallest.
    """

    names: tuple[str, ...]
    at_highest: int
    at_lowest: int
    first: Rows
    later: Rows


@dataclass(frozen=True, slots=True)
class WeightsTrained(Event):
    """The program stepped an optimizer of weights several times; only a watched program shows that."""

    weights: tuple[WeightRange, ...] = field(default=(), kw_only=True)


@dataclass(frozen=True, slots=True)
class ConstraintNotKept(Event):
    """The program limited the weights of a model before it trained the model, and not again; only source shows that.

    Attributes:
        call: the bare name of the function that limits them; `norm` stands for scaling by a clamped norm.
        uncalled: the name of the method that would do so, where no code calls it at all.
        layers: the paths in `model` of the layers whose weights it limits.
        lowest: the lower limit of elements, None where there is none or source does not say it.
        highest: the upper limit of elements, or of norms, likewise.
        axis: for norms, the axis along which each slice has one, None where source does not say it.
        weights: those weights in a watched program.
    """

    model: Model = field(kw_only=True)
    call: str = field(kw_only=True)
    uncalled: str = field(default="", kw_only=True)
    layers: tuple[str, ...] = field(default=(), kw_only=True)
    lowest: float | None = field(default=None, kw_only=True)
    highest: float | None = field(default=None, kw_only=True)
    axis: int | None = field(default=None, kw_only=True)
    weights: tuple[WeightRange, ...] = field(default=(), kw_only=True)


@dataclass(frozen=True)
class Usage:
    """The events of one test, script or function, in order."""

    subject: str
    events: tuple[Event, ...] = ()

    def calls(self) -> Iterator[tuple[int, Called]]:
        """Model calls with their position."""
        return ((index, event) for index, event in enumerate(self.events) if isinstance(event, Called))

    def calls_of(self, model: str) -> Iterator[Called]:
        """The calls of the model with that key (see `Graph.model`)."""
        return (event for _, event in self.calls() if event.model.key == model)

    def optimizers(self) -> Iterator[Stepped]:
        """One event of every optimizer for each set of declarations around it: the first with decay, or the first."""
        chosen: dict[object, Stepped] = {}
        for event in self.events:
            if isinstance(event, Stepped):
                first = chosen.setdefault((event.optimizer.key, event.intended), event)
                if event.optimizer.decays and not first.optimizer.decays:
                    chosen[event.optimizer.key, event.intended] = event
        yield from chosen.values()

    def is_stepped(self, model: Model) -> bool:
        """Whether some optimizer that holds the model steps."""
        return any(isinstance(event, Stepped) and model.key in event.models for event in self.events)

    def moves_frozen_norms(self, model: Model, part: str) -> bool:
        """Whether a training call moves norms in this part of a model although it is frozen."""
        norms = [each for _, call in self.calls() if call.model.key == model.key for each in call.frozen_norms]
        return any(f"{each}.".startswith(f"{part}.") for each in norms)

    @cached_property
    def training_functions(self) -> frozenset[str]:
        """The functions that back-propagate, step an optimizer, or make a call that is back-propagated.

        The innermost functions around these acts are among them.
        """
        return frozenset(event.function for event in self.events if isinstance(event, StepComposed) or trains(event))

    def trains_in(self, function: str) -> bool:
        """Whether `function` is one of the training functions."""
        return function in self.training_functions

    def models_trained_together(self) -> tuple[set[str], set[str]]:
        """Keys of the models that one training step trains beside others, and of those that it calls several times."""
        beside: set[str] = set()
        in_pairs: set[str] = set()
        calls: list[str] = []
        for event in (*self.events, None):
            if isinstance(event, Called):
                calls += [event.model.key] if event.backpropagated and event.trained_beside is None else []
                beside |= {event.model.key} if event.trained_beside else set()
                in_pairs |= {event.model.key} if event.trained_in_pairs else set()
            elif event is None or isinstance(event, (Backward, Stepped)):
                beside |= {*calls} if len({*calls}) > 1 else set()
                in_pairs |= {key for key in calls if calls.count(key) > 1}
                calls = []
        return beside, in_pairs

    def eval_left_on(self, index: int) -> Place | None:
        """Where `eval()` was called for a prediction, in whose mode the call at `index` trains; None if it does not.

        Eval mode was meant for a prediction where one is made between the last `eval()` and the first call that trains.
        While it is meant for training, another `eval()` changes nothing.
        """
        call = self.events[index]
        assert isinstance(call, Called)
        if call.trained_after is not None or call.eval_left_on is not None:
            return call.eval_left_on
        place, predicted, left_on = None, False, None
        for event in self.events[: index + 1]:
            if isinstance(event, ModeSet) and event.model.key == call.model.key:
                if event.training or left_on is not False:
                    place, predicted, left_on = None if event.training else event.place, False, None
            elif isinstance(event, Called) and event.model.key == call.model.key and event.training is False:
                if not (event.backpropagated or (event.grad and self.trains_in(event.function))):
                    predicted = True
                elif left_on is None:
                    left_on = predicted
        return place if left_on else None

    @cached_property
    def trains_anything(self) -> bool:
        """Whether anything is trained at all."""
        return any(map(trains, self.events))

    def calls_in_a_row(self, index: int) -> bool:
        """Whether the call at `index` is made again, just before or after, and nothing is trained between."""
        call = self.events[index]
        if isinstance(call, Called) and call.trained_after is not None:
            return call.in_a_row
        for following in (self.events[index + 1 :], reversed(self.events[:index])):
            for event in following:
                if trains(event):
                    break
                if isinstance(event, Called) and isinstance(call, Called) and event.place == call.place:
                    return True
        return False

    def trains_on_line_of(self, call: Called) -> bool:
        """Whether the program trains the model of `call` through the same line, as a loop over phases does."""
        return any(each.backpropagated and each.place == call.place for each in self.calls_of(call.model.key))

    def predicts_beside_training(self, call: Called) -> bool:
        """Whether the program trains through some calls at the place of `call`, but not through it and others."""
        if call.trained_after is not None:
            return call.also_predicts
        alike = [other for _, other in self.calls() if (other.place, other.model.key) == (call.place, call.model.key)]
        unused = [other for other in alike if other.grad and other.backpropagated is None]
        return call in unused and len(unused) > 1 and any(other.backpropagated for other in alike)

    def sets_train_for_predictions(self, call: Called) -> bool:
        """Whether the program trains the model of `call`, in a mode that another line sets."""
        trained = [each for each in self.calls_of(call.model.key) if each.backpropagated]
        at, *places = [
            each.mode_set_at if call.trained_after is None else each.train_set_at for each in (call, *trained)
        ]
        return bool(trained) and at is not None and at not in places

    def inverts_modes(self, call: Called) -> bool:
        """Whether one line sets eval mode for training and train mode for predictions, and `call` is one of these."""
        roles = {
            (other.training, other.backpropagated is True)
            for _, other in self.calls()
            if other.model.key == call.model.key and other.mode_set_at == call.mode_set_at is not None
        }
        return {(True, False), (False, True)} <= roles

    def requested_mode(self, index: int) -> bool | None:
        """The mode that the program last set before the call at event `index`.

        None where it has trained since, or has passed data in train mode only to update running statistics.
        """
        called = self.events[index]
        assert isinstance(called, Called)
        if called.trained_after is not None:
            return called.requested
        for event in reversed(self.events[:index]):
            if isinstance(event, ModeSet) and event.model.key == called.model.key:
                return event.training
            if trains(event) or (
                isinstance(event, Called) and event.model.key == called.model.key and event.only_updates
            ):
                return None
        return None


def bare_name(function: str) -> str:
    """The name of a function without its path and line."""
    return function.split(":")[-2] if ":" in function else function


def is_model_loader(function: str) -> bool:
    """Whether a function is a library's loader, which returns models in eval mode."""
    return ":from_pretrained:" in f":{function}"


def trains(event: Event) -> bool:
    """Whether an event is part of a training step."""
    return isinstance(event, (Backward, Stepped)) or (isinstance(event, Called) and event.backpropagated is True)
