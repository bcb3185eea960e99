"""Which files a scan parses: those whose bytes hold a word that one of the chosen rules can start from.

A rule about models can find something only where a class or a container of layers stands beside a call that the rule
starts from; a rule about programs only where its events are written. Files that import such a file may build, change or
use what is in it, and are parsed too; so is a file that was asked for by name.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from functools import cached_property

from regcheck.core.graph import Kind
from regcheck.core.starting_points import Start, StartingPoints, Trait, is_of_ops
from regcheck.core.usage import (
    Backward,
    Called,
    ConstraintNotKept,
    MethodNotCalled,
    ModeNotRestored,
    ModeSet,
    Penalized,
    PenaltyWithoutGradient,
    StepComposed,
    Stepped,
)
from regcheck.torch_api.functions import DROPPING, KINDS, STACKED, kind_of
from regcheck.torch_api.layers import LAYERS

from .discovery import MARK
from .files import Source

MODEL = (b"def forward", b"Sequential(", b"Sequential)")
MODEL_CLASS = re.compile(rb"class \w+\([^)]{0,2000}Module")
"""What a file says that holds a model: a class, or a container that is built or derived from."""

SPELLED = frozenset(
    {
        Kind.LINEAR,
        Kind.CONV,
        Kind.EMBEDDING,
        Kind.RECURRENT,
        Kind.ATTENTION,
        Kind.BATCH_NORM,
        Kind.NORM,
        Kind.DROPOUT,
        Kind.RANDOM,
        Kind.SIGMOID,
        Kind.SOFTMAX,
    }
)
"""The kinds of op that are always written as a call by name; others have an operator, or no call at all."""

EXPORTS = (b"jit.trace(", b"export.export(", b"onnx.export(")
"""The calls with which a program exports a model."""

WORDS: Mapping[Start, tuple[bytes, ...]] = {
    Trait.BATCH_STATISTICS: (b"atch_norm", b"atchNorm", b"running_stats", b"std(", b"var(", b"std_mean", b"var_mean"),
    Trait.REUSES_MASK: (b"ernoulli", b"binomial", b"rand", b"uniform", b"ropout"),
    Trait.UNCALLED: (b"ropout",),
    Trait.NO_GRADIENTS: (b"no_grad", b"inference_mode", b"set_grad_enabled", b"enable_grad"),
    Trait.WEIGHTS_LOADED: (b"load_state_dict",),
    Trait.EXPORTED: EXPORTS,
    Trait.DECAYS: (b"weight_decay",),
    ModeSet: (b".eval", b".train("),
    ModeNotRestored: (b".eval", b".train("),
    Backward: (b".backward(",),
    StepComposed: (b".backward(",),
    Penalized: (b".backward(",),
    PenaltyWithoutGradient: (b".backward(", b"def training_step"),
    ConstraintNotKept: (b"clamp", b"clip(", b"clip_(", b"renorm"),
    Stepped: (b"optim",),
}
"""What a file says that holds such a start, where the table of torch does not tell it."""

FUNCTIONAL = re.compile(
    rb"\b(?:functional|F|torch|nn|aten)\.(?:\w*dropout\w*|scaled_dot_product_attention)\("
    rb"|functional import [^\n]*dropout"
)
"""A call of a dropout that is no layer: models of other files may call the function that it stands in."""

NOT_CALLED = re.compile(rb"\.(?:eval|train)\b(?!\s*\()")
"""A method that sets the mode, named without a call."""


class Prefilter:
    """Tells files, and functions, in which a rule can start from their text alone.

    Attributes:
        holds_start: whether the text of a file itself holds such a word, memoized by file.
    """

    def __init__(self, starts: StartingPoints) -> None:
        self._starts = starts
        self.holds_start: dict[Source, bool] = {}

    @cached_property
    def _op_words(self) -> tuple[bytes, ...] | None:
        """The words of the ops that a rule starts from; None where an op of any model may be one."""
        if self._starts.starts is None or any(isinstance(each, Kind) for each in self._starts.starts - SPELLED):
            return None
        words = {word for start in self._starts.starts if is_of_ops(start) for word in _words_of(start)}
        return tuple(sorted(word for word in words if not any(each in word for each in words - {word})))

    @cached_property
    def _program_words(self) -> tuple[bytes, ...]:
        starts = WORDS.keys() if self._starts.starts is None else self._starts.starts
        return tuple(sorted({word for start in starts if not is_of_ops(start) for word in WORDS.get(start, ())}))

    @property
    def any_call(self) -> bool:
        """Whether a rule starts from model calls of any kind, which no word gives away."""
        return Called in self._starts

    def candidates(self, sources: Sequence[Source]) -> Iterator[Source]:
        """The files to parse, in the order given."""
        if self._starts.starts is None:
            return iter(sources)
        for each in sources:
            if each not in self.holds_start:
                self.holds_start[each] = self._matters(each)
        chosen = {source for source in sources if self.holds_start[source]}
        rest = [source for source in sources if source not in chosen and not source.is_torch]
        latest: Iterable[Source] = chosen
        while rest:
            tails = {source.tail for source in latest if not source.is_torch}
            latest = [source for source in rest if not tails.isdisjoint(source.imported_words)]
            if not latest:
                break
            chosen.update(latest)
            rest = [source for source in rest if source not in chosen]
        return (source for source in sources if source in chosen)

    def names_an_op(self, text: bytes) -> bool:
        """Whether a text names a call that a rule about models starts from."""
        return self._op_words is None or _says(text, self._op_words)

    def names_a_method(self, text: bytes) -> bool:
        """Whether a text names `eval` or `train` without calling it, and a rule starts from that."""
        return MethodNotCalled in self._starts and NOT_CALLED.search(text) is not None

    def _matters(self, source: Source) -> bool:
        content = source.content
        if MARK not in content:
            return False
        if source.named or (Trait.DECAYS in self._starts and _says(content, WORDS[Trait.DECAYS])):
            return True
        used = _says(content, self._program_words) or self.names_a_method(content)
        if used and not source.is_torch:
            return True
        if not source.is_torch and Trait.DROPS in self._starts and FUNCTIONAL.search(content) is not None:
            return True
        model = _says(content, MODEL) or (b"Module" in content and MODEL_CLASS.search(content) is not None)
        return model and (used or self.any_call or self.names_an_op(content))


def _words_of(start: Start) -> Iterator[bytes]:
    """The names of the functions and layers of torch that are such an op."""
    if start in WORDS:
        yield from WORDS[start]
        return
    functions = {*DROPPING, *STACKED} if start is Trait.DROPS else {name for name in KINDS if kind_of(name) is start}
    if start is Kind.DROPOUT:
        functions |= {name for name in DROPPING if kind_of(name) is Kind.DROPOUT}
    drops = start is Trait.DROPS
    layers = {name for name, row in LAYERS.items() if row.function in functions or (drops and row.rate is not None)}
    yield from (name.rpartition("::")[2].encode() for name in functions | layers)


def _says(content: bytes, words: Iterable[bytes]) -> bool:
    return any(word in content for word in words)
