"""The drawing of a model's graph: what has a finding stands alone, all else is folded by module."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
import torch
from torch import fx, nn

import regcheck
from regcheck.core.finding import Finding
from regcheck.core.graph import Site
from regcheck.core.report import Report
from regcheck.files.place import Place
from regcheck.report import rendered
from regcheck.report.model_drawing import HEIGHT, MOST_PARTS, PITCH, Drawing, drawing
from regcheck.tracing.record import META, CallMetadata

DROP = Place("net.py", 7, 9)


def graph_of(*calls: tuple[str, str, Place | None], skips: dict[int, int] | None = None) -> fx.Graph:
    """A chain of calls (module, function, place); the call at a key of `skips` also reads the result of its value."""
    graph = fx.Graph()
    nodes = [graph.placeholder("x")]
    for number, (module, function, place) in enumerate(calls):
        weight = graph.get_attr(f"{module}.weight")
        inputs = [nodes[-1], weight, *([nodes[(skips or {})[number] + 1]] if number in (skips or {}) else [])]
        node = graph.call_function(torch.add, tuple(inputs))
        node.meta[META] = CallMetadata(function, Site(module, function, place))
        nodes.append(node)
    graph.output(nodes[-1])
    return graph


@pytest.fixture
def about(report: Report) -> Any:
    """Makes a finding about a module's dropout, with the identifier of its card."""

    def finding(module: str, code: str = "REG101", card: str = "card") -> tuple[Finding, str]:
        return replace(report.findings[0], code=code, module=module, line=DROP.line, column=DROP.column), card

    return finding


def texts(drawn: Drawing | None) -> list[str]:
    assert drawn is not None
    return [each.text for each in drawn.parts]


def block(number: int) -> list[tuple[str, str, Place | None]]:
    module = f"blocks.{number}"
    return [(f"{module}.fc", "linear", None), (f"{module}.drop", "dropout", DROP), (module, "add", None)]


def test_only_what_has_a_finding_is_unfolded(about: Any) -> None:
    """The operation with the finding stands alone and leads to its card; whole blocks around it share a box."""
    calls = [("stem", "conv2d", None), *block(0), *block(1), *block(2), *block(3), ("head", "linear", None)]
    drawn = drawing(graph_of(*calls), [about("blocks.1.drop (and 3 more)"), about("blocks.1.drop", "REG401", "other")])
    assert texts(drawn) == [
        "x: input",
        "stem: conv2d",
        "blocks.0 (3 operations)",
        "blocks.1.fc: linear",
        "blocks.1.drop: dropout ◂ REG101 ◂ REG401",
        "blocks.1: add",
        "blocks.2 … 3 (6 operations)",
        "head: linear",
        "output: result",
    ]
    assert drawn is not None
    assert [(each.role, each.target) for each in drawn.parts if each.target] == [("suspect", "card")]
    assert [number for number, each in enumerate(drawn.parts) if each.role == "alike"] == [2, 6]


def test_a_skip_connection_runs_beside_the_boxes(about: Any) -> None:
    """A value that the next box reads goes straight down; one that a later box reads has a lane of its own."""
    calls = [("a", "linear", None), ("b", "linear", None), ("drop", "dropout", DROP), ("", "add", None)]
    drawn = drawing(graph_of(*calls, skips={3: 0}), [about("drop")])
    assert drawn is not None and len(drawn.wires) == 6
    straight = [each for each in drawn.wires if "H" not in each]
    assert [int(each.split()[1].split("V")[0]) for each in straight] == [PITCH * row + HEIGHT for row in range(5)]
    (skip,) = set(drawn.wires) - set(straight)
    start, end = 1, 4  # the rows of `a` and of the addition, below the input
    assert skip.startswith(f"M{drawn.left} {PITCH * start + HEIGHT - 5}H") and f"V{PITCH * end + 7}H" in skip


def test_a_graph_without_a_finding_is_not_drawn(about: Any) -> None:
    """A finding at another line marks nothing, nor does one without a line about a module of several operations."""
    graph = graph_of(("drop", "dropout", DROP), ("b", "linear", None), ("b", "relu", None))
    finding, card = about("drop")
    placeless = replace(finding, path=None, line=None, column=None)
    others = [replace(finding, line=8), replace(finding, module="b"), placeless, replace(placeless, module="b")]
    assert drawing(graph, [(each, card) for each in others]) is None
    assert drawing(graph, [about("drop")]) is not None


def test_a_long_drawing_is_cut_and_says_so(about: Any, report: Report) -> None:
    """A graph of very many parts is drawn up to a limit, and the page counts the parts left out."""
    calls = [(f"m{number}", "linear", None) for number in range(MOST_PARTS + 20)]
    graph = graph_of(("drop", "dropout", DROP), *calls)
    finding, card = about("drop")
    drawn = drawing(graph, [(finding, card)])
    assert drawn is not None and len(drawn.parts) == MOST_PARTS and drawn.left_out == 23
    page = rendered(replace(report, findings=(finding,), fx_graph=graph), "html")
    assert "23 more parts are not drawn" in page


def test_names_in_the_drawing_are_escaped(about: Any, report: Report) -> None:
    """A module's name is text, whatever it holds, and a long one is cut before the codes."""
    odd = "<b>&\x1b" + "n" * 60
    finding, _ = about(odd)
    page = rendered(replace(report, findings=(finding,), fx_graph=graph_of((odd, "dropout", DROP))), "html")
    drawn = page[page.index('<section id="graph">') : page.index("</main>")]
    assert "&lt;b&gt;&amp;\\x1bnnn" in drawn and "<b>" not in drawn and "… ◂ REG101</text>" in drawn


def test_the_page_of_an_audit_draws_the_model() -> None:
    """An audit's page has the graph, with the measured finding's box leading to its card."""
    layers = [nn.Linear(4, 8), nn.ReLU(), nn.Linear(8, 8), nn.Dropout(0.9), nn.Linear(8, 4)]
    report = regcheck.audit(nn.Sequential(*layers), torch.rand(8, 4))
    page = rendered(report, "html")
    (finding,) = report.findings
    drawn = page[page.index('<section id="graph">') : page.index("</main>")]
    assert "0 … 2 (3 operations)" in drawn and f"{finding.module}: dropout ◂ REG401" in drawn
    card = drawn[drawn.index('<a href="#') + 10 :].partition('"')[0]
    assert f'id="{card}"' in page
