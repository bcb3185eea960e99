"""Errors that a user can act on. Each has a slug, which is also the name of its page under `docs/errors/`."""

from __future__ import annotations

from collections.abc import Iterable

from regcheck.files.place import Place

MOST = 200
"""The most characters that a message repeats of a foreign exception."""

DOCS = "https://regcheck.readthedocs.io/"


class RegcheckError(Exception):
    """The base of every error that regcheck raises on purpose."""

    slug = "error"

    @property
    def page(self) -> str:
        """Address of the page that explains this error."""
        return f"{DOCS}errors/{self.slug}/"


class UsageError(RegcheckError):
    """An option, a rule code, a configuration key or a target that cannot be understood (exit code 2)."""

    slug = "usage"


class CannotBuild(RegcheckError):
    """A target's model could not be imported or constructed: why, what to do, and the user's line that stopped it."""

    slug = "cannot-build"

    def __init__(self, reason: str, what_to_do: str = "", path: str | None = None, line: int | None = None) -> None:
        super().__init__(reason)
        self.what_to_do = what_to_do
        self.path = path
        self.line = line


class CannotTrace(RegcheckError):
    """A model could not be turned into a graph; `place` is the user's line that stopped it, where one did."""

    slug = "cannot-trace"

    def __init__(self, reason: str, place: Place | None = None) -> None:
        super().__init__(reason)
        self.place = place


class CannotMeasure(RegcheckError):
    """A measurement could not be made; the finding stands unproven."""

    slug = "cannot-measure"


class BrokenRule(RegcheckError):
    """A rule file that cannot be imported or lacks a required part: the run stops and names it."""

    slug = "broken-rule"


class Failed(RegcheckError, AssertionError):
    """Raised by `Report.raise_if_failed`: the report's exit code is not 0."""

    slug = "failed"


def nearest(word: str, candidates: Iterable[str]) -> str:
    """` (did you mean 'x'?)` for the closest of `candidates`, or an empty string."""
    from difflib import get_close_matches

    close = get_close_matches(word.lower(), {each.lower(): each for each in candidates}, n=1, cutoff=0.65)
    names = {each.lower(): each for each in candidates}
    return f" (did you mean {names[close[0]]!r}?)" if close else ""


def unknown(what: str, word: str, candidates: Iterable[str]) -> UsageError:
    """The error for a `word` that is not among the `candidates`, the names of a kind of thing."""
    candidates = list(candidates)
    return UsageError(f"unknown {what} {word!r}{nearest(word, candidates)}; known: {', '.join(candidates)}")


def format_error(error: BaseException) -> str:
    """An exception in one line: its type and the first line of its message, truncated."""
    said = message_of(error)
    said = said.strip().partition("\n")[0]
    return f"{type(error).__name__}: {said[:MOST]}{'…' if len(said) > MOST else ''}"


def message_of(error: BaseException) -> str:
    """The message of an exception, or a placeholder where its `__str__` raises."""
    try:
        return str(error)
    except BaseException as another:
        if stops(another):
            raise
        return "(it cannot be shown)"


class ProgramInterrupted(KeyboardInterrupt):
    """Ctrl-C ended a program that `regcheck run` watched, which shows its traceback and the report."""


def stops(error: BaseException) -> bool:
    """Whether an exception ends the program or the running test, so that no handler may swallow it.

    Ctrl-C, and what pytest raises for a test that fails, is skipped or takes too long.
    """
    return isinstance(error, KeyboardInterrupt) or type(error).__module__ == "_pytest.outcomes"
