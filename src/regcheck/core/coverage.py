"""The coverage of a subject: how much of it regcheck examined, and by what means."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import asdict
from typing import Any

from regcheck.files.escape import visible
from regcheck.lazy_dataclass import dataclass

MOST_NAMES = 3
"""The most names that a line lists; it counts the others."""
MOST_MODELS = 5
"""The most models with a line each; more share one line."""


@dataclass(frozen=True)
class Coverage:
    """How much of one subject regcheck examined: the modules of a model, or the model classes of a source file.

    `how` is `recorded`, `assumed` (recorded with guessed values), `symbolic`, `graph` (the nodes that a file stores),
    `source` or `none`; `inputs` says where a recorded run's inputs came from. `modules` counts what could have been
    looked at, `traced` what was; `opaque` and `never_called` name the rest. Of those traced, `train_only` and
    `eval_only` ran in one of the two `modes` alone. The path of the model itself is empty.
    """

    subject: str
    how: str
    inputs: str = ""
    modes: tuple[str, ...] = ()
    modules: int = 0
    traced: int = 0
    opaque: tuple[str, ...] = ()
    never_called: tuple[str, ...] = ()
    train_only: tuple[str, ...] = ()
    eval_only: tuple[str, ...] = ()

    def to_dict(self) -> dict[str, Any]:
        return {name: list(each) if isinstance(each, tuple) else each for name, each in asdict(self).items()}

    @classmethod
    def from_dict(cls, document: dict[str, Any]) -> Coverage:
        """Rebuild coverage from `to_dict`."""
        values: dict[str, Any] = {
            name: tuple(each) if isinstance(each, list) else each for name, each in document.items()
        }
        return cls(**values)

    @property
    def line(self) -> str:
        """`Net: 41 of 43 modules traced on inputs inferred from pretrained_cfg; never called: aux, aux.drop`."""
        text = f"{visible(self.subject)}: {fraction((self,))}"
        if self.how == "source":
            return text + join_names("not read", self.opaque)
        text += self._means
        if len(self.modes) == 1:
            text += f", in {self.modes[0]} mode only"
        return text + join_names("opaque", self.opaque) + join_names("never called", self.never_called)

    @property
    def _means(self) -> str:
        if self.how == "symbolic":
            return " without inputs"
        if self.how == "none" or not self.inputs:
            return ""
        origins = {"given": "the inputs given", "captured": "captured inputs"}
        origins |= {f"{origin} and another": f"{words} with a second sample" for origin, words in origins.items()}
        return f" on {origins.get(self.inputs, f'inputs inferred from {self.inputs}')}" + (
            ", with assumed values" if self.how == "assumed" else ""
        )


def fraction(coverage: Sequence[Coverage]) -> str:
    """`41 of 43 modules traced`, `2 of 2 model classes read`; empty where there are none."""
    modules, traced = sum(each.modules for each in coverage), sum(each.traced for each in coverage)
    ways = {each.how for each in coverage}
    one, many = {"source": ("model class", "model classes"), "graph": ("node", "nodes")}.get(
        ways.pop() if len(ways) == 1 else "", ("module", "modules")
    )
    what = one if modules == 1 else many
    return f"{traced} of {modules} {what} {'traced' if one == 'module' else 'read'}" if modules else ""


def join_names(what: str, names: Sequence[str]) -> str:
    """`; opaque: a, b, c and 4 more`; empty for no names."""
    shown = [visible(each) or "the model itself" for each in names[:MOST_NAMES]]
    more = f" and {len(names) - MOST_NAMES} more" if len(names) > MOST_NAMES else ""
    return f"; {what}: {', '.join(shown)}{more}" if names else ""


def coverage_lines(coverage: Iterable[Coverage]) -> list[str]:
    """A line for each model, or one for all where they are many; one line for all files."""
    coverage = tuple(coverage)
    files = [each for each in coverage if each.how == "source"]
    models = [each for each in coverage if each.how != "source"]
    lines = [each.line for each in models] if len(models) <= MOST_MODELS else [_together(models, "models")]
    return lines + ([files[0].line] if len(files) == 1 else [_together(files, "files")] if files else [])


def _together(coverage: Sequence[Coverage], what: str) -> str:
    unread = [name for each in coverage for name in each.opaque] if what == "files" else []
    return f"{len(coverage)} {what}: {fraction(coverage)}" + join_names("not read", unread)
