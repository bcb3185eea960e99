"""From a model's class to its graph: its `forward` is interpreted, and every torch call becomes an op."""

from __future__ import annotations

import ast
from collections import defaultdict
from collections.abc import Iterator
from dataclasses import replace
from itertools import count

from regcheck.core.graph import Flow, Graph, Kind, Mode, Op, Site, Wholeness
from regcheck.core.starting_points import Trait
from regcheck.static.interpreter.evaluator import Evaluator
from regcheck.static.interpreter.interpreter import Interpreter
from regcheck.static.interpreter.state import Frame
from regcheck.static.interpreter.values import Cells, Container, Instance, Items, Module, Several, Value, tick
from regcheck.static.project.names import Project

from .both_modes import BothModesEvaluator, SideEffect
from .built_once import ModelCalls
from .defaulted_modes import argument_of_predictions
from .domain import ModelDomain
from .emit import Emitter, RegisteredModules
from .forward_cache import ForwardCache, ForwardRunner, expanded
from .mode_switch import ModeSwitch, overrides_of
from .outputs import named_outputs
from .reachable_starts import can_start
from .uncalled_layers import uncalled_dropouts


def graph_of(
    project: Project, model: Module, subject: str, build_functions: set[int], cache: ForwardCache
) -> Graph | None:
    """The graph of a constructed model; None if `forward` returns nothing, or no rule can start in the graph.

    A forward in which none can start does not run. `build_functions` are the functions that constructing the model
    entered, by the ids of their nodes.
    """
    modules = RegisteredModules(model)
    uncalled = uncalled_dropouts(project, model) if Trait.UNCALLED in project.starts else ()
    if not (uncalled or can_start(project, modules)):
        return None
    train = _run(project, modules, Mode.TRAIN, build_functions, cache)
    evaluation = _run_switched(project, modules, build_functions, cache)
    if evaluation is None:
        observed = train.emitter.tracker.observed
        evaluation = _run(project, modules, Mode.EVAL, build_functions, cache) if observed else train
    if not (train.emitter.matters or evaluation.emitter.matters or uncalled):
        return None
    flow = train.flow(Mode.TRAIN)
    if not flow.outputs:
        return None
    return Graph(subject, flow, evaluation.flow(Mode.EVAL), Wholeness.UNKNOWN, assumed=True, uncalled=uncalled)


def _run(
    project: Project, modules: RegisteredModules, mode: Mode, build_functions: set[int], cache: ForwardCache
) -> ForwardRun:
    """Runs a model's forward in one mode, and if possible for both modes at once."""
    emitter = Emitter(modules, mode)
    run = ForwardRun(project, emitter, build_functions, cache, BothModesEvaluator(emitter))
    try:
        run.run()
    except SideEffect:
        run.undo()
        run = ForwardRun(project, Emitter(modules, mode), build_functions, cache, Evaluator())
        run.run()
    return run


def _run_switched(
    project: Project, modules: RegisteredModules, build_functions: set[int], cache: ForwardCache
) -> ForwardRun | None:
    """Runs a model's forward after the model's own `train()` and `eval()`; None where these do what torch's do."""
    overrides = overrides_of(modules.model)
    if not overrides:
        return None
    run = ForwardRun(project, Emitter(modules, Mode.EVAL), build_functions | overrides, cache, Evaluator())
    if not run.switch():
        return None
    run.run()
    return run


class ForwardRun:
    """One run of a model's forward in one mode."""

    def __init__(
        self, project: Project, emitter: Emitter, build_functions: set[int], cache: ForwardCache, evaluator: Evaluator
    ) -> None:
        self.emitter = emitter
        self.model = emitter.modules.model
        self._switch = ModeSwitch(self.model)
        self._build_functions = build_functions
        runner = ForwardRunner(cache, emitter, build_functions)
        domain = ModelDomain(emitter, runner, build_functions, self._switch)
        self.interpreter = Interpreter(project, domain, evaluator=evaluator, calls=ModelCalls(emitter))
        self.outputs: tuple[tuple[str, str], ...] = ()
        self._began = tick()

    def switch(self) -> bool:
        """Calls the model's own `train()` and `eval()`, and leaves it as these do; False if that is of no effect."""
        with self.interpreter.state.within(self._frame()):
            differs = self._switch.run()
        if not differs:
            self.undo()
        self._build_functions |= self.interpreter.state.entered
        self.emitter.switched = bool(differs)
        return bool(differs)

    def run(self) -> None:
        """Interprets the forward, and leaves the model as it was."""
        with self.interpreter.state.within(self._frame()):
            results = self._results()
        self.undo()
        self.outputs = tuple([pair for each in results for pair in named_outputs(each, "output")])

    def undo(self) -> None:
        self.interpreter.state.undo(0, self._began)

    def _frame(self) -> Frame:
        own = self.model.definition.source if isinstance(self.model, Instance) else None
        return Frame(None, own or self.interpreter.state.project.sources[0], Cells())

    def flow(self, mode: Mode) -> Flow:
        """The ops in a mode; in the other mode than the run's own, if no more than the ops depends on the mode."""
        occurrences: defaultdict[Site, Iterator[int]] = defaultdict(count)
        ops: dict[str, Op] = {}
        for op in expanded(self.emitter.track, mode):
            site = op.site
            occurrence = next(occurrences[site])
            ops[op.id] = op.moved(Site(site.module, site.function, site.place, occurrence), mode) if occurrence else op
        if not any(op.learned for op in ops.values()):
            # An augmentation, a loss or a sampler is random on purpose; only a model's predictions are checked.
            for name, op in ops.items():
                if op.kind is Kind.RANDOM:
                    ops[name] = replace(op, active=None if op.active else op.active)
        return Flow(mode, ops, self.outputs)

    def _results(self) -> tuple[Value, ...]:
        """Runs the model; the values of its `return` statements."""
        node = ast.Name("forward", ast.Load(), lineno=1, col_offset=0)
        model, parts = self.model, self.interpreter
        forward = model.definition.method("forward") if isinstance(model, Instance) else None
        if forward is None:
            if not isinstance(model, (Instance, Container)):
                return ()
            return (parts.domain.run_module(model, (self._input("input"),), {}, node),)
        spec = forward.node.args
        forward.instance = model
        args = [self._argument(each.arg) for each in (*spec.posonlyargs, *spec.args)[1:]]
        if spec.vararg:
            args.append(Several(self._input(spec.vararg.arg)))
        kwargs = {each.arg: self._argument(each.arg) for each in spec.kwonlyargs}
        result = parts.calls.call_function(forward, tuple(args), kwargs, node)
        return result.items if isinstance(result, Items) else ()

    def _argument(self, name: str) -> Value:
        constant = argument_of_predictions(self.model, name) if isinstance(self.model, Instance) else None
        return constant or self._input(name)

    def _input(self, name: str) -> Value:
        return self.emitter.emit(Kind.INPUT, name, (), place=None)
