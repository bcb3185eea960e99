"""`with regcheck.watch() as seen:`: what a block of code shows, and that the block is none the worse for it."""

from __future__ import annotations

import os
import random
import subprocess
import sys
import threading
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from torch import nn

import regcheck
from regcheck.core.errors import UsageError
from regcheck.core.finding import Severity, Verdict
from regcheck.session.block import WatchSession


class Net(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.hidden = nn.Linear(8, 16)
        self.norm = nn.BatchNorm1d(16)
        self.drop = nn.Dropout(0.5)
        self.head = nn.Linear(16, 2)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.head(self.drop(self.norm(self.hidden(x)).relu()))


PROGRAM = """
import torch
from torch import nn

class Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.hidden, self.drop, self.head = nn.Linear(8, 16), nn.Dropout(0.5), nn.Linear(16, 2)

    def forward(self, x):
        return self.head(self.drop(self.hidden(x)))

def predict(net):
    with torch.no_grad():
        return net(torch.ones(4, 8))
"""

Predict = Callable[[nn.Module], torch.Tensor]


@pytest.fixture
def predict(tmp_path: Path) -> Predict:
    """A prediction that forgets `eval()`, in a file of its own: this one is a test's."""
    path = tmp_path / "prediction.py"
    path.write_text(PROGRAM, encoding="utf-8")
    names: dict[str, Predict] = {}
    exec(compile(PROGRAM, str(path), "exec"), names)
    return names["predict"]


def codes(seen: WatchSession) -> list[str]:
    return [each.code for each in seen.report.findings]


def ran(code: str, folder: Path) -> subprocess.CompletedProcess[str]:
    (folder / "program.py").write_text(code, encoding="utf-8")
    return subprocess.run([sys.executable, "program.py"], cwd=folder, capture_output=True, text=True, timeout=120)


def test_a_block_is_judged_at_its_end(predict: Predict) -> None:
    """What went wrong in the block is found at its line and measured, and the report fails."""
    with regcheck.watch() as seen:
        predict(Net())
    (finding,) = seen.report.findings
    assert (finding.code, finding.line) == (
        "REG201",
        PROGRAM.split("\n").index("        return net(torch.ones(4, 8))") + 1,
    )
    assert finding.evidence.verdict is Verdict.CONFIRMED
    assert not seen.report.ok and str(seen) == str(seen.report)
    assert seen._repr_html_() == seen.report._repr_html_() and "REG201" in (seen._repr_html_() or "")


def test_a_budget_that_is_used_up_names_the_option(predict: Predict) -> None:
    """What there was no time for is told with what gives more of it, in the words of this door."""
    with regcheck.watch({"budget": 0, "select": ["REG201"]}) as seen:
        predict(Net())
    (finding,) = seen.report.findings
    assert finding.evidence.because.endswith('; raise `options={"budget": …}`')
    assert [each.what_to_do for each in seen.report.not_checked] == ['raise `options={"budget": …}`']
    report = regcheck.audit(nn.Sequential(nn.Linear(4, 4), nn.Dropout(0.9)), torch.ones(2, 4), options={"budget": 0})
    assert {each.evidence.because for each in report.findings} == {
        'proof takes a run of 0.00025 s of work, more than its budget of 0 s; raise `options={"budget": …}`'
    }


def test_a_sound_block_is_clean(predict: Predict) -> None:
    """A training and a prediction that are as they should be give no finding, and nothing is left unchecked."""
    net = Net()
    optimizer = torch.optim.AdamW(net.parameters())
    with regcheck.watch() as seen:
        net(torch.ones(4, 8)).sum().backward()
        optimizer.step()
        predict(net.eval())
    assert seen.report.ok and seen.report.findings == seen.report.not_checked == ()


def test_a_block_within_speaks_for_what_happens_in_it(predict: Predict) -> None:
    """What an ignore surrounds is silenced, the same outside of it is not, and an ignore that silenced is used."""
    with regcheck.watch() as seen, regcheck.ignore("REG201", reason="why"):
        predict(Net())
    assert codes(seen) == []
    with seen:
        predict(Net())
    assert codes(seen) == ["REG201"]


def test_a_block_within_that_silences_nothing_is_advice(predict: Predict) -> None:
    """An ignore that nothing is found in is told as advice where the watched code came to its end, and only there."""

    def block(seen: WatchSession, error: Exception | None) -> None:
        with seen:
            with regcheck.ignore("REG202", reason="why"):
                predict(Net().eval())
            if error:
                raise error

    whole, cut = regcheck.watch(), regcheck.watch()
    block(whole, None)
    with pytest.raises(KeyError):
        block(cut, KeyError("lost"))
    (finding,) = whole.report.findings
    assert (finding.code, finding.severity) == ("REG900", Severity.INFO)
    assert whole.report.ok and "what was watched showed no such finding" in finding.message
    assert codes(cut) == []


def test_a_structure_is_shown_by_the_block_that_runs_it_outside_of_an_ignore() -> None:
    """What is in a model is intended in a watched block that runs it under an ignore, and shown by the next one."""

    class Leaky(Net):
        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return nn.functional.dropout(super().forward(x), 0.5)

    seen = regcheck.watch({"select": ["REG202"], "budget": 60})
    net = Leaky().eval()
    with seen, regcheck.ignore("REG202", reason="why"):
        net(torch.ones(4, 8))
    assert codes(seen) == []
    with seen:
        net(torch.ones(4, 8))
    assert codes(seen) == ["REG202"]


def test_an_ignore_in_a_forward_is_used_by_what_is_drawn_in_it() -> None:
    """A call in a block of the model's own is silenced in a watched run, and the block is not said to be idle."""

    class Sampled(Net):
        def forward(self, x: torch.Tensor) -> torch.Tensor:
            scores = super().forward(x)
            with regcheck.ignore("REG203", reason="sampled"):
                return scores + torch.randn_like(scores)

    with regcheck.watch({"budget": 60}) as seen, torch.no_grad():
        Sampled().eval()(torch.ones(4, 8))
    assert seen.report.findings == ()


def test_an_exception_passes_and_the_block_is_judged(predict: Predict) -> None:
    """The very exception of the block comes out of it, and what was seen before it is in the report."""
    error, seen = KeyError("lost"), regcheck.watch()

    def block() -> None:
        with seen:
            predict(Net())
            raise error

    with pytest.raises(KeyError) as caught:
        block()
    assert caught.value is error and error.__context__ is None
    assert codes(seen) == ["REG201"]


def test_a_block_leaves_no_trace(predict: Predict) -> None:
    """Weights, statistics, random streams and torch's functions are after the block as they are without watching it."""

    def program(watched: bool) -> list[object]:
        random.seed(0)
        torch.manual_seed(0)
        net = Net()
        optimizer = torch.optim.Adam(net.parameters(), weight_decay=0.1)

        def block() -> None:
            for _ in range(3):
                optimizer.zero_grad()
                net(torch.randn(4, 8)).sum().backward()
                optimizer.step()
            predict(net)

        if watched:
            with regcheck.watch() as seen:
                block()
            assert codes(seen) == ["REG201", "REG301"]
        else:
            block()
        left = [*net.state_dict().values(), *(each.grad for each in net.parameters()), torch.rand(3)]
        return [*(each.tolist() for each in left if each is not None), random.random(), net.training]

    held = [(owner, name, vars(owner)[name]) for owner, name in ((nn.Module, "__call__"), (nn.Module, "train"))]
    assert program(watched=True) == program(watched=False)
    assert all(vars(owner)[name] is original for owner, name, original in held)


def test_blocks_may_be_nested(predict: Predict) -> None:
    """The inner block's report is about the inner block, the outer one's about both, and judging is not seen."""
    with regcheck.watch() as outer:
        with regcheck.watch() as inner:
            predict(Net())
        regcheck.audit(Net())
    assert codes(inner) == codes(outer) == ["REG201"]
    assert len(outer.report.coverage) == 1


def test_one_object_watches_several_blocks(predict: Predict) -> None:
    """Its report is about all of them, each finding once; entered inside itself, it judges at the outer end."""
    seen = regcheck.watch()
    with seen:
        Net().eval()(torch.ones(4, 8))
    assert codes(seen) == []
    for _ in range(2):
        with seen, seen:
            predict(Net())
    assert codes(seen) == ["REG201"]
    with seen:
        pass
    assert codes(seen) == ["REG201"] and seen.report.not_checked == ()


def test_what_threads_do_is_seen(predict: Predict) -> None:
    """A model that runs in a thread of the block is judged; what one does after the block is not."""
    later = threading.Event()

    def work(net: nn.Module) -> None:
        later.wait(60)
        predict(net)

    straggler = threading.Thread(target=work, args=(Net(),))
    with regcheck.watch() as seen:
        straggler.start()
        thread = threading.Thread(target=predict, args=(Net().eval(),))
        thread.start()
        thread.join()
    later.set()
    straggler.join()
    assert codes(seen) == [] and len(seen.report.coverage) == 1


def test_options_are_those_of_audit(predict: Predict) -> None:
    """They choose rules and decide what fails; a wrong one is told before the block runs."""
    with regcheck.watch({"ignore": ["REG201"]}) as seen:
        predict(Net())
    assert seen.report.ok and not seen.report.findings
    with regcheck.watch({"fail_on": "never", "confirm": False}) as seen:
        predict(Net())
    assert seen.report.ok and seen.report.findings[0].evidence.verdict is Verdict.UNMEASURED
    with pytest.raises(UsageError, match="did you mean 'fail-on'"):
        regcheck.watch({"fail_onn": "never"})
    with pytest.raises(UsageError, match="REG999"):
        regcheck.watch({"select": ["REG999"]})
    with pytest.raises(UsageError, match="'nowhere'"), regcheck.watch({"devices": ["nowhere"]}):
        predict(Net())


def test_an_ignore_around_the_block_counts(predict: Predict) -> None:
    """`with regcheck.ignore(…)` declares the findings of a watched block too."""
    with regcheck.ignore("REG201", reason="wanted"), regcheck.watch() as seen:
        predict(Net())
    assert seen.report.ok and not seen.report.findings


def test_nothing_to_judge_is_not_clean() -> None:
    """A block in which no model ran is not checked, and before its end there is no report."""
    with regcheck.watch() as seen:
        assert str(seen) == "still watching"
        with pytest.raises(UsageError, match="still watched"):
            _ = seen.report
    assert [each.reason for each in seen.report.not_checked] == ["no model ran"]
    assert seen.report.ok and not regcheck.watch({"strict": True}).report.ok


def test_torch_may_be_imported_in_the_block(tmp_path: Path) -> None:
    """Watching begins when torch is imported; its module, and how it is found, are those of any other program."""
    code = f"""
import importlib.util, sys
import regcheck
finders = list(sys.meta_path)
with regcheck.watch() as seen:
    assert "torch" not in sys.modules and importlib.util.find_spec("torch")
    exec({PROGRAM!r})
    assert sys.meta_path == finders and "exec_module" not in vars(torch.__loader__)
    predict(Net())
print([each.code for each in seen.report.findings])
with regcheck.watch():
    pass
assert sys.meta_path == finders
"""
    done = ran(code, tmp_path)
    assert (done.stdout, done.stderr) == ("['REG201']\n", "")


@pytest.mark.skipif(not hasattr(os, "fork"), reason="only POSIX forks")
def test_a_forked_process_reports_nothing(tmp_path: Path) -> None:
    """A child that leaves the block has nothing to report, and what the parent saw stays the parent's."""
    code = f"""
import os, regcheck
{PROGRAM}
with regcheck.watch() as seen:
    predict(Net())
    child = os.fork()
if child:
    assert os.waitpid(child, 0)[1] == 0
    print([each.code for each in seen.report.findings])
else:
    assert not seen.report.findings
"""
    done = ran(code, tmp_path)
    assert (done.stdout, done.stderr) == ("['REG201']\n", "")


def test_one_of_several_processes_measures_alone(tmp_path: Path) -> None:
    """A model is measured in each process; a forward that waits for the others is stopped before it waits."""
    code = f"""
import regcheck
from torch import distributed
from torch.testing._internal.distributed.fake_pg import FakeStore
{PROGRAM}
distributed.init_process_group("fake", rank=0, world_size=2, store=FakeStore())
class Averaging(Net):
    def forward(self, x):
        y = super().forward(x)
        distributed.all_reduce(y)
        return y


for net in (Net(), Averaging()):
    with regcheck.watch() as seen:
        predict(net)
    (found,) = seen.report.findings
    print(found.code, found.evidence.verdict.value)
print(found.evidence.because)
print(seen.report.not_checked[0].reason)
"""
    done = ran(code, tmp_path)
    *found, because, reason = done.stdout.splitlines()
    assert found == ["REG201 confirmed", "REG201 unmeasured"], done.stderr
    for each in (because, reason):
        assert "waits for the other processes, which do not run the model again" in each


def test_a_block_in_a_watched_test(tmp_path: Path) -> None:
    """Under `pytest --regcheck` the block's report and the session's are the same, and the session's has it once."""
    (tmp_path / "program.py").write_text(PROGRAM, encoding="utf-8")
    (tmp_path / "test_it.py").write_text(
        "import regcheck\nfrom program import Net, predict\n\n"
        "def test_it():\n    with regcheck.watch() as seen:\n        predict(Net())\n"
        "    assert [each.code for each in seen.report.findings] == ['REG201']\n",
        encoding="utf-8",
    )
    words = [
        sys.executable,
        "-m",
        "pytest",
        "-q",
        "-p",
        "no:randomly",
        "-p",
        "no:cacheprovider",
        "--regcheck",
        "-W",
        "error",
    ]
    done = subprocess.run(words, cwd=tmp_path, capture_output=True, text=True, timeout=120)
    assert "1 passed" in done.stdout and done.stdout.count("REG201") == 1, done.stdout
