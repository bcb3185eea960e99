"""Which rules run, and where they are ignored.

A pattern is a rule's code, the first characters of its code (`REG2`), its name, or `ALL`. The most specific
pattern decides about a rule; between equally specific ones, ignoring wins.
"""

from __future__ import annotations

from collections.abc import Iterable
from fnmatch import fnmatchcase
from pathlib import PurePath

from regcheck.config.options import Options
from regcheck.core.errors import UsageError, nearest
from regcheck.core.finding import Severity
from regcheck.core.rule import Rule


def chosen(rules: Iterable[Rule], options: Options) -> tuple[Rule, ...]:
    """The rules that `options` select. Without `select` these are all but the advice (severity `info`).

    Raises:
        UsageError: a pattern, of any option, that fits no rule, with its nearest neighbour.
    """
    rules = tuple(rules)
    for pattern in patterns_of(options):
        if not any(_fit(pattern, rule.code, rule.name) is not None for rule in rules):
            raise unknown_rule(pattern, rules)
    return tuple(rule for rule in rules if _is_on(rule, options))


def unknown_rule(word: str, rules: Iterable[Rule]) -> UsageError:
    """The error for a `word` that is no rule's code, name or prefix."""
    words = [each for rule in rules for each in (rule.code, rule.name)]
    return UsageError(f"unknown rule {word!r}{nearest(word, words)}; `regcheck rule` lists them")


def refuse_unknown(words: Iterable[str], rules: Iterable[Rule]) -> None:
    """Refuse a word that fits no rule, unless it may name a rule of a plugin that is not installed here.

    Raises:
        UsageError: a word that looks like a code or name of regcheck's own, and is none.
    """
    rules = tuple(rules)
    for word in words:
        if not any(ignores(rule.code, (word,), rule.name) for rule in rules):
            error = unknown_rule(word, rules)
            if word.upper().startswith("REG") or "did you mean" in str(error):
                raise error


def ignores(code: str, patterns: Iterable[str], name: str = "") -> bool:
    """Whether one of the `patterns` fits the rule of that code (and name)."""
    return _best(patterns, code, name) is not None


def ignored_in(path: str, options: Options) -> tuple[str, ...]:
    """The patterns that `per-file-ignores` holds for `path`.

    A glob is matched against the whole path and against every tail of it, so `tests/*` means any folder `tests`.
    """
    return tuple(
        pattern for glob, patterns in options.per_file_ignores.items() if _is_under(path, glob) for pattern in patterns
    )


def ignored_within(module: str, options: Options) -> tuple[str, ...]:
    """The patterns that `per-module-ignores` holds for a module's dotted path in its model (`encoder.*`)."""
    return tuple(
        pattern
        for glob, patterns in options.per_module_ignores.items()
        if fnmatchcase(module, glob)
        for pattern in patterns
    )


def asks_for(code: str, name: str, options: Options) -> bool:
    """Whether the options select the rule of that code by a pattern: then its advice is wanted, too."""
    return _best((*options.select, *options.extend_select), code, name) is not None


def _is_on(rule: Rule, options: Options) -> bool:
    wanted = _best((*options.select, *options.extend_select), rule.code, rule.name)
    if wanted is None:
        wanted = -1 if not options.select and rule.severity > Severity.INFO else None
    unwanted = _best(options.ignore, rule.code, rule.name)
    return wanted is not None and (unwanted is None or wanted > unwanted)


def _best(patterns: Iterable[str], code: str, name: str) -> int | None:
    return max((fit for pattern in patterns if (fit := _fit(pattern, code, name)) is not None), default=None)


def _fit(pattern: str, code: str, name: str) -> int | None:
    """How specific the pattern is, in characters of the rule's code; None where it does not fit."""
    if pattern == "ALL":
        return 0
    if pattern == name:
        return len(code)
    return len(pattern) if pattern and code.startswith(pattern) else None


def patterns_of(options: Options) -> Iterable[str]:
    """All patterns of the options."""
    yield from (*options.select, *options.extend_select, *options.ignore)
    for table in (options.per_file_ignores, options.per_module_ignores):
        for patterns in table.values():
            yield from patterns


def _is_under(path: str, glob: str) -> bool:
    parts = PurePath(path).parts
    return any(fnmatchcase("/".join(parts[start:]), glob) for start in range(len(parts)))
