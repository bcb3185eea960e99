"""Fixes of models: what they write in any layout of the code, and where they write nothing."""

from __future__ import annotations

import ast
from collections.abc import Mapping
from pathlib import Path

from regcheck.config.options import Options
from regcheck.engine.fix import fix_paths

HEAD = """\
import torch
import torch.nn.functional as F
from torch import nn


class Net{number}(nn.Module):
    def __init__(self, rate=0.3):
        super().__init__()
        self.rate = rate
        self.drop = nn.Dropout(rate)
        self.inner = nn.Linear(8, 16)
        self.outer = nn.Linear(16, 3)
        self.deep = rate

    def forward(self, x):
"""


def fixes(folder: Path, sources: Mapping[str, str], code: str, *, unsafe: bool = False) -> dict[str, str]:
    """The sources after the fixes of one rule, by name; each source is a file of the folder, and each has a finding."""
    folder.mkdir()
    paths = {name: folder / f"net_{number}.py" for number, name in enumerate(sources)}
    for name, path in paths.items():
        path.write_bytes(sources[name].encode())
    result = fix_paths([folder], Options(select=(code,)), unsafe=unsafe)
    assert result.refused == {}
    after = {name: result.after.get(str(path), path.read_bytes()).decode() for name, path in paths.items()}
    for name in sources:
        ast.parse(after[name])
    left = {each.path for each in result.report.findings}
    assert {name for name, path in paths.items() if str(path) in left} == {n for n in sources if after[n] == sources[n]}
    return after


def before_and_after(bodies: Mapping[str, str]) -> tuple[dict[str, str], dict[str, str]]:
    """Forwards, of which lines that begin with a minus are only in the first, and with a plus only in the second."""

    def without(sign: str) -> dict[str, str]:
        lines = {
            name: [each for each in body.splitlines() if each[:1] not in ("", sign)] for name, body in bodies.items()
        }
        return forwards({name: "".join(f"{each[1:]}\n" for each in some) for name, some in lines.items()})

    return without("+"), without("-")


def forwards(bodies: Mapping[str, str]) -> dict[str, str]:
    return {name: HEAD.replace("{number}", str(number)) + body for number, (name, body) in enumerate(bodies.items())}


RESULTS = {
    "a function": """
         h = torch.relu(self.inner(x))
-        F.dropout(h, self.rate, self.training)  # keep ~ this
+        h = F.dropout(h, self.rate, self.training)  # keep ~ this
         return self.outer(h)
""",
    "a layer between other statements of a line": """
-        h = self.inner(x); é = 'é'; self.drop(h); h = h.relu()
+        h = self.inner(x); é = 'é'; h = self.drop(h); h = h.relu()
         return self.outer(h)
""",
    "a call in parentheses, over lines": """
         h = self.inner(x)
-        (  # in a bracket
+        h = (  # in a bracket
             self.drop(
                 h
             )
         )
         return self.outer(h)
""",
    "a continued line": """
         h = self.inner(x)
-        F.dropout \\
+        h = F.dropout \\
             (h, training=self.training)
         return self.outer(h)
""",
    "a call under the mode": """
         h = self.inner(x)
-        if self.training: F.dropout(h, 0.2)
+        if self.training: h = F.dropout(h, 0.2)
         return self.outer(h)
""",
    "a result with a name": """
         h = torch.relu(self.inner(x))
         dropped = self.drop(h)  # h
-        return self.outer(h)  # h
+        return self.outer(dropped)  # h
""",
    "a result whose name is assigned again": """
         h = torch.relu(self.inner(x))
         y = self.drop(h)
         y = self.outer(
-            h
+            y
         )
         return y
""",
}

LOST_FOR_MORE_THAN_ONE_REASON = {
    "two later reads": """\
        h = torch.relu(self.inner(x))
        dropped = self.drop(h)
        return self.outer(h) + h.sum()
""",
    "a read in a branch": """\
        h = torch.relu(self.inner(x))
        dropped = self.drop(h)
        if self.deep:
            h = h * 2
        return self.outer(h)
""",
    "a read in a comprehension": """\
        h = torch.relu(self.inner(x))
        dropped = self.drop(h)
        return [self.outer(h) for _ in range(2)]
""",
    "the input is no name": """\
        h = torch.relu(self.inner(x))
        self.drop(h + 0)
        return self.outer(h)
""",
    "a function that never follows the mode": """\
        h = torch.relu(self.inner(x))
        F.dropout(h)
        return self.outer(h)
""",
    "a name that says that it is lost": """\
        h = torch.relu(self.inner(x))
        _ = self.drop(h)
        return self.outer(h)
""",
    "a name that an inner function reads": """\
        h = torch.relu(self.inner(x))
        self.drop(h)
        def last():
            return self.outer(h)
        return last()
""",
    "a name of an outer function": """\
        h = torch.relu(self.inner(x))
        def last():
            self.drop(h)
            return self.outer(h)
        return last()
""",
}


def test_the_result_of_a_dropout_is_read(tmp_path: Path) -> None:
    """A safe fix of REG405 changes the one statement that loses the result, in any layout, and nothing else."""
    before, after = before_and_after(RESULTS)
    assert fixes(tmp_path / "lf", before, "REG405") == after
    windows = {name: text.replace("\n", "\r\n") for name, text in before.items()}
    assert fixes(tmp_path / "crlf", windows, "REG405") == {
        name: text.replace("\n", "\r\n") for name, text in after.items()
    }


def test_a_result_is_not_read_where_more_than_one_reading_is_possible(tmp_path: Path) -> None:
    """REG405 has no fix where it is open which code should read the result, or whether it may."""
    sources = forwards(LOST_FOR_MORE_THAN_ONE_REASON)
    assert fixes(tmp_path / "nets", sources, "REG405", unsafe=True) == sources
