"""Functional dropout, however the call is written: it follows the mode, or the scan says that it does not."""

from __future__ import annotations

from pathlib import Path

from tests.faulty_and_right import found_and_marked, scanned_lines

HEADER = """\
from functools import partial

import torch
import torch.nn.functional as F
from torch import nn


class Buoy(nn.Module):
    def __init__(self, kind="plain"):
        super().__init__()
        self.kind = kind
        self.rate = 0.2
        self.waves = nn.Linear(9, 27)
        self.height = nn.Linear(27, 1)

"""

PROGRAMS = {
    "the method train for the flag training": """\
    def forward(self, x):
        h = torch.tanh(self.waves(x))
&        h = F.dropout(h, self.rate, training=self.train)  # <-
#        h = F.dropout(h, self.rate, training=self.training)
        return self.height(h)
""",
    "the default of a parameter": """\
    def blur(self, x, fn=F.dropout):
&        return fn(x, self.rate, True)  # <-
#        return fn(x, self.rate, self.training)

    def forward(self, x):
        return self.height(self.blur(torch.tanh(self.waves(x))))
""",
    "a static method, by way of the object's class": """\
    @staticmethod
    def blur(x, on):
        return F.dropout(x, 0.2, on)  # <-

    def forward(self, x):
&        return self.height(self.__class__.blur(self.waves(x).relu(), True))
#        return self.height(self.__class__.blur(self.waves(x).relu(), self.training))
""",
    "a static method, by way of type()": """\
    @staticmethod
    def blur(x, on):
        return F.dropout(x, 0.2, on)  # <-

    def forward(self, x):
&        return self.height(type(self).blur(self.waves(x).relu(), True))
#        return self.height(type(self).blur(self.waves(x).relu(), self.training))
""",
    "a case": """\
    def forward(self, x):
        h = self.waves(x).relu()
        match self.kind:
            case "plain":
&                h = F.dropout(h, self.rate)  # <-
#                h = F.dropout(h, self.rate, self.training)
            case _:
                pass
        return self.height(h)
""",
    "a name that an assertion assigns": """\
    def forward(self, x):
&        assert (h := F.dropout(self.waves(x).relu(), self.rate, True)) is not None  # <-
#        assert (h := F.dropout(self.waves(x).relu(), self.rate, self.training)) is not None
        return self.height(h)
""",
    "an operator of aten": """\
    def forward(self, x):
&        h = torch.ops.aten.dropout(self.waves(x).relu(), self.rate, True)  # <-
#        h = torch.ops.aten.dropout(self.waves(x).relu(), self.rate, self.training)
        return self.height(h)
""",
}


def test_each_spelling_is_reported_and_its_right_form_is_not(tmp_path: Path) -> None:
    """Each faulty program is reported at its marked line, and its right form not at all."""
    found, expected = found_and_marked(tmp_path, "REG202", HEADER, PROGRAMS, {})
    assert found == expected


def test_a_function_of_a_file_without_models(tmp_path: Path) -> None:
    """A dropout is found in a file that defines no model, where models of other files call it."""
    (tmp_path / "residuals.py").write_text(
        "import torch.nn.functional as F\n\n\n"
        "def joined(x, y, rate, training=True):\n"
        "    return y + F.dropout(x, rate, training)\n\n\n"
        "def joined_by_mode(x, y, rate, training):\n"
        "    return y + F.dropout(x, rate, training)\n"
    )
    (tmp_path / "buoy.py").write_text(
        "from residuals import joined, joined_by_mode\nfrom torch import nn\n\n\n"
        "class Buoy(nn.Module):\n"
        "    def __init__(self):\n"
        "        super().__init__()\n"
        "        self.waves, self.height = nn.Linear(9, 9), nn.Linear(9, 1)\n\n"
        "    def forward(self, x):\n"
        "        h = joined_by_mode(self.waves(x), x, 0.1, self.training)\n"
        "        return self.height(joined(h, x, 0.1))\n"
    )
    assert scanned_lines([tmp_path], "REG202") == {"residuals.py": [5]}
