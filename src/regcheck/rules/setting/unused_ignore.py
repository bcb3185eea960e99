"""An ignore that suppresses nothing.

## What it finds

A comment `# regcheck: ignore[…]` that cannot have an effect: it names no rule, it names one without the brackets or
under another word (`ignore REG202`, `ignroe[REG202]`, `noqa: REG202`), it is on a line of its own (where it belongs to
no code), it is an `ignore-file` below the first statement, or it gives no reason although `require-reason` demands one.

The rule ignores a comment whose rule merely finds nothing there: a run may see what source cannot, and another
configuration of a model may show a finding. It also ignores a comment for a rule of a plugin that is not installed, and
files that the configuration ignores.

Under `pytest --regcheck`, it reports a marker `@pytest.mark.regcheck(ignore=[…])`, a class under `@regcheck.ignore(…)`
and a block `with regcheck.ignore(…)` if none of the tests concerned had anything to suppress, although all of them
passed and everything they ran was checked. That takes a whole session: it is not reported with `-k`, `--lf`, single
files, deselected tests, or after `-x` or a crash. In the code under test it is advice (`info`), since other callers may
show what these tests do not. The same holds for a block in a program under `regcheck run`, or in a block under
`regcheck.watch()`, that came to its end and in which everything was checked.

## Why it matters

Readers believe that a declaration has an effect. Without one, the finding it was written for comes back, or the
declaration stays, misleads readers, and hides the next defect of its kind.

## How it is confirmed

It is not measured: the text of a comment and its position decide, and Python's own tokenizer separates comments from
strings. For a declaration in code, the running program records what it suppressed.

## When to keep the code

Never: correct or remove the ignore. To keep a comment regardless, write `ignore[REG900]` in the same brackets; for a
declaration in code, write it in a comment on that line.

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
SINCE = "1.0"


def check(ignores: Suppressions) -> Iterator[Suspicion]:
    for each in ignores.outcomes:
        why, remedy = useless(each)
        if why and not each.silenced:
            yield Suspicion(Event(each.ignore.place), f"`{written(each.ignore)}` suppresses nothing: {why}", fix=remedy)


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
