"""Fixes of models: what they write in any layout of the code, and where they write nothing."""

from __future__ import annotations

import ast
import re
from collections.abc import Callable, Mapping
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


def before_and_after(
    bodies: Mapping[str, str], sources: Callable[[Mapping[str, str]], dict[str, str]]
) -> tuple[dict[str, str], dict[str, str]]:
    """The sources around bodies, before (lines that begin with a minus or a blank) and after (a plus or a blank)."""

    def without(sign: str) -> dict[str, str]:
        lines = {
            name: [each for each in body.splitlines() if each[:1] not in ("", sign)] for name, body in bodies.items()
        }
        return sources({name: "".join(f"{each[1:]}\n" for each in some) for name, some in lines.items()})

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
    before, after = before_and_after(RESULTS, forwards)
    assert fixes(tmp_path / "lf", before, "REG405") == after
    windows = {name: text.replace("\n", "\r\n") for name, text in before.items()}
    assert fixes(tmp_path / "crlf", windows, "REG405") == {
        name: text.replace("\n", "\r\n") for name, text in after.items()
    }


def test_a_result_is_not_read_where_more_than_one_reading_is_possible(tmp_path: Path) -> None:
    """REG405 has no fix where it is open which code should read the result, or whether it may."""
    sources = forwards(LOST_FOR_MORE_THAN_ONE_REASON)
    assert fixes(tmp_path / "nets", sources, "REG405", unsafe=True) == sources


RECURRENT = """\
from torch import nn


class Net{number}(nn.Module):
    def __init__(self, config, rate=0.2, layers=1):
        super().__init__()
        self.drop = nn.Dropout(rate)
        self.layers = layers
{body}
        self.last = nn.Linear(16, 3)

    def forward(self, x):
        hidden, _ = self.encode(x)
        return self.last(self.drop(hidden))
"""


def recurrent(bodies: Mapping[str, str]) -> dict[str, str]:
    return {
        name: RECURRENT.replace("{number}", str(number)).replace("{body}\n", body)
        for number, (name, body) in enumerate(bodies.items())
    }


DEEPER = {
    "by position": """
-        self.encode = nn.LSTM(8, 16, layers, True, True, rate)
+        self.encode = nn.LSTM(8, 16, layers, True, True, rate if layers > 1 else 0.0)
""",
    "an attribute, over lines": """
         self.encode = nn.GRU(
             8, 16,  # sizes
             num_layers=self.layers,
-            dropout=rate,  # between layers
+            dropout=rate if self.layers > 1 else 0.0,  # between layers
         )
""",
    "a choice in brackets": """
-        self.encode = nn.RNN(8, 16, num_layers=layers, dropout=(0.5 if rate else 0.1))
+        self.encode = nn.RNN(8, 16, num_layers=layers, dropout=((0.5 if rate else 0.1) if layers > 1 else 0.0))
""",
}

SINGLE = {
    "the last argument": """
-        self.encode = nn.LSTM(8, 16, batch_first=True, dropout=0.5)  # one layer
+        self.encode = nn.LSTM(8, 16, batch_first=True)  # one layer
""",
    "an argument between others": """
-        self.encode = nn.LSTM(8, 16, dropout = rate , batch_first=True)
+        self.encode = nn.LSTM(8, 16 , batch_first=True)
""",
    "the first argument": """
-        self.encode = nn.LSTM(dropout=0.5, input_size=8, hidden_size=16)
+        self.encode = nn.LSTM(input_size=8, hidden_size=16)
""",
    "a line of its own": """
         self.encode = nn.LSTM(
             8,
             16,  # é, wide
-            dropout=0.5,
             batch_first=True,  # for the loader
         )
""",
    "the last line of its own, without a comma": """
         self.encode = nn.LSTM(
             8,
             16,  # wide
-            dropout=(
-                0.5
-            )
         )
""",
    "a continued line": """
-        self.encode = nn.LSTM(8, 16, \\
-                              dropout=0.5)
+        self.encode = nn.LSTM(8, 16)
""",
    "a trailing comma on its line": """
-        self.encode = nn.LSTM(8, 16, dropout=0.5,)
+        self.encode = nn.LSTM(8, 16,)
""",
}

KEPT_RATES = {
    "a comment about it": """\
        self.encode = nn.LSTM(
            8,
            16,
            dropout=0.5,  # from the paper
        )
""",
    "a line about it": """\
        self.encode = nn.LSTM(
            8,
            16,
            # from the paper
            dropout=0.5,
        )
""",
    "a comment before it": """\
        self.encode = nn.LSTM(8, 16,  # sizes
                              dropout=0.5, batch_first=True)
""",
    "a layer that is built in two places": """\
        self.encode = nn.LSTM(8, 16, dropout=0.5)
        if config.small:
            self.encode = nn.LSTM(8, 16, dropout=0.5, bidirectional=True)
""",
    "arguments by name": """\
        self.encode = nn.LSTM(8, 16, dropout=0.5, **{})
""",
    "a rate by position": """\
        self.encode = nn.LSTM(8, 16, 1, True, True, 0.5)
""",
}


def test_a_rate_acts_from_two_layers_on(tmp_path: Path) -> None:
    """The safe fix of REG402 keeps the rate for deeper networks, wherever the rate and the number of layers stand."""
    before, after = before_and_after(DEEPER, recurrent)
    assert fixes(tmp_path / "nets", before, "REG402") == after


def test_a_rate_without_effect_is_removed(tmp_path: Path) -> None:
    """The unsafe fix of REG402 removes the argument with its comma or its line, and leaves comments alone."""
    before, after = before_and_after(SINGLE, recurrent)
    assert fixes(tmp_path / "safe", before, "REG402") == before
    assert fixes(tmp_path / "unsafe", before, "REG402", unsafe=True) == after


def test_a_rate_stays_beside_what_the_fix_does_not_understand(tmp_path: Path) -> None:
    """REG402 has no fix beside comments, unpacked arguments and layers that are built twice."""
    sources = recurrent(KEPT_RATES)
    assert fixes(tmp_path / "nets", sources, "REG402", unsafe=True) == sources


MAPS = """\
import torch
import torch.nn.functional as F
from torch import nn
from torch.nn import Conv1d, Conv2d, Conv3d
{body}
        return self.last(torch.relu(self.second(x)).mean(-1))
"""

INIT = """\
 class Net(nn.Module):
     def __init__(self, rate=0.2):
         super().__init__()
         self.first, self.second = Conv{rank}d(3, 8, 3), Conv{rank}d(8, 8, 3)
         self.last = nn.Linear(8, 2)
"""


def maps(bodies: Mapping[str, str]) -> dict[str, str]:
    return {name: MAPS.replace("{body}\n", body) for name, body in bodies.items()}


def over_maps(rank: int, before: str, built: str, run: str) -> str:
    """A network whose layer is built and run by these lines, below these imports."""
    init = INIT.replace("{rank}", str(rank))
    return f"{before}{init}{built} \n     def forward(self, x):\n         x = torch.relu(self.first(x))\n{run}"


CHANNELS = {
    "signals": over_maps(
        1,
        "",
        "-        self.drop = nn.Dropout(rate)  # on steps\n+        self.drop = nn.Dropout1d(rate)  # on steps\n",
        "         x = self.drop(x)\n",
    ),
    "volumes, imported by name": over_maps(
        3,
        "-from torch.nn import Dropout\n+from torch.nn import Dropout3d\n",
        "-        self.drop = Dropout(\n+        self.drop = Dropout3d(\n             rate, inplace=True\n         )\n",
        "         x = self.drop(x)\n",
    ),
    "an imported name that others use": over_maps(
        2,
        "-from torch.nn import Dropout as D, ReLU\n+from torch.nn import Dropout as D, Dropout2d, ReLU\n",
        "-        self.drop = D(rate); self.more = D(0.1)\n+        self.drop = Dropout2d(rate); self.more = D(0.1)\n",
        "         x = self.drop(x)\n",
    ),
    "a function": over_maps(
        2,
        "",
        "",
        "-        x = F.dropout(x, 0.2, self.training)\n+        x = F.dropout2d(x, 0.2, self.training)\n",
    ),
    "an item of a sequence": over_maps(
        2,
        "",
        "         self.block = nn.Sequential(\n-            nn.Dropout(rate),\n+            nn.Dropout2d(rate),\n"
        "             nn.ReLU(),\n         )\n",
        "         x = self.block(x)\n",
    ),
}

SHARED = {
    "a layer that two lines run": over_maps(
        2,
        "",
        "         self.drop = nn.Dropout(rate)\n",
        "         x = self.drop(x)\n         self.drop(self.last.weight)\n",
    ),
    "a layer of a base class": over_maps(
        2,
        " class Base(nn.Module):\n     def __init__(self):\n         super().__init__()\n"
        "         self.drop = nn.Dropout(0.2)\n \n",
        "",
        "         x = self.drop(x)\n",
    ).replace("Net(nn.Module)", "Net(Base)"),
}


def test_dropout_drops_channels_by_the_rank_of_the_map(tmp_path: Path) -> None:
    """The unsafe fix of REG102 names the layer or function of the map's rank, however it is imported."""
    before, after = before_and_after(CHANNELS, maps)
    assert fixes(tmp_path / "safe", before, "REG102") == before
    assert fixes(tmp_path / "unsafe", before, "REG102", unsafe=True) == after


def test_a_layer_of_several_places_stays(tmp_path: Path) -> None:
    """REG102 has no fix for a layer that other code runs or builds."""
    sources, _ = before_and_after(SHARED, maps)
    assert fixes(tmp_path / "nets", sources, "REG102", unsafe=True) == sources


MASKED = """\
import torch
from torch import nn


class Net{number}(nn.Module):
    def __init__(self, rate=0.25):
        super().__init__()
        self.rate, self.kept = rate, 0.8
        self.inner, self.outer = nn.Linear(8, 16), nn.Linear(16, 3)

    def forward(self, x):
        h = torch.relu(self.inner(x))
        if self.training:
{body}
        return self.outer(h)
"""


def masked(bodies: Mapping[str, str]) -> dict[str, str]:
    return {
        name: MASKED.replace("{number}", str(number)).replace("{body}\n", body)
        for number, (name, body) in enumerate(bodies.items())
    }


SCALED = {
    "a mask with a name": """
             mask = torch.rand_like(h) > self.rate
-            h = h * mask  # 1 - p
+            h = h * mask / (1 - self.rate)  # 1 - p
""",
    "the survivors": """
-            h = (torch.rand(h.shape) < self.kept).float() * h
+            h = (torch.rand(h.shape) < self.kept).float() * h / self.kept
""",
    "a number on the left": """
-            h = h * (self.rate <= torch.rand_like(h))
+            h = h * (self.rate <= torch.rand_like(h)) / (1 - self.rate)
""",
    "in place": """
-            h *= torch.rand_like(h) > 0.5
+            h *= (torch.rand_like(h) > 0.5) / (1 - 0.5)
""",
    "over lines": """
             h = (
                 h
-                * torch.bernoulli(torch.full_like(h, 1 - self.rate))  # é
+                * torch.bernoulli(torch.full_like(h, 1 - self.rate)) / (1 - self.rate)  # é
             )
""",
    "a continued line": """
             keep = 1 - self.rate
             h = \\
-                torch.mul(h, torch.bernoulli(torch.full(h.shape, keep)))
+                torch.mul(h, torch.bernoulli(torch.full(h.shape, keep))) / keep
""",
    "a filled tensor": """
-            mask = torch.empty_like(h).bernoulli_(0.7); h = h.mul(mask)
+            mask = torch.empty_like(h).bernoulli_(0.7); h = h.mul(mask) / 0.7
""",
    "masked values are filled": """
             lost = torch.rand_like(h) < self.rate
-            h = h.masked_fill(lost, 0.0)
+            h = h.masked_fill(lost, 0.0) / (1 - self.rate)
""",
    "an inverted mask": """
             lost = torch.rand_like(h) < 1 - self.kept
-            h = h * ~lost
+            h = h * ~lost / self.kept
""",
    "a choice": """
-            h = torch.where(torch.rand_like(h) >= self.rate, h, 0.0)
+            h = torch.where(torch.rand_like(h) >= self.rate, h, 0.0) / (1 - self.rate)
""",
    "a rounded sum": """
             mask = self.kept + torch.rand_like(h)
-            h = h * mask.floor()
+            h = h * mask.floor() / self.kept
""",
}

UNSCALED = {
    "a mask that two expressions use": """\
            mask = torch.rand_like(h) > self.rate
            h = torch.tanh(h * mask)
            h = h * mask
""",
    "a rate that is computed": """\
            h = h * (torch.rand_like(h) > min(self.rate, 0.3))
""",
    "a product that another number divides": """\
            h = h * (torch.rand_like(h) > self.rate) / 0.5
""",
    "values that are assigned": """\
            h = h.clone()
            h[torch.rand_like(h) < self.rate] = 0
""",
    "a rate that is bound twice": """\
            rate = 0.5
            mask = torch.rand_like(h) > rate
            rate = 0.1
            h = h * mask
""",
}


def test_masked_values_are_divided_by_the_keep_probability(tmp_path: Path) -> None:
    """The unsafe fix of REG403 divides by the probability that the code's own comparison or draw holds."""
    before, after = before_and_after(SCALED, masked)
    assert fixes(tmp_path / "safe", before, "REG403") == before
    assert fixes(tmp_path / "unsafe", before, "REG403", unsafe=True) == after


def test_masks_of_other_forms_stay(tmp_path: Path) -> None:
    """REG403 has no fix where the code does not show where, and by which number, to divide."""
    sources = masked(UNSCALED)
    assert fixes(tmp_path / "nets", sources, "REG403", unsafe=True) == sources


SCORES = """\
import torch
import torch.nn.functional as F
from torch import nn


class Net{number}(nn.Module):
    def __init__(self, rate=0.25, num_classes=5):
        super().__init__()
        self.inner = nn.Linear(8, 16)
        self.dropout = nn.Dropout(rate)
        self.classifier = nn.Linear(16, num_classes)
{body}

net = Net{number}()
loss = F.cross_entropy(net(torch.rand(4, 8)), torch.zeros(4, dtype=torch.long))
loss.backward()
"""


def scores(bodies: Mapping[str, str]) -> dict[str, str]:
    return {
        name: SCORES.replace("{number}", str(number)).replace("{body}\n", body)
        for number, (name, body) in enumerate(bodies.items())
    }


BEFORE_THE_HEAD = {
    "one expression": """
     def forward(self, x):
         x = self.inner(x).relu()
-        return self.dropout(self.classifier(x))  # é
+        return self.classifier(self.dropout(x))  # é
""",
    "a function around it": """
     def forward(self, x):
-        return F.log_softmax(self.dropout(self.classifier(torch.relu(self.inner(x)))), dim=1)
+        return F.log_softmax(self.classifier(self.dropout(torch.relu(self.inner(x)))), dim=1)
""",
    "two statements of one name": """
     def forward(self, x):
         x = self.inner(x).relu()
-        x = self.classifier(x)  # scores
-        x = F.dropout(x, 0.3, self.training)  # drop
+        x = F.dropout(x, 0.3, self.training)  # scores
+        x = self.classifier(x)  # drop
         return x
""",
    "a statement that returns": """
     def forward(self, x):
         x = self.inner(x).relu()
-        logits = self.classifier(x); return self.dropout(logits)
+        logits = self.dropout(x); return self.classifier(logits)
""",
    "a sequence": """
         self.net = nn.Sequential(
             nn.Linear(8, 16), nn.ReLU(),
-            nn.Linear(16, num_classes),
-            nn.Dropout(
-                rate,
-            ),
+            nn.Dropout(
+                rate,
+            ),
+            nn.Linear(16, num_classes),
         )
 \n     def forward(self, x):
         return self.net(x)
""".replace("\\n", "\n"),
}

AFTER_THE_HEAD = {
    "a dropout that two lines run": """
    def forward(self, x):
        x = self.dropout(self.inner(x).relu())
        return self.dropout(self.classifier(x))
""",
    "scores that other code reads": """
    def forward(self, x):
        x = self.inner(x).relu()
        logits = self.classifier(x)
        dropped = self.dropout(logits)
        print(logits.shape)
        return dropped
""",
    "the model's input": """
        self.logits = nn.Linear(8, num_classes)

    def forward(self, x):
        return self.dropout(self.logits(x))
""",
    "a sequence with comments": """
        self.net = nn.Sequential(
            nn.Linear(8, 16),
            nn.Linear(16, num_classes),  # scores
            nn.Dropout(rate),
        )

    def forward(self, x):
        return self.net(x)
""",
}


def test_the_dropout_goes_before_the_head(tmp_path: Path) -> None:
    """The unsafe fix of REG101 exchanges the head and the dropout, and leaves the text around them."""
    before, after = before_and_after(BEFORE_THE_HEAD, scores)
    assert fixes(tmp_path / "safe", before, "REG101") == before
    assert fixes(tmp_path / "unsafe", before, "REG101", unsafe=True) == after


def test_the_dropout_stays_where_the_code_is_not_plain(tmp_path: Path) -> None:
    """REG101 has no fix that would hide inputs, drop what other code reads, or part a comment from its line."""
    sources = scores(AFTER_THE_HEAD)
    assert fixes(tmp_path / "nets", sources, "REG101", unsafe=True) == sources


SEQUENCE = "from torch import nn\n\n\ndef build(blocks=()):\n    return nn.Sequential({})\n"
MOVED = {
    "drop, linear, norm, linear": "linear, norm, drop, linear",
    "linear, relu, drop, linear, norm, relu": "linear, relu, linear, norm, relu, drop",
    "drop, linear, norm, linear, norm, relu, linear": "linear, norm, linear, norm, relu, drop, linear",
    "drop, linear, *blocks, norm, tanh, linear": "linear, *blocks, norm, tanh, drop, linear",
}
STAYING = [
    "drop, linear, norm",
    "drop,  # on purpose\n        linear, norm, linear",
]
LAYERS = {
    "drop": "nn.Dropout(0.5)",
    "linear": "nn.Linear(\n        8, 8\n    )",
    "norm": "nn.BatchNorm1d(8)",
    "relu": "nn.ReLU()",
    "tanh": "nn.Tanh()",
}


def test_a_dropout_moves_behind_the_norms_of_its_sequence(tmp_path: Path) -> None:
    """It stands behind the last norm and its activation; comments and a norm at the end leave it in its place."""

    def source(items: str) -> str:
        return SEQUENCE.format(re.sub(r"\b(?:drop|linear|norm|relu|tanh)\b", lambda word: LAYERS[word[0]], items))

    every = [*MOVED, *STAYING]
    after = fixes(tmp_path / "moved", {each: source(each) for each in every}, "REG103", unsafe=True)
    assert after == {each: source(MOVED.get(each, each)) for each in every}
