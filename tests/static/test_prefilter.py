"""Which files are parsed at all."""

from __future__ import annotations

from pathlib import Path

import pytest

from regcheck.core.graph import Kind
from regcheck.core.starting_points import Start, StartingPoints, Trait
from regcheck.core.usage import Called, MethodNotCalled, ModeSet
from regcheck.engine.scan import scan
from regcheck.rules import load
from regcheck.static.analyze import analyze
from regcheck.static.project.files import Source
from regcheck.static.project.names import Project
from regcheck.static.project.prefilter import Prefilter

NET = b"from torch import nn\nclass Net(nn.Module):\n    def forward(self, x):\n        return nn.Dropout()(x)\n"


ALL = StartingPoints.of(rule.begins_at for rule in load())


def chosen(tmp_path: Path, starts: StartingPoints = ALL, **files: bytes) -> set[str]:
    sources = []
    for name, content in files.items():
        path = tmp_path / f"{name}.py"
        path.write_bytes(content)
        sources.append(Source(str(path), content))
    return {source.tail for source in Prefilter(starts).candidates(sources)}


@pytest.mark.parametrize(
    ("content", "matters"),
    [
        (NET, True),
        (b"from torch.nn import *\nnet = Sequential(Dropout())\n", True),
        (b"import torch\nclass Net(torch.nn.Module):\n    def forward(self, x): return x - x.mean(0)\n", False),
        (b"import torch\nclass Net(torch.nn.Module):\n    def forward(self, x): return self.norm(x)\n", False),
        (b"import torch\nclass Data(torch.utils.data.Dataset):\n    def get(self): return torch.rand(3)\n", False),
        (b"import torch\nopt = torch.optim.Adam(weights, weight_decay=0.1)\n", True),
        (b"import torch\nwith torch.no_grad():\n    model(x)\n", True),
        (b"def forward(self, x): return torch.nn.functional.scaled_dot_product_attention(x, x, x, None, 0.1)\n", True),
        (b"net = torch.nn.Sequential(torch.nn.LSTM(8, 8, 1, True, True, 0.5))\n", True),
        (b"import torch\nprint(torch.__version__)\n", False),
    ],
)
def test_a_file_matters_for_what_it_says(tmp_path: Path, content: bytes, matters: bool) -> None:
    """A file is parsed where a rule can start: at a dropout, a draw or a batch norm, or at an event of a program."""
    assert chosen(tmp_path, it=content) == ({"it"} if matters else set())


@pytest.mark.parametrize(
    ("starts", "read"),
    [
        ((Trait.DROPS,), {"net", "build"}),
        ((Kind.RANDOM,), set()),
        ((Kind.SOFTMAX,), {"head"}),
        ((Kind.COMBINE,), {"net", "build", "head"}),
        ((Trait.NO_GRADIENTS,), {"use"}),
        ((ModeSet,), {"stop"}),
        ((MethodNotCalled,), {"named"}),
        ((Trait.DECAYS,), {"decay"}),
        ((Called,), {"net", "build", "head"}),
        ((), set()),
    ],
)
def test_which_files_are_read_follows_from_the_chosen_rules(
    tmp_path: Path, starts: tuple[Start, ...], read: set[str]
) -> None:
    """Only files in which one of the chosen rules can start, and what imports them, are parsed."""
    files = {
        "net": NET,
        "build": b"import torch\nfrom net import Net\n",
        "head": b"import torch\nclass Head(torch.nn.Module):\n    def forward(self, x): return (x + 1).softmax(1)\n",
        "use": b"import torch\nwith torch.no_grad(): model(x)\n",
        "stop": b"import torch\nmodel.eval()\n",
        "named": b"import torch\nmodel.train\n",
        "decay": b"import torch\ntorch.optim.Adam(weights, weight_decay=0.1)\n",
        "training": b"import torch\nprint(model.training)\n",
    }
    assert chosen(tmp_path, StartingPoints.of([starts]), **files) == read


def test_a_file_that_is_asked_for_by_name_matters(tmp_path: Path) -> None:
    """That it cannot be parsed is said of a file that is named, and of one in a folder only where it might matter."""
    path = tmp_path / "it.py"
    path.write_text("import torch\ndef (:\n")
    assert [each.line for each in scan([path]).not_checked] == [2]
    assert scan([tmp_path]).not_checked == ()


def test_files_that_import_a_file_that_matters_do_too(tmp_path: Path) -> None:
    """Importers matter, at any distance; a stranger does not."""
    found = chosen(
        tmp_path,
        net=NET,
        build=b"import torch\nfrom net import Net\ndef build(): return Net()\n",
        main=b"import torch, build\nbuild.build()\n",
        other=b"import torch\nfrom helpers import seed\n",
    )
    assert found == {"net", "build", "main"}


def test_what_does_not_matter_is_parsed_only_where_a_name_is_asked_for(tmp_path: Path) -> None:
    """A constant in a file that does not matter is looked up all the same, and no other file is parsed."""
    (tmp_path / "rates.py").write_text("# for torch\nRATE = 0.0\n")
    (tmp_path / "other.py").write_text("import torch\ndef (\n")
    (tmp_path / "net.py").write_text(
        "import torch\nfrom torch import nn\nimport torch.nn.functional as F\nfrom rates import RATE\n"
        "class Net(nn.Module):\n    def forward(self, x):\n        return F.dropout(x, RATE)\n"
    )
    report = scan([tmp_path])
    assert report.findings == () and report.not_checked == ()
    sources = [Source(str(path), path.read_bytes()) for path in sorted(tmp_path.glob("*.py"))]
    analyze(Project(sources, ALL))
    assert {each.tail for each in sources if "tree" in vars(each)} == {"net", "rates"}
