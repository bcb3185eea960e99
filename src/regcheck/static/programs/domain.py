"""What the calls of torch mean in a program: mode changes, model calls, training steps and optimizers are events."""

from __future__ import annotations

import ast
import re
from collections.abc import Callable, Iterable, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

from regcheck.core.usage import DECIDING, Backward
from regcheck.files.dotted_name import last_name
from regcheck.static.interpreter.domain import Args, Domain, Kwargs
from regcheck.static.interpreter.part import Part
from regcheck.static.interpreter.values import (
    NONE,
    VARYING,
    Bound,
    Cells,
    Constant,
    Container,
    Either,
    Entries,
    External,
    Function,
    Instance,
    Items,
    LayerValue,
    Module,
    OptimizerValue,
    ParameterOf,
    Parameters,
    TensorRef,
    Unknown,
    UnknownModel,
    UnknownObject,
    Value,
    argument,
    by_default,
    computed_from,
    descendants,
    is_mode_setter,
    leaves,
    modules_in,
    options_of,
    truth,
)
from regcheck.static.models.defaulted_modes import note_prediction
from regcheck.static.models.inspection import LOSS_WORDS, is_function, is_loss, modes
from regcheck.static.models.mode_switch import overriding
from regcheck.static.project.files import Source
from regcheck.static.project.names import Definition
from regcheck.torch_api.functions import METADATA
from regcheck.torch_api.losses import EMBEDDING_LOSSES, LOSS_FUNCTIONS, LOSSES

from .backbones import Backbones
from .constraints import Constraints
from .events import EventLog
from .exported_models import Exports
from .freezing import Freezing
from .mode_restoration import ModeRestoration
from .optimizers import Optimizers
from .part_loops import PartLoops
from .penalties import LayerWeight, PenalizedLoss, Penalties, Zero
from .repetition import repetition_of
from .trainers import Trainers
from .uncalled_methods import UncalledMethods
from .unknown_models import BESIDE_MODES, LEAVING_MODES, UnknownModels

if TYPE_CHECKING:
    from regcheck.static.interpreter.interpreter import Interpreter

GRADIENT_MODES = {External("grad off"): False, External("grad on"): True, External("grad unknown"): None}
"""The values of context managers that switch gradients on or off; None: which of both is not known."""
_GRADIENTS_OFF, _GRADIENTS_ON, _GRADIENTS_OPEN = GRADIENT_MODES
_NAMES_LOSS = re.compile("|".join(LOSS_WORDS))
_WITHOUT_MODES = frozenset((Constant, Unknown, External, TensorRef))
"""The values that no model is among."""
_THRESHOLDS = (ast.Gt, ast.GtE, ast.Lt, ast.LtE)
_LEAVING_THE_GRAPH = frozenset(("item", "tolist", "numpy"))
_PASSING = frozenset(("print", "len", "isinstance", "type", "id", "repr", "str", "hasattr", "callable", "getattr"))
"""Builtins that use a value and leave it alone."""
_OBSERVERS = frozenset(
    "torchsummary.summary torchinfo.summary torchsummaryX.summary torch_geometric.nn.summary wandb.watch"
    " thop.profile fvcore.nn.FlopCountAnalysis torchviz.make_dot".split()
)
"""Functions of other packages that look at a model and leave its mode as it is."""


_COMPARING = frozenset("cat concat stack matmul mm cosine_similarity cdist pairwise_distance".split())
"""Functions that put the results of several calls together, as losses of features do."""
AVERAGING = "update_parameters"
"""The method of torch's `AveragedModel` that moves its weights towards those of another model."""
OF_TASKS = frozenset(
    "log log_dict optimizers lr_schedulers print clip_gradients all_gather toggle_optimizer untoggle_optimizer".split()
)
"""Methods of Lightning's modules that leave their modes alone."""


class ProgramDomain(Domain):
    """Records what a program does with its models."""

    observes_uses = True

    def __init__(self, import_file: Callable[[Source], Cells], name: str = "") -> None:
        self.import_file = import_file
        self.log = EventLog(name)
        self._following = False
        self.restoration = ModeRestoration(self.log)
        self.uncalled_methods = UncalledMethods(self.log)
        self.unknown_models = UnknownModels(self.log)
        self.part_loops = PartLoops()
        self.backbones = Backbones(self.log)
        self.freezing = Freezing(self.log)
        self.optimizers = Optimizers(self.log, self.freezing)
        self.penalties = Penalties(self.log, self.freezing)
        self.constraints = Constraints(self.log)
        self.trainers = Trainers(self.log)
        self.exports = Exports(self.log)

    def connect(self, interpreter: Interpreter) -> None:
        super().connect(interpreter)
        for part in self.parts:
            part.connect(interpreter)

    @property
    def parts(self) -> tuple[Part, ...]:
        """The parts that record what a program does, one subject each."""
        first = self.log, self.penalties, self.restoration, self.uncalled_methods, self.part_loops, self.freezing
        return (
            *first,
            self.backbones,
            self.unknown_models,
            self.optimizers,
            self.constraints,
            self.trainers,
            self.exports,
        )

    def begin(self, name: str) -> None:
        """A program begins, with a name that no other one of the same file has."""
        self.unknown_models.begin()
        self.log.begin(name)
        self.freezing.begin()
        self.optimizers.begin()
        self.constraints.begin()

    def globals_of(self, source: Source) -> Cells | None:
        return self.import_file(source)

    def run_module(self, module: Module, args: Args, kwargs: Kwargs, node: ast.expr) -> Value:
        debts = self.restoration.debts_of(module)
        result = self._run(module, args, kwargs, node)
        self.restoration.await_backward(debts, result)
        return result

    def _run(self, module: Module, args: Args, kwargs: Kwargs, node: ast.expr) -> Value:
        arguments = (*args, *kwargs.values())
        self.freezing.use(module)
        if isinstance(module, LayerValue) and is_loss(module):
            if LOSSES[module.name] in ("", *EMBEDDING_LOSSES):  # without a function, its own layers make the scores
                self.log.note_features(arguments)
            self.log.add_score(LOSSES[module.name], args, kwargs)
            return self.log.consume_in_loss(arguments)
        if not is_function(module):
            self.log.note_features(arguments)
        elif is_loss(module) or _NAMES_LOSS.search(_callee(node)):
            self.log.consume_in_loss(arguments)
        if not self.log.is_model(module):
            self.log.add_part_call(module, node)
            return self.opaque(arguments, node)
        if isinstance(module, Instance) and self._is_single_prediction(module, node):
            note_prediction(self.state, module, args, kwargs)
        result = self.log.add_call(module, arguments, node)
        self.restoration.note_call(module, self.log.origins((result,))[0])
        return result

    def _is_single_prediction(self, module: Module, node: ast.expr) -> bool:
        """Whether a call in eval mode without gradients is no draw of several for one input."""
        predicts = self.log.has_gradients is False and modes(module)[0] is False
        return predicts and not repetition_of(node, self.state.frames).of_one_input

    def unsettle(self, values: Iterable[Value]) -> None:
        """Unknown code receives values: the modes of the models among them are no longer known."""
        for value in values:
            if type(value) in _WITHOUT_MODES:
                continue
            if is_mode_setter(value):
                value = value.receiver
            contents = value.cells.values() if isinstance(value, (Entries, Instance)) else ()
            for each in leaves(value, *contents, dicts=False):
                if isinstance(each, UnknownObject):
                    self.unknown_models.unsettle(each)
                elif isinstance(each, Module) and each.is_module:
                    self._unsettle_module(each)

    def _unsettle_module(self, module: Module) -> None:
        self.freezing.use(module)
        for _, each in descendants(module):
            self.state.set(each.cells, "training", VARYING)
            self.restoration.settle(each)

    def opaque(self, values: Iterable[Value], node: ast.AST) -> Value:
        values = tuple(values)
        if isinstance(node, ast.Yield):
            self.restoration.note_yield()
        self.unsettle(values)
        name = _callee(node)
        if _NAMES_LOSS.search(name):
            return self.log.consume_in_loss(values)
        result = self.log.decide(values) if DECIDING.search(name) else self.log.compute(name, values)
        if isinstance(node, ast.Call) and not isinstance(result, TensorRef):
            return self.unknown_models.result_of(values, node)
        return self.penalties.keep_terms(name, values, result, node)

    def item(self, owner: Value, key: Value, node: ast.AST) -> Value:
        if isinstance(owner, UnknownObject) and isinstance(key, Constant):
            return owner.part(f"[{key.value!r}]")
        default = by_default(key)
        if isinstance(owner, External) and owner.name.endswith(".__dict__") and isinstance(default, Constant):
            package = External(owner.name.removesuffix(".__dict__"))
            return computed_from((key,), self.attributes.attribute(package, str(default.value)))
        return super().item(owner, key, node)

    def training(self, module: Module) -> Value:
        if isinstance(module, UnknownModel):
            mode: Value = module.cells.get("training", VARYING)
            return mode
        return super().training(module)

    def arithmetic(self, name: str, values: Args, node: ast.AST) -> Value:
        if isinstance(node, ast.Compare) and len(values) == 2:
            compared = self.part_loops.comparison(node.ops[0], *values)
            if compared is not None:
                return compared
        if isinstance(node, ast.AugAssign) and name in ("mul", "div"):
            self.constraints.write(values[0], f"{name}_", values[1:], {}, node)
        if name in ("sub", "matmul"):
            self.log.put_together(values)
        thresholds = isinstance(node, ast.Compare) and isinstance(node.ops[0], _THRESHOLDS)
        used = self.log.decide(values) if thresholds else self.log.combine(name, values)
        return self.penalties.arithmetic(name, values, used, node)

    def join_tensors(self, values: Sequence[Value]) -> Value:
        joined = TensorRef(self.log.ids(dict.fromkeys(self.log.origins(values))))
        return self.penalties.join_losses(values, joined)

    def join_parameters(self, values: Sequence[Value]) -> Value | None:
        return self.penalties.join(values)

    def joined_with_default(self, joined: Value, default: Value) -> Value:
        if isinstance(joined, TensorRef) and isinstance(default, PenalizedLoss):
            return replace(default, ids=joined.ids)
        return joined

    def items_of(self, value: Value) -> tuple[Value, ...] | None:
        return self.penalties.items_of(value)

    def attribute(self, owner: Value, name: str) -> Value | None:
        if isinstance(owner, ParameterOf) and name == "data":
            self.freezing.rewrite(owner.owner)
        if isinstance(owner, TensorRef) and name == "data":
            self.log.take_out((owner,))
        if name == "param_groups" and isinstance(owner, OptimizerValue):
            return owner.groups
        if name == "__name__" and isinstance(owner, Definition):
            return Constant(owner.node.name)
        weights = self.penalties.attribute(owner, name)
        if weights is not None:
            return weights
        is_metadata = isinstance(owner, TensorRef) and name in METADATA
        return VARYING if is_metadata or isinstance(owner, (Parameters, ParameterOf)) else None

    def class_of(self, module: Module) -> Value | None:
        return self.part_loops.class_of(module)

    def observe_format(self, value: Value) -> None:
        self.log.consume((value,))

    def leave_function(self, node: ast.stmt) -> None:
        self.restoration.leave_function(node)

    def set_training(self, module: Module, training: Value, node: ast.AST) -> None:
        running = [each.function.instance for each in self.state.frames if each.function and each.function.owner]
        tops = [child for _, child in module.children()] if any(each is module for each in running) else [module]
        own = [each for top in tops for each in overriding(top)]
        before = [(each, self.training(each)) for top in own for _, each in descendants(top)]
        if not self._following:
            self.freezing.set_mode(module, truth(training), node)
        self._set_training([module], [each for _, each in descendants(module)], training, node)
        for each, mode in before:
            self.state.set(each.cells, "training", mode)
        for each in own:
            self._follow(each, training)

    def _follow(self, module: Module, training: Value) -> None:
        """Calls the `train()` of a module's class, which may set other modes; what it does is no event."""
        following, self._following = self._following, True
        try:
            self.calls.method(module, "train", (training,), {}, ast.Name("train", ast.Load()))
        finally:
            self._following = following

    def library_sets_training(self, module: Module, training: Constant) -> None:
        """A library sets the mode of a model by its `train()`, which is no event of the program."""
        following, self._following = self._following, True
        try:
            self.set_training(module, training, ast.Name("train", ast.Load(), lineno=1, col_offset=0))
        finally:
            self._following = following

    def assign_training(self, owner: Value, training: Value, node: ast.AST) -> None:
        models = [*modules_in(owner)]
        if models:
            self._set_training(models, models, training, node)
        else:
            self.unsettle(self.state.created)
            self.unknown_models.unsettle_all()

    def _set_training(
        self, models: Sequence[Module], switched: Iterable[Module], training: Value, node: ast.AST
    ) -> None:
        """The program sets the mode of models, by the flags of the modules `switched`."""
        if not self._following:
            self.restoration.before_mode_set(models, training, node)
        for each in switched:
            self.state.set(each.cells, "training", training)
            if not self._following and isinstance(training, Constant) and self.log.is_model(each):
                self.log.add_mode(each, bool(training.value), node)

    def _set_mode_of_each(self, owner: Either, name: str, args: Args, kwargs: Kwargs, node: ast.expr) -> Value:
        """`train()` or `eval()` of one of several models: whichever it is, it has the mode afterwards."""
        for each in sorted(options_of(owner), key=lambda each: isinstance(each, Module)):  # a known mode comes last
            self.calls.method(each, name, args, kwargs, node)
        return owner

    def models_of_one_mode(self, choice: Either) -> list[Module]:
        """The whole models that a value may be, if they have the same mode."""
        models = [each for each in options_of(choice) if isinstance(each, Module)]
        modes_of_models = {modes(each)[0] if self.log.is_model(each) else None for each in models}
        return models if len(modes_of_models) == 1 and None not in modes_of_models else []

    def copy_of(self, value: Value) -> Value:
        """A copy of a module with a mode of its own."""
        if isinstance(value, UnknownObject):
            return self.unknown_models.copy_of(value)
        if not isinstance(value, (Instance, Container, LayerValue)):
            return value
        if isinstance(value, LayerValue):
            layer = replace(value, cells=Cells(value.cells))
            self.freezing.copy(value, layer)
            return layer
        if isinstance(value, Container):
            copy: Container | Instance = replace(
                value, cells=Cells(value.cells), entries=self._copy_cells(value.entries)
            )
        else:
            copy = replace(value, cells=self._copy_cells(value.cells))
        self.freezing.copy(value, copy)
        self.log.copies.add(id(copy))
        self.state.created.append(copy)
        return copy

    def _copy_cells(self, cells: Cells) -> Cells:
        return Cells({name: self.copy_of(each) for name, each in cells.items()})

    def external(self, name: str, args: Args, kwargs: Kwargs, node: ast.expr) -> Value | None:
        package, _, last = name.rpartition(".")
        if package == "builtins" and last in _PASSING and (last != "getattr" or len(args) < 2):
            self.log.consume(args)
        if name == "itertools.chain" or (package == "builtins" and last in ("isinstance", "any", "all", "type")):
            tested = self.part_loops.test(last, args)
            if tested is not None:
                return tested
        if name == "builtins.zip" and len(args) > 1:
            for each in args:
                self.freezing.rewrite(each.owner if isinstance(each, Parameters) else None)
        backbone = self.backbones.built(name, args, kwargs, self.state.place(node))
        if backbone is not None:
            return backbone
        if name in _OBSERVERS:
            return self.log.consume((*args, *kwargs.values()))
        trainer = self.trainers.built(name, args, kwargs, node)
        return trainer or self.penalties.external(name, args, kwargs, node)

    def torch_function(self, name: str, args: Args, kwargs: Kwargs, node: ast.expr) -> Value | None:
        result = self._torch_function(name, args, kwargs, node)
        limited = self.constraints.limited(args[0] if args else None, name.rpartition(".")[2], args[1:], kwargs)
        return limited or self.penalties.torch_function(name, args, kwargs) or result

    def _torch_function(self, name: str, args: Args, kwargs: Kwargs, node: ast.expr) -> Value:
        exported = self.exports.export(name, args, kwargs, node)
        if exported is not None:
            return exported
        package, _, last = name.rpartition(".")
        values = (*args, *kwargs.values())
        if name in ("torch.no_grad", "torch.autograd.no_grad", "torch.autograd.grad_mode.no_grad"):
            return _GRADIENTS_OFF
        if name == "torch.enable_grad":
            return _GRADIENTS_ON
        if name in ("torch.inference_mode", "torch.set_grad_enabled"):
            mode = truth(argument(args, kwargs, 0, "mode", True))
            enabled = mode if last == "set_grad_enabled" or mode is None else not mode
            if last == "set_grad_enabled":
                self.log.set_gradients(enabled)
            return _GRADIENTS_OPEN if enabled is None else _GRADIENTS_ON if enabled else _GRADIENTS_OFF
        if name == "torch.optim.swa_utils.AveragedModel" and args:
            return self.copy_of(args[0])
        if name == "torch.optim.swa_utils.update_bn":
            return self._update_statistics(argument(args, kwargs, 1, "model"), node)
        if package == "torch.optim" and last[:1].isupper():
            return self.optimizers.construct(last, args, kwargs, node)
        if name == "torch.autograd.grad":
            self.log.add(Backward, node)
        if package == "torch.nn.functional" and last in LOSS_FUNCTIONS:
            self.log.add_score(last, args, kwargs)
            if last in EMBEDDING_LOSSES:
                self.log.note_features(values)
            return self.log.consume_in_loss(values)
        if last in _COMPARING:
            self.log.put_together(values)
        return self._computed(last, values, node)

    def _update_statistics(self, model: Value, node: ast.AST) -> Value:
        """A pass in train mode for running statistics; afterwards the model has the mode that it had before."""
        module = model.model if isinstance(model, UnknownObject) else model
        if isinstance(module, Module) and self.log.is_model(module):
            self.log.add_statistics(module, node)
        return NONE

    def _computed(self, name: str, values: Sequence[Value], node: ast.AST) -> Value:
        """The result of a function of torch; `max` along a dimension returns the index of the maximum as well."""
        if name == "argmax":
            return self.log.consume_in_loss(values)
        if name in _LEAVING_THE_GRAPH:
            return self.log.take_out(values)
        if name == "detach":
            self.log.take_out(values)
        decides = DECIDING.search(name) or (name == "max" and len(values) > 1)
        result = self.log.decide(values) if decides else self.log.compute(name, tuple(values))
        return self.penalties.keep_terms(name, values, result, node)

    def method(self, owner: Value, name: str, args: Args, kwargs: Kwargs, node: ast.expr) -> Value | None:
        if name == "backward":
            self.restoration.propagate(owner)
        if name == "forward" and isinstance(owner, Module) and self.log.is_model(owner):
            return self.calls.call(owner, args, kwargs, node)
        if (
            name in ("train", "eval")
            and isinstance(owner, Module)
            and not self._following
            and owner in overriding(owner)
        ):
            mode = truth(Constant(False) if name == "eval" else argument(args, kwargs, 0, "mode", True))
            self.set_training(owner, VARYING if mode is None else Constant(mode), node)
            return owner
        trained = self.trainers.method(owner, name, args, kwargs, node)
        if trained is not None:
            return trained
        if isinstance(owner, Either) and name in ("train", "eval") and any(modules_in(owner)):
            return self._set_mode_of_each(owner, name, args, kwargs, node)
        if isinstance(owner, Instance) and not (
            owner.is_module or name in owner.cells or owner.definition.method(name)
        ):
            self.unsettle((owner,))  # a method of an unknown base class
        if isinstance(owner, (Items, Entries)):
            self.log.consume((*args, *kwargs.values()))
        if name == "load_from_checkpoint" and isinstance(owner, Definition) and owner.method(name) is None:
            return self._loaded(owner, node)
        if isinstance(owner, (ParameterOf, LayerWeight)):
            self.constraints.write(owner, name, args, kwargs, node)
            limited = self.constraints.limited(owner, name, args, kwargs)
            if limited is not None:
                return limited
        if isinstance(owner, ParameterOf) and name != "backward":
            return self._parameter_method(owner, name, args, kwargs)
        if isinstance(owner, (LayerWeight, Zero)):
            return self.penalties.method(owner, name, args, kwargs)
        if isinstance(owner, Constant):
            computed = self.part_loops.text_method(owner, name, args)
            if computed is not None:
                return computed
        if not isinstance(owner, (Unknown, TensorRef, OptimizerValue, Bound, External)):
            return None
        arguments = (owner, *args, *kwargs.values())
        if name == "backward":
            for each in arguments:
                self.log.events += each.terms if isinstance(each, PenalizedLoss) else ()
            self.log.add(Backward, node)
            self.log.add_composed_steps(arguments, node)
            self.log.backpropagate(arguments)
            self.freezing.train(arguments)
            self.constraints.train(arguments)
            return self.log.consume_in_training(arguments)
        if name == "step":
            closure = argument(args, kwargs, 0, "closure")
            if isinstance(closure, Function):
                self.calls.call(closure, (), {}, node)
            if isinstance(owner, OptimizerValue):
                self.optimizers.step(owner, node)
            else:
                self.log.add(Backward, node)
            self.log.steps = True
            return Unknown()
        if name == "add_param_group" and isinstance(owner, OptimizerValue):
            self.optimizers.add_group(owner, argument(args, kwargs, 0, "param_group"))
            return NONE
        if name in ("train", "eval") and not isinstance(owner, (TensorRef, External)):
            for each in filter(lambda created: created.is_module, self.state.created):
                self._unsettle_module(each)
            if not isinstance(owner, UnknownObject):
                self.unknown_models.unsettle_all()
                return owner
        if isinstance(owner, UnknownObject):
            if name == AVERAGING:
                return NONE
            if name in LEAVING_MODES or name in BESIDE_MODES:
                self.unsettle(arguments[1:])
                return self.log.consume(arguments)
            return self.unknown_models.method(owner, name, args, kwargs, node)
        if not isinstance(owner, TensorRef):
            return None
        if name in METADATA:
            return VARYING
        return self._computed(name, arguments, node)

    def _loaded(self, definition: Definition, node: ast.expr) -> Value:
        """The model that Lightning constructs and loads weights into: it is in train mode."""
        model = self.calls.construct(definition, (), {}, node)
        if isinstance(model, Instance):
            self.log.load_weights(model)
        return model

    def _parameter_method(self, owner: ParameterOf, name: str, args: Args, kwargs: Kwargs) -> Value | None:
        """`parameter.name(…)`."""
        if name == "requires_grad_" and owner.owner is not None and owner.name:
            self.freezing.set_parameter(owner.owner, owner.name, argument(args, kwargs, 0, "requires_grad", True))
            return owner
        if name.endswith("_") and name not in ("requires_grad_", "zero_"):
            self.freezing.rewrite(owner.owner)
        return self.penalties.method(owner, name, args, kwargs)

    def module_method(self, module: Module, name: str, args: Args, kwargs: Kwargs, node: ast.expr) -> Value | None:
        if name == "apply" and args:
            with self.part_loops.applying(args[0]):
                listed = self.part_loops.parts(module, "modules")
                for each in listed.items if isinstance(listed, Items) else (Unknown(),):
                    self.calls.call(args[0], (each,), {}, node)
            return module
        listed = self.part_loops.parts(module, name) if not (args or kwargs) else None
        if listed is not None:
            return listed
        if name in ("parameters", "named_parameters") and not (args or kwargs):
            return self.penalties.parameters(module, name)
        if name == "optimizers":
            return self.optimizers.of_task(module)
        if name == "manual_backward" and args:
            return self.method(args[0], "backward", (), {}, node)
        if name in OF_TASKS:
            self.unsettle((*args, *kwargs.values()))
            return self.log.consume((*args, *kwargs.values()))
        if name == AVERAGING:
            self.freezing.rewrite(module)
            return NONE
        if name == "load_state_dict":
            self.log.load_weights(module)
            self.freezing.load(module, node)
        if name in LEAVING_MODES and not (isinstance(module, Container) and name in ("children", "named_children")):
            return self.penalties.parts(module, name) or VARYING
        return None


def _callee(node: ast.AST) -> str:
    """The last part of the name that a call calls, in lower case; empty for no call, or a callee without a name."""
    return last_name(node.func).lower() if isinstance(node, ast.Call) else ""
