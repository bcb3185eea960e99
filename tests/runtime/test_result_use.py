"""What the source around a call says about its result."""

from __future__ import annotations

from pathlib import Path

from regcheck.files.place import Place
from regcheck.runtime.call_sites import CallSite
from regcheck.runtime.result_use import DECISION, SHAPE, VALUE, classify_use, passes_mode

SOURCE = """\
def predict(net, x, mode):
    net.train(mode)
    y = net(x)
    return y.argmax()
"""


def site(path: Path, line: int) -> CallSite:
    return CallSite(Place(str(path), line, 5), "predict", False, False, compile("", str(path), "exec"), None)


def test_one_file_is_asked_about_between_many_others(tmp_path: Path) -> None:
    """The calls and their parents are nodes of one tree, however many other files are asked about meanwhile."""
    paths = [tmp_path / f"part{number}.py" for number in range(20)]
    for each in paths:
        each.write_text(SOURCE, encoding="utf-8")
    for each in paths:
        assert passes_mode(site(paths[0], 2))
        assert classify_use(site(each, 3)) == DECISION
    assert classify_use(site(paths[0], 3)) == DECISION


def test_ways_out_of_the_graph(tmp_path: Path) -> None:
    """A result of which code takes the data is a value; one that code only measures or hands on is not."""
    uses = {
        "net(x).data": VALUE,
        "net(x).cpu().data": VALUE,
        "net(x).detach()": VALUE,
        "net(x).ndim": SHAPE,
        "net(x).T": "",
    }
    paths = {text: tmp_path / f"use_{number}.py" for number, text in enumerate(uses)}
    for text, path in paths.items():
        path.write_text(f"def predict(net, x):\n    return {text}\n", encoding="utf-8")
    assert {text: classify_use(site(path, 2)) for text, path in paths.items()} == uses


def test_a_name_that_is_assigned_again(tmp_path: Path) -> None:
    """A value computed from a result is followed under the result's own name, as under another one."""
    bodies = {
        "y = net(x); y = y.sigmoid(); return (y > 0.5).sum()": DECISION,
        "y = net(x); y = y.view(-1, 4); c = y.data.max(1)[1]; return (c == x).sum()": DECISION,
        "y = net(x)[0]; y = (y.sigmoid() > 0.5).float(); return (y * x).sum()": DECISION,
        "y = net(x); y = y.view(-1); y = y.numpy(); return y": VALUE,
        "y = net(x); y = y.view(-1, 4); return y": "",
        "y = net(x); y = x; return (y > 0.5).sum()": "",
    }
    paths = {text: tmp_path / f"again_{number}.py" for number, text in enumerate(bodies)}
    for text, path in paths.items():
        path.write_text("def predict(net, x):\n    " + text.replace("; ", "\n    ") + "\n", encoding="utf-8")
    assert {text: classify_use(site(path, 2)) for text, path in paths.items()} == bodies
