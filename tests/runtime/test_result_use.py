"""What the source around a call says about its result."""

from __future__ import annotations

from pathlib import Path

from regcheck.files.place import Place
from regcheck.runtime.call_sites import CallSite
from regcheck.runtime.result_use import DECISION, classify_use, passes_mode

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
