"""The hooks that a plugin can implement.

A plugin is a module (or any object) named by an entry point of the group `regcheck`. It implements the hooks it wants
with `regcheck.hookspecs.hookimpl`:

    from regcheck.hookspecs import hookimpl

    @hookimpl
    def regcheck_rules():
        from my_rules import noisy_labels
        return [noisy_labels]
"""

from __future__ import annotations

from collections.abc import Iterable
from types import ModuleType
from typing import TYPE_CHECKING

import pluggy

from regcheck.core.finding import Finding
from regcheck.core.report import Report
from regcheck.core.rule import Rule

if TYPE_CHECKING:
    from torch import nn

    from regcheck.tracing.example_inputs import Answer

hookspec = pluggy.HookspecMarker("regcheck")
hookimpl = pluggy.HookimplMarker("regcheck")


@hookspec
def regcheck_rules() -> Iterable[Rule | ModuleType]:
    """Rules to run beside regcheck's own, through every door.

    Each is a rule file's module (see "Write a rule" in the documentation) or a ready `Rule`. A code or a name that is
    already taken stops the run. Called once, without torch being needed: import it inside the rule's own functions.
    """
    raise NotImplementedError


@hookspec(firstresult=True)
def regcheck_targets(target: str) -> nn.Module | None:
    """Build the model that `regcheck audit TARGET` names, or return None to leave it to others.

    Called before regcheck reads the target itself, so a plugin may claim a prefix of its own (`zoo:NAME`). What it
    raises is reported as "not checked".
    """
    raise NotImplementedError


@hookspec
def regcheck_inputs(model: nn.Module) -> Answer | None:
    """Example inputs for a model whose `forward` regcheck is to run, where the user passes none.

    Return one pair `(args, kwargs)` of `forward` to have it used as if the user had passed it; or an iterable of such
    pairs, to be tried in order; or None to leave the model to others. `model` is a copy.

    regcheck implements this hook itself, in `regcheck.input_sources`: for models with a Hugging Face configuration or
    inputs of their own, for detectors and graph networks. A plugin's answer comes before these; inputs guessed from the
    layers come last.
    """
    raise NotImplementedError


@hookspec
def regcheck_finding(finding: Finding) -> None:
    """Told of each finding of a `regcheck.watch()` as soon as it is known, once."""
    raise NotImplementedError


@hookspec
def regcheck_report(report: Report) -> None:
    """Told of the finished report of a `regcheck scan` or `regcheck audit`, before it is written."""
    raise NotImplementedError
