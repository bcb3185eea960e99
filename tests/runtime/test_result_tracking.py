"""Results of any kind, of models that a program calls itself."""

from __future__ import annotations

from pathlib import Path

import pytest

import regcheck
from regcheck.core.finding import Verdict

from .conftest import See

NET = """\
import asyncio
import attr
import torch
from torch import nn
import torch.nn.functional as F

class Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.first, self.second = nn.Linear(8, 16), nn.Linear(16, 2)

    {begin} forward(self, x):
        y = self.second(F.dropout(self.first(x), 0.5{gate}))
        {end}

x = torch.ones(4, 8)
net = Net().eval()
"""

FORMS = {
    "an array": ("def", "return y.detach().numpy()", "assert net(x).shape == (4, 2)"),
    "numbers": ("def", "return y.tolist()", "assert len(net(x)) == 4"),
    "a number": ("def", "return y.mean().item()", "assert isinstance(net(x), float)"),
    "a generator": ("def", "yield from y", "assert len([row for row in net(x)]) == 4"),
    "a coroutine": ("async def", "return y", "assert asyncio.run(net(x)).shape == (4, 2)"),
    "a dict": ("def", "return {'label': 'cat', 'score': round(y.mean().item(), 4)}", "assert net(x)['label'] == 'cat'"),
}


@pytest.mark.parametrize("sound", [False, True], ids=["faulty", "sound"])
@pytest.mark.parametrize(("begin", "end", "use"), FORMS.values(), ids=FORMS)
def test_a_result_of_any_kind_is_followed_on_a_copy(
    tmp_path: Path, begin: str, end: str, use: str, sound: bool
) -> None:
    """The program gets its result unread, and the dropout behind it is found and proved on a copy."""
    path = tmp_path / "serve.py"
    text = NET.format(begin=begin, end=end, gate=", training=self.training" if sound else "")
    path.write_text(f"{text}\n{use}\n")
    with regcheck.watch() as watching:
        exec(compile(path.read_text(), str(path), "exec"), {"__name__": "serve"})
    report = watching.report
    found = [(each.code, each.line, each.evidence.verdict) for each in report.findings]
    assert found == ([] if sound else [("REG202", 13, Verdict.CONFIRMED)])
    assert report.not_checked == ()


def test_a_prediction_that_holds_nothing_to_compare_is_no_refuted_one(tmp_path: Path) -> None:
    """A model that predicts words in train mode is not said to predict the same in eval mode."""
    path = tmp_path / "serve.py"
    text = NET.format(begin="def", end="return ['cat', 'dog'][int(y.argmax(1)[0])]", gate=", training=self.training")
    path.write_text(f"{text}\nnet = Net()\nwith torch.no_grad():\n    word = net(x)\nprint(word)\n")
    with regcheck.watch() as watching:
        exec(compile(path.read_text(), str(path), "exec"), {"__name__": "serve"})
    report = watching.report
    (found,) = [each for each in (*report.findings, *report.refuted) if each.code == "REG201"]
    assert (found.evidence.verdict, found.evidence.because) == (
        Verdict.UNMEASURED,
        "forward returns no tensor or number to compare",
    )
    assert any("no tensor, array or number" in each.reason for each in report.not_checked)


@pytest.mark.parametrize("kind", ["@attr.s(auto_attribs=True, slots=True)", "@attr.s(auto_attribs=True)"])
def test_a_loss_is_followed_through_objects(see: See, kind: str) -> None:
    """A loss of a tensor that an object holds is propagated back through the call that returned the object."""
    seen = see(
        f"""\
        import attr

        {kind}
        class Output:
            logits: torch.Tensor
            rows: list

        class Wraps(Net):
            def forward(self, x):
                y = super().forward(x)
                return Output(y, [])

        net = Wraps()
        net(x).logits.sum().backward()
        """
    )
    (call,) = [each for _, each in seen.usage.calls()]
    assert call.backpropagated
