"""Ignores in comments: what is one, and which lines it speaks for."""

from __future__ import annotations

import pytest

from regcheck.suppression.comments import comments_in, malformed_in

IGNORE = "# regcheck: ignore[REG202] why"

SOURCE = '''\
{0}"""A docstring."""
{1}
import torch.nn.functional as F
from torch import nn


@decorated{2}
class Net(nn.Module):{3}
    def forward(  {4}
        self,  {5}
        x,
    ):  {6}
        {7}
        x = self.a(
            F.dropout(x, 0.5),  {8}
            F.dropout(
                x,  {9}
                0.5,
                {10}
            ),  {11}
        )  {12}
        if F.dropout(x).sum() > 0:  {13}
            return F.dropout(x)
        else:  {14}
            return x  {15}
'''
LINES = {
    0: (),
    1: (),
    2: {7},
    3: set(range(7, 26)),
    4: set(range(9, 26)),
    5: set(range(9, 26)),
    6: set(range(9, 26)),
    7: (),
    8: {14, 15},
    9: {16, 17},
    10: {16, 19},
    11: {16, 17, 18, 19, 20},
    12: set(range(14, 22)),
    13: {22},
    14: {24},
    15: {25},
}
"""The lines that a comment at each of the places speaks for, the calls around its line by their first lines."""


@pytest.mark.parametrize("place", LINES)
def test_a_comment_speaks_for_what_its_line_belongs_to(place: int) -> None:
    """At a line's end: for what begins or ends there and the call around it; on a `def` or `class`: for all of it."""
    comments = [""] * 16
    comments[place] = f"{IGNORE}\n" if place == 0 else f"  {IGNORE}"
    (ignore,) = comments_in("net.py", SOURCE.format(*comments)).all
    shift = place == 0
    assert {line - shift for line in range(1, 40) if ignore.covers(line)} == set(LINES[place])


def test_a_file_is_ignored_from_its_top() -> None:
    """`ignore-file` counts on a line of its own above the first statement, the docstring aside, and nowhere else."""
    comment = "# regcheck: ignore-file[REG2, REG301] generated"
    for place, whole in ((0, True), (1, True), (7, False), (15, False)):
        comments = [""] * 16
        comments[place] = f"{comment}\n"
        found = comments_in("net.py", SOURCE.format(*comments)).all
        assert [(each.pattern, each.reason, each.whole_file) for each in found] == [
            ("REG2", "generated", True),
            ("REG301", "generated", True),
        ]
        assert all(each.covers(20) is whole for each in found)


@pytest.mark.parametrize(
    "text",
    [
        f"x = '{IGNORE}'\n",
        f'"""\n{IGNORE}\n"""\n',
        f"# x = F.dropout(x)  {IGNORE}\n",
        f"x = 1  # see `{IGNORE[2:]}`\n",
        "x = 1  # regcheck: ignore REG202\n",
        "x = 1  # noqa: ignore[REG202]\n",
    ],
)
def test_what_only_looks_like_an_ignore_is_none(text: str) -> None:
    """Strings, code that is commented out, and other comments ignore nothing."""
    assert comments_in("net.py", text).all == ()


def test_positions_are_those_of_the_comment() -> None:
    """A place counts lines and columns from 1, also behind other comments and wide characters."""
    (first, second) = comments_in("net.py", f"x = 'é'  # noqa {IGNORE}\ny = 2 {IGNORE.replace('202', '101')}").all
    assert [(each.place.line, each.place.column, each.pattern) for each in (first, second)] == [
        (1, 17, "REG202"),
        (2, 7, "REG101"),
    ]


@pytest.mark.parametrize("text", ["x = (  # regcheck: ignore[REG202] why\n", "\x00", "if x:\n\ty\n        z  {0}\n"])
def test_text_that_is_not_python_is_no_obstacle(text: str) -> None:
    """Where a file does not parse, an ignore speaks for its own line at most."""
    assert all(each.lines in ((), ((1, 1),), ((3, 3),)) for each in comments_in("net.py", text.format(IGNORE)).all)


@pytest.mark.parametrize(
    "comment",
    [
        "regcheck: ignore",
        "regcheck: ignore[]",
        "regcheck: ignore[ , ] why",
        "regcheck: ignore REG202",
        "regcheck: ignore(REG202)",
        "regcheck: ignore[REG202",
        "regcheck: Ignore[REG202] why",
        "regcheck: ignroe[REG202]",
        "regcheck: ignore-line[REG202]",
        "regcheck: ignore_file[REG202]",
        "regcheck: noqa: REG202",
        "regcheck:disable=reg202",
    ],
)
def test_an_attempt_that_ignores_nothing_is_told(comment: str) -> None:
    """What is meant for an ignore and names no rule in brackets is found where it stands, and suppresses nothing."""
    text = f"x = 1  # noqa # {comment}\n"
    assert [each for each in comments_in("net.py", text).all if each.pattern == "REG202"] == []
    ((found, place),) = [(each.malformed, each.place) for each in malformed_in("net.py", text)]
    assert (found, place.line, place.column) == (comment, 1, 15)


@pytest.mark.parametrize(
    "text",
    [
        f"x = 1  {IGNORE}\n",
        "x = 1  # regcheck: ignore[SPAM1, other-rule] of plugins\n",
        "x = 1  # regcheck: its findings are listed in the manual\n",
        "x = 1  # see regcheck: ignore\n",
        "x = '# regcheck: ignore'\n",
        "# x = F.dropout(x)  # regcheck: ignore\n",
    ],
)
def test_what_is_no_attempt_is_left_alone(text: str) -> None:
    """Ignores that are understood, prose, strings, and code that is commented out."""
    assert malformed_in("net.py", text) == ()
