"""An ignore that silences nothing.

## What it finds

A comment `# regcheck: ignore[…]` that cannot do what it says: it names no rule, it names one without the brackets or
under another word (`ignore REG202`, `ignroe[REG202]`, `noqa: REG202`), it stands on a line of its own (where it belongs
to no code), it is an `ignore-file` below the first statement, or it gives no reason although `require-reason` asks for
one.

A comment whose rule merely finds nothing there is left alone: what source cannot see a run may, and what one
configuration of a model does not show another does. So is an ignore for a rule of a plugin that is not installed here,
and what the configuration ignores.

Under `pytest --regcheck`, a marker `@pytest.mark.regcheck(ignore=[…])`, a class under `@regcheck.ignore(…)` and a block
`with regcheck.ignore(…)` for which none of the tests concerned had anything to silence, although all of them passed
and everything they ran was checked. That takes a whole session: it is not told with `-k`, `--lf`, single files,
deselected tests, or after `-x` or a crash. In the code under test it is advice (`info`), since other callers may show
what these tests do not. So is a block in a program under `regcheck run`, or in a block under `regcheck.watch()`, that
came to its end and in which everything was checked.

## Why it matters

A declaration that silences nothing is believed to be one that does. The finding it was written for comes back, or it
stays for good, tells readers something untrue, and hides the next fault of its kind.

## How it is confirmed

It is not measured: what a comment names and where it stands is all there is to know, and comments are told from strings
by Python's own tokenizer. What a declaration in code silenced is noted as the program runs.

## When to keep the code

Never: mend or remove the ignore. To keep a comment regardless, say `ignore[REG900]` in the same brackets; behind a
declaration in code, say it in a comment on that line.

## References

The same idea in other linters: ruff's unused-noqa (RUF100), mypy's `warn_unused_ignores`.
"""

from __future__ import annotations

import re
from collections.abc import Iterator

from regcheck.core.finding import Severity, Suspicion
from regcheck.core.rule import Example
from regcheck.core.suppressions import CodeSuppression, CommentSuppression, Suppressions, SuppressionUse
from regcheck.core.usage import Event

CODE = "REG900"
SEVERITY = Severity.WARNING


def check(ignores: Suppressions) -> Iterator[Suspicion]:
    for each in ignores.outcomes:
        why, remedy = useless(each)
        if why and not each.silenced:
            yield Suspicion(Event(each.ignore.place), f"`{written(each.ignore)}` silences nothing: {why}", fix=remedy)


def written(ignore: CommentSuppression | CodeSuppression) -> str:
    """The ignore as its author wrote it, with the one rule that is meant."""
    if isinstance(ignore, CodeSuppression):
        return ignore.form.replace("…", ignore.pattern)
    return ignore.malformed or f"ignore{'-file' * ignore.whole_file}[{ignore.pattern}]"


def useless(outcome: SuppressionUse) -> tuple[str, str]:
    """Why an ignore cannot silence anything, and what to do; nothing where it can."""
    ignore = outcome.ignore
    if isinstance(ignore, CommentSuppression) and ignore.malformed:
        codes = ", ".join(re.findall(r"(?i)\breg\d+", ignore.malformed)).upper() or "CODE"
        return "its rules belong in brackets after `ignore`", f"write `# regcheck: ignore[{codes}] why`"
    # Any other code may be that of a plugin which is not installed here.
    ours = re.fullmatch(r"(?i)reg\d+", ignore.pattern) or (outcome.meant and re.match("(?i)reg|.*-", ignore.pattern))
    if ours and not outcome.known:
        return f"there is no such rule{outcome.meant}", "name the rule, or remove the ignore"
    if isinstance(ignore, CodeSuppression):
        why = "`require-reason` asks for a reason" if outcome.needs_reason else outcome.idle
        return why, "give the reason, as in `reason=…`" if outcome.needs_reason else "remove it"
    if ignore.whole_file and not ignore.lines:
        return "it comes after the first statement", "put it on a line of its own above the first statement"
    if not ignore.lines:
        return "it is on a line of its own", "put it at the end of the line that it applies to"
    if outcome.needs_reason:
        return "`require-reason` asks for a reason", "give the reason after the bracket"
    return "", ""


BAD = (
    Example("""\
import torch.nn.functional as F
from torch import nn


class Prenet(nn.Module):
    def __init__(self):
        super().__init__()
        self.layer = nn.Linear(80, 256)

    def forward(self, x):
        # regcheck: ignore[REG202] always on, as in the paper  # <-
        return F.dropout(self.layer(x), 0.5, self.training)
"""),
    Example("""\
import torch.nn.functional as F
from torch import nn


class Prenet(nn.Module):
    def forward(self, x):
        return F.dropout(x, 0.5, self.training)  # regcheck: ignore[dropout-ignore-mode] on purpose  # <-
"""),
    Example("""\
import torch.nn.functional as F
from torch import nn


class Prenet(nn.Module):
    def forward(self, x):
        x = F.dropout(x, 0.5, self.training)  # regcheck: ignore REG202 on purpose  # <-
        return F.dropout(x, 0.5, self.training)  # regcheck: ignroe[REG202] on purpose  # <-
"""),
)

GOOD = (
    Example("""\
import torch.nn.functional as F
from torch import nn


class Prenet(nn.Module):
    def __init__(self):
        super().__init__()
        self.layer = nn.Linear(80, 256)

    def forward(self, x):
        return F.dropout(self.layer(x), 0.5)  # regcheck: ignore[REG202] always on, as in the paper
"""),
)
