"""Tops of files that several files reach are interpreted once, and programs write to copies."""

from __future__ import annotations

from collections.abc import Mapping

from regcheck.core.usage import Usage
from regcheck.static.analyze import analyze
from regcheck.static.programs.shared_imports import SharedImports
from regcheck.static.project.files import Source
from regcheck.static.project.names import Project

TABLE = """
import torch.nn as nn
RATES = {'drop': 0.5}
MODELS = []
def rate(): return RATES['drop']
def rates(): return RATES
def models(): return MODELS
"""
USER = """
import torch.nn as nn
import table
def run():
    net = nn.Sequential(nn.Linear(2, 2), nn.Dropout(0.5))
    net.train(table.rate() > 0.3)
    net(1)
"""


def shared_in(files: Mapping[str, str]) -> set[str]:
    """The paths of the files whose tops can be shared."""
    project = Project([Source(path, text.encode()) for path, text in files.items()])
    shared = SharedImports(project)
    return {each.path for each in project.relevant if shared.of(each) is not None}


def test_tables_are_shared() -> None:
    """A file of tables is shared, and one that reads its tables."""
    user = "import torch.nn as nn\nimport table\nLAYERS = [nn.Dropout, table.rate()]\n"
    assert shared_in({"table.py": TABLE, "user.py": user}) == {"table.py", "user.py"}


def test_models_and_cycles_are_not_shared() -> None:
    """A top that constructs a model, changes or keeps an object of another file, or is in a cycle is not shared."""
    files = {
        "table.py": TABLE,
        "model.py": "import torch.nn as nn\nnet = nn.Dropout(0.5)\n",
        "writer.py": "import torch.nn as nn\nimport table\ntable.models().append(1)\n",
        "keeper.py": "import torch.nn as nn\nimport table\nMINE = table.models()\n",
        "one.py": "import torch.nn as nn\nimport two\nx = two.f()\ndef g(): return x\n",
        "two.py": "import torch.nn as nn\nimport one\ndef f(): return y\ny = one.g()\n",
    }
    assert shared_in(files) == {"table.py"}


def usages(files: Mapping[str, str]) -> dict[str, Usage]:
    """The usages of a project by subject."""
    reading = analyze(Project([Source(path, text.encode()) for path, text in files.items()]))
    return {each.subject: each for each in reading.usages}


def test_writes_to_shared_objects_stay_in_the_file_that_makes_them() -> None:
    """A file that switches the mode in a shared table changes it for its own programs and for no other file."""
    found = usages({"table.py": TABLE, "a.py": USER + "table.rates()['drop'] = 0.1\n", "b.py": USER})
    modes = {subject: [call.training for _, call in each.calls()] for subject, each in found.items()}
    assert (modes["a.py::run"], modes["b.py::run"]) == ([False], [True])
