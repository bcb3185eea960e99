"""A labelled benchmark of dropout, regularization and train/eval mistakes, for regcheck and for every other tool.

    python -m benchmarks.field [--tool NAME]… [--kind NAME]…     run tools and write results.jsonl and docs/field.md
    python -m benchmarks.field --check                           fail where regcheck does worse than results.jsonl says

`datasheet.md` says how the cases were chosen and labelled.
"""

VERSION = "1.0"
"""Changes with every case or label that changes; results of different versions do not compare."""
