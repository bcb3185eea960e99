"""The names by which source code tells the layer that makes a model's predictions from a hidden one.

`out`, `proj`, `fc` and `head` say nothing: blocks and attention layers use them, too.
"""

from __future__ import annotations

import re

_KINDS = r"(?:class(?:es)?|cls|labels?|categor(?:y|ies)|tags?|tagset|vocab(?:ulary)?|actions?)"
_CLASSES = re.compile(
    rf"_*(?:(?:n|nb|nr|no|num|numof|number|count|out|output)_?(?:of_)?(?:[a-z0-9]+_)*{_KINDS}"
    rf"|(?:[a-z0-9]+_)*{_KINDS}_?(?:num|nums|number|count|size|cnt)"
    r"|classes|labels|categories|vocab|vocabulary"
    r"|(?:class|label|tag|cls)(?:_to_|_?2_?)(?:id|ids|ix|idx|index))"
)
_HEAD = re.compile(
    r"_*(?:(?:[a-z0-9]+_)*(?:classifiers?|logits?|cls|classification|regressor)"
    r"|(?:lm|mlm|cls|class|classification|logits?)_?(?:head|heads|layer|score|scores|pred|out|output|fc|linear)"
    r"|to_logits?)"
)


def counts_classes(name: str) -> bool:
    """Whether a name is that of a number of classes: `num_classes`, `n_labels`, `vocab_size`."""
    return _CLASSES.fullmatch(name.lower()) is not None


def is_head(name: str) -> bool:
    """Whether a name is that of a layer that makes predictions: `classifier`, `logits`, `lm_head`."""
    return _HEAD.fullmatch(name.lower()) is not None
