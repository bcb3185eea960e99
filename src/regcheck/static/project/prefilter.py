"""Which files can matter, told from their bytes, so that the others need not be parsed.

A rule about models can only find something where a class or a container of layers stands beside something that drops,
draws, or takes statistics of the batch; a rule about programs only where gradients or modes are switched, or
weights decay. Files that import such a file may build, change or use what is in it, and matter too; so does a file
that was asked for by name.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Sequence

from .files import Source

RANDOM = tuple(
    b"drop Drop rand bernoulli normal multinomial uniform exponential poisson gumbel geometric cauchy binomial sample"
    b" ractional atch_norm atchNorm running_stats scaled_dot_product LSTM GRU RNN RReLU rrelu Transformer"
    b" LazyInstanceNorm".split()
)
"""What a file says that holds an op whose result depends on the mode, on chance or on the batch."""

BATCHWISE = re.compile(rb"\.(?:mean|var|std)\((?:dim ?= ?|axis ?= ?)?[(\[]?0\b")
"""Statistics over the batch, taken by hand."""

MODEL = (b"def forward", b"Sequential(")
MODEL_CLASS = re.compile(rb"class \w+\([^)]{0,2000}Module")
"""What a file says that holds a model: a class, or a container that is built."""

PROGRAM = tuple(b"no_grad inference_mode set_grad_enabled enable_grad .backward( .eval .train(".split())
DECAY = b"weight_decay"
"""What a file says that holds a program in which something can go wrong. Such a program builds models or is given some;
torch's own files, which are known by name and never looked up, are given none by other files."""


def candidates(sources: Sequence[Source]) -> Iterator[Source]:
    """The files that can matter, in the order given."""
    chosen = {source for source in sources if _matters(source)}
    rest = [source for source in sources if source not in chosen and not source.is_torch]
    found: Iterable[Source] = chosen
    while rest:
        tails = {source.tail_bytes for source in found if not source.is_torch}
        found = [source for source in rest if not tails.isdisjoint(source.imported_words)]
        if not found:
            break
        chosen.update(found)
        rest = [source for source in rest if source not in chosen]
    return (source for source in sources if source in chosen)


def is_random(content: bytes) -> bool:
    """Whether something in the text may depend on the mode, on chance or on the batch."""
    return _says(content, RANDOM) or BATCHWISE.search(content) is not None


def _matters(source: Source) -> bool:
    content = source.content
    if source.named or DECAY in content:
        return True
    used = _says(content, PROGRAM)
    if used and not source.is_torch:
        return True
    held = _says(content, MODEL) or (b"Module" in content and MODEL_CLASS.search(content) is not None)
    return held and (used or is_random(content))


def _says(content: bytes, words: Iterable[bytes]) -> bool:
    return any(word in content for word in words)
