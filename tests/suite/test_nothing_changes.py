"""A suite under `--regcheck` runs as it always ran: outcomes, output, warnings, random numbers, time limits."""

from __future__ import annotations

import re
import time
from typing import Any
from xml.etree import ElementTree

import pytest

from regcheck.session.session import Session

pytest_plugins = ["pytester"]

Project = Any  # what the fixture `project` of conftest.py is


def test_outcomes_are_the_same_bit_for_bit(project: Project) -> None:
    """Under a fixed seed a suite draws the same numbers, passes and fails the same, with and without the flag."""
    project.write(
        "test_models.py",
        """
        import random
        import warnings

        import pytest
        import torch
        from models import Leaky, Sound, predict

        torch.manual_seed(0)
        random.seed(0)

        def log(*drawn):
            with open("drawn.txt", "a") as file:
                print(*drawn, file=file)

        @pytest.mark.parametrize("model", [Leaky, Sound, Leaky])
        def test_train(model):
            net = model()
            optimizer = torch.optim.Adam(net.parameters(), weight_decay=0.1)
            for _ in range(3):
                net(torch.randn(4, 8)).sum().backward()
                optimizer.step()
            log(predict(net, torch.randn(4, 8)).flatten().tolist(), random.random())
            assert random.random() < 0.8

        def test_error():
            Leaky()(torch.ones(4, 9))

        def test_warns():
            with pytest.warns(UserWarning, match="shallow"):
                warnings.warn("shallow")

        def test_output(capsys):
            predict(Sound(), torch.ones(4, 8))
            assert capsys.readouterr() == ("", "")
        """,
    )
    seen = []
    for flags in ((), ("--regcheck", "--regcheck-fail-on", "never")):
        done = project.run("-rA", "--tb=no", *flags)
        outcomes = [line for line in done.stdout.splitlines() if line.startswith(("PASSED ", "FAILED ", "ERROR "))]
        drawn = project.folder / "drawn.txt"
        seen.append((done.returncode, outcomes, drawn.read_text(encoding="utf-8")))
        drawn.unlink()
    assert seen[0] == seen[1]
    assert len(seen[0][1]) == 6


KINDS = """
import asyncio
import unittest

import pytest
import torch
from models import Leaky, Sound, predict


def documented():
    \"\"\"
    >>> from models import Sound, predict
    >>> predict(Sound(), torch.ones(2, 8)).shape
    torch.Size([2, 2])
    >>> with torch.no_grad():
    ...     _ = Sound()(torch.ones(2, 8))
    ...     y = Sound()(torch.ones(2, 8)).argmax(1)
    \"\"\"


class TestOld(unittest.TestCase):
    def test_predict(self):
        self.assertEqual(predict(Sound(), torch.ones(2, 8)).shape, (2, 2))
        with self.subTest("inner"):
            Leaky()(torch.ones(2, 8))


@pytest.mark.parametrize("name", ["a::b", "x@y", "tab\\t", "ünïcode", "[]", "%0A::error::", "<b>"])
def test_odd(name):
    predict(Sound(), torch.ones(2, 8))


def test_sub(subtests):
    with subtests.test("one"):
        predict(Sound(), torch.ones(2, 8))


async def test_async():
    predict(Sound(), torch.ones(2, 8))
"""

ASYNC = """
import asyncio
import inspect

def pytest_pyfunc_call(pyfuncitem):
    if inspect.iscoroutinefunction(pyfuncitem.obj):
        asyncio.run(pyfuncitem.obj())
        return True
"""


def test_every_kind_of_test_is_watched(project: Project) -> None:
    """Methods of TestCase, doctests, subtests, coroutines and odd parameters pass as before, and are judged."""
    (project.folder / "test_models.py").unlink()
    project.write("conftest.py", ASYNC)
    project.write("test_kinds.py", KINDS)
    plain = project.run("-rA", "--doctest-modules")
    done, document = project.report("-rA", "--doctest-modules", "--regcheck-fail-on", "never", "--junit-xml=junit.xml")
    assert done.returncode == plain.returncode == 0
    outcomes = [[line for line in run.stdout.splitlines() if line.startswith("PASSED")] for run in (plain, done)]
    assert outcomes[0] == outcomes[1]
    found = {(each["code"], each["path"]): each for each in document["findings"]}
    assert {code for code, _ in found} == {"REG201", "REG202"}
    assert all(each["severity"] == "info" for (_, path), each in found.items() if path.startswith("<doctest"))
    assert "test_kinds.py::TestOld::test_predict" in done.stdout
    properties = (project.folder / "junit.xml").read_text(encoding="utf-8").count('<property name="regcheck.REG201"')
    assert properties >= 1 + 10


def test_warnings_stay_as_they_are(project: Project) -> None:
    """Under `-W error` nothing of ours raises, and pytest counts the warnings that it always counted."""
    project.write(
        "test_models.py",
        """
        import warnings

        import pytest
        import torch
        from models import Leaky, Sound, predict, nn

        class Flat(nn.Module):
            def __init__(self):
                super().__init__()
                self.layer, self.drop = nn.Linear(8, 8), nn.Dropout2d()

            def forward(self, x):
                return self.drop(self.layer(x))

        @pytest.mark.filterwarnings("ignore:dropout")
        def test_torch_warns():
            Flat()(torch.ones(4, 8))
            warnings.warn("shallow")

        def test_own_warning(recwarn):
            predict(Sound(), torch.ones(4, 8))
            Leaky()(torch.ones(4, 8))
            assert list(recwarn) == []
            warnings.warn("own")
            assert len(recwarn) == 1
        """,
    )
    endings = []
    for flags in ((), ("--regcheck", "--regcheck-fail-on", "never")):
        for strict in ((), ("-W", "error")):
            done = project.run("-rA", "--tb=no", *flags, "-W", "default", *strict)
            told = [line for line in done.stdout.splitlines() if line.startswith(("PASSED ", "FAILED "))]
            endings.append((strict, done.returncode, told, done.stdout.count("Warning:")))
    assert endings[:2] == endings[2:]
    assert endings[0][1:3] != endings[1][1:3]


def test_output_stays_as_it_is(project: Project) -> None:
    """With `-s`, and captured, a suite's own output is the same but for our own lines, live and at the end."""
    project.write(
        "test_models.py",
        """
        import logging
        import sys

        import torch
        from models import Leaky, Sound, predict

        def test_speaks(capfd, caplog):
            print("before")
            predict(Sound(), torch.ones(4, 8))
            Leaky()(torch.ones(4, 8))
            print("after", file=sys.stderr)
            logging.getLogger().error("logged")
            assert capfd.readouterr() == ("before\\n", "after\\n")
            assert [each.message for each in caplog.records] == ["logged"]

        def test_fails():
            print("seen")
            predict(Sound(), torch.ones(4, 8))
            assert False
        """,
    )
    plain, flagged = (project.run("--tb=short", "--show-capture=all", *flag).stdout for flag in ((), ("--regcheck",)))
    failures = [run[run.index("= FAILURES =") :].partition("\n")[2] for run in (plain, flagged)]
    ends = failures[0].index("=== short test summary") if "=== short test summary" in failures[0] else None
    assert failures[1].startswith(failures[0][:ends].rpartition("\n=")[0])


def test_judging_is_no_part_of_a_tests_time(project: Project, monkeypatch: pytest.MonkeyPatch) -> None:
    """A time limit, and the durations that pytest reports, do not include what judging a test takes."""
    examine = Session.examine

    def slow(*arguments: Any) -> Any:
        time.sleep(3)
        return examine(*arguments)

    monkeypatch.setattr(Session, "examine", slow)
    done, document = project.report("-k", "leaky", "--timeout", "2", "--junit-xml", "junit.xml")
    assert "1 passed" in done.stdout
    assert [each["code"] for each in document["findings"]] == ["REG202"]
    (case,) = ElementTree.parse(project.folder / "junit.xml").iter("testcase")
    assert float(case.attrib["time"]) < 2


def test_a_red_suite_keeps_its_exit_code(project: Project) -> None:
    """Findings add nothing to the exit code of a suite that fails by itself."""
    project.write("test_z.py", "def test_fails():\n    assert False\n")
    assert project.run("--regcheck").returncode == 1
    assert project.run("--regcheck", "--regcheck-fail-on", "never").returncode == 1


def test_random_orders_stay(project: Project) -> None:
    """Under pytest-randomly, and with `--ff`, the tests run in the order that they would run in."""
    project.write("test_more.py", project.tests + "def test_fails():\n    assert False\n")
    randomly = ("-p", "no:cacheprovider"), ("-v", "--randomly-seed=7"), True
    failed_first = ("-p", "no:randomly"), ("-v", "--ff"), False
    for always, options, alone in (randomly, failed_first):
        project.always = always
        project.run(*options, alone=alone)
        orders = []
        for flag in ((), ("--regcheck",)):
            told = project.run(*options, *flag, alone=alone).stdout.splitlines()
            orders.append([line.split()[0] for line in told if "PASSED" in line or "FAILED" in line])
        assert orders[0] == orders[1]
        assert len(orders[0]) >= 7


def test_what_tests_leave_pending_goes_on(project: Project) -> None:
    """A backward pass, a count, a random stream and a mark that one test leaves are for the next what it left."""
    project.write(
        "test_models.py",
        """
        import random
        import threading

        import pytest
        import torch
        from torch import nn

        pytestmark = pytest.mark.filterwarnings("ignore")
        left = {}

        class Stats:
            calls = 0

        class Net(nn.Module):
            def __init__(self):
                super().__init__()
                self.a, self.b = nn.Linear(8, 8), nn.utils.weight_norm(nn.Linear(8, 1))
                self.stats, self.seen, self.dice, self.lock = Stats(), bytearray(1), random.Random(0), threading.Lock()

            def forward(self, x):
                self.stats.calls += 1
                self.seen[0] += 1
                self.last = self.dice.random()
                for each in self.parameters():
                    each.calls = getattr(each, "calls", 0) + 1
                return self.b(nn.functional.dropout(self.a(x), 0.5))

        def test_forward():
            net = left["net"] = Net().eval()
            left["loss"] = net(torch.randn(8, 8)).pow(2).mean()

        def test_backward():
            left["loss"].backward()

        def test_counts():
            net, dice = left["net"], random.Random(0)
            dice.random()
            assert (net.stats.calls, net.seen[0], net.a.weight.calls) == (1, 1, 1)
            assert net.dice.random() == dice.random()
        """,
    )
    done, document = project.report("--regcheck-fail-on", "never")
    assert "3 passed" in done.stdout
    assert [(each["code"], each["evidence"]["verdict"]) for each in document["findings"]] == [("REG202", "confirmed")]


RECORDING = """
import os
import sys
import warnings

with open("state.txt", "a") as file:
    print(__name__, "torch" in sys.modules, [each[:3] for each in warnings.filters], file=file)
os.environ["READ_BY_TORCH"] = "yes"

import torch
from torch import nn


def test_state(capsys, caplog, recwarn):
    with open("state.txt", "a") as file:
        print([each[:3] for each in warnings.filters], warnings.onceregistry, warnings.showwarning, file=file)
        print(sys.stdout, sys.flags, list(recwarn), caplog.records, capsys.readouterr(), file=file)


def test_a_trace_warns():
    with warnings.catch_warnings(record=True) as seen:
        torch.jit.trace(nn.BatchNorm1d(4), torch.randn(3, 4))
    assert any(issubclass(each.category, torch.jit.TracerWarning) for each in seen)


def test_an_old_call_is_an_error():
    warnings.warn("old", DeprecationWarning)
"""


@pytest.mark.parametrize("options", [(), ("-W", "error"), ("-W", "once"), ("-p", "no:warnings")], ids=" ".join)
def test_filters_of_warnings_are_those_of_the_suite(project: Project, options: tuple[str, ...]) -> None:
    """Torch is imported where the suite imports it, under the filters that hold there, and no filter of ours stays."""
    project.write("test_models.py", RECORDING)
    seen = []
    for flag in ((), ("--regcheck",)):
        done = project.run("-rA", "--tb=line", *options, *flag, alone=True)
        outcomes = [line for line in done.stdout.splitlines() if line.startswith(("PASSED ", "FAILED ", "ERROR "))]
        state = project.folder / "state.txt"
        text = re.sub("0x[0-9a-f]+", "", state.read_text(encoding="utf-8"))
        seen.append((done.returncode, outcomes, done.stdout.count("Warning"), text))
        state.unlink()
    assert seen[0] == seen[1]
    assert "False" in seen[0][3].splitlines()[0]


def test_a_suite_without_torch_stays_without_it(project: Project) -> None:
    """Under the flag nothing is imported for a suite that runs no model: neither torch nor, before the end, rich."""
    project.write("conftest.py", LOADED)
    project.write("test_models.py", "def test_nothing():\n    pass\n")
    for options in ((), ("-n", "1")):
        done, document = project.report("-s", *options, alone=True)
        assert "loaded: []" in done.stdout
        assert (done.returncode, document["findings"], document["not_checked"]) == (0, [], [])


LOADED = """
import sys

def pytest_sessionfinish(session):
    print("loaded:", [name for name in ("torch", "numpy", "rich") if name in sys.modules])
"""
