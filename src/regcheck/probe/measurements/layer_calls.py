"""Count the train-mode runs that call a layer."""

from __future__ import annotations

from contextlib import ExitStack

from regcheck.core.errors import CannotMeasure
from regcheck.core.graph import Mode, Op
from regcheck.core.measurements.layer_calls import LayerCalls
from regcheck.probe.probes import ModelProbe, measures

RUNS = 4


@measures(ModelProbe, forwards=RUNS)
def measure(probe: ModelProbe, op: Op) -> LayerCalls:
    """Run the model in train mode, with other random numbers each time, and watch the layer at the op's module path.

    A container is called when a layer in it is.
    """
    runner = probe.runner
    try:
        layer = runner.model.get_submodule(op.module)
    except AttributeError as error:
        raise CannotMeasure("the copy of the model does not hold this layer") from error
    runner.plan(RUNS)
    calling = set[int]()
    for turn in range(RUNS):
        with ExitStack() as hooks:
            for each in layer.modules():
                handle = each.register_forward_pre_hook(lambda *_, turn=turn: calling.add(turn))
                hooks.callback(handle.remove)
            runner.run(Mode.TRAIN, probe.seed + turn)
    return LayerCalls(len(calling), RUNS)
