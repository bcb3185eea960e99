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
from typing import TYPE_CHECKING, Any

import pluggy

from regcheck.core.report import Report
from regcheck.core.rule import Rule

if TYPE_CHECKING:
    from torch import nn

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

    Asked before regcheck reads the target itself, so a plugin may claim a prefix of its own (`zoo:NAME`). What it
    raises is reported as "not checked".
    """
    raise NotImplementedError


@hookspec(firstresult=True)
def regcheck_inputs(model: nn.Module) -> tuple[tuple[Any, ...], dict[str, Any]] | None:
    """Example inputs for a model as `(args, kwargs)` of its `forward`, or None to leave it to others.

    Asked by `regcheck audit` where no `--input` is given, and by pytest for configured models; without an answer the
    inputs are inferred.
    """
    raise NotImplementedError


@hookspec
def regcheck_report(report: Report) -> None:
    """Told of the finished report of a `regcheck scan` or `regcheck audit`, before it is written."""
    raise NotImplementedError
