"""Compare the data-parallel ranks that train one model: do they draw the same masks?"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from functools import partial

from torch import nn

from regcheck.core.errors import CannotMeasure
from regcheck.core.finding import Finding, NotChecked
from regcheck.core.graph import Mode
from regcheck.core.ranks import Ranks
from regcheck.engine.check import Check
from regcheck.probe.factory import locate
from regcheck.probe.probes import RanksProbe
from regcheck.probe.rank_agreement import LAG, Rendezvous, state_digest
from regcheck.probe.runner import Runner
from regcheck.probe.seeds import state_of
from regcheck.tracing.example_inputs import home_of
from regcheck.tracing.strategies import TraceResult
from regcheck.tracing.unwrap import Subject


def rendezvous(check: Check, subject: Subject) -> tuple[Rendezvous, bytes] | None:
    """Where the ranks of the model's group meet, and the state of the random stream here; None if no rule compares."""
    is_compared = check.options.run and any(rule.about == "ranks" for rule in check.rules)
    if not is_compared or subject.group is None or not subject.model.training:
        return None
    return Rendezvous(subject.group, subject.name), state_of(home_of(subject.model))


def compare_ranks(
    check: Check, meeting: Rendezvous, stream: bytes, twin: Callable[[], nn.Module], traced: TraceResult
) -> tuple[list[Finding], tuple[NotChecked, ...]]:
    """The findings of the rules about ranks, without the ranks that do not audit the model as well."""
    if traced.inputs is None or not [*traced.graph.dropouts(Mode.TRAIN)]:
        return [], ()
    try:
        digests = meeting.exchange("stream", state_digest(stream), meeting.everyone)
    except CannotMeasure as error:
        missed = f"whether all ranks draw the same masks: {error}"
        return [], (NotChecked(traced.graph.subject, missed, "audit the model on every rank at the same time"),)
    ranks = Ranks(traced.graph, meeting.here, {rank: digest.decode() for rank, digest in digests.items()})
    suspicions = check.suspect("ranks", ranks, blocks=traced.blocks)
    home = home_of(twin())
    runner = Runner(twin(), traced.inputs.args, traced.inputs.kwargs, home.type, locate)
    probe = RanksProbe(runner, stream, ranks.alike, partial(meeting.exchange, patience=LAG), check.options.seed)
    on_home = replace(check, devices=(home.type,))
    return on_home.prove(ranks.subject, suspicions.pairs, lambda *_: probe), suspicions.failed
