"""The page of HTML and what notebooks display: complete, self-contained, inert, legible."""

from __future__ import annotations

import base64
import hashlib
import re
import sys
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from regcheck.core.coverage import Coverage
from regcheck.core.finding import Effect, Evidence, NotChecked, Severity, Verdict
from regcheck.core.patch import Edit, Patch
from regcheck.core.report import Report
from regcheck.report import rendered
from regcheck.report.cards import excerpt, part, patched_lines
from regcheck.report.plot import charts
from regcheck.report.view import View

PATCH = Patch("gate it", True, (Edit(6, 59, 6, 68, "self.rate if self.training else 0.0"),))
ODD = "100 % of é <b>]]></b> & \"x\"\r\n::error::, 'y': \x00\x1b[0m</script><img src=x onerror=alert(1)>"
VOID = {"meta", "br", "rect", "line"}
words = st.text(st.characters(exclude_categories=["Cs"]), min_size=1, max_size=30)


@pytest.fixture
def full(report: Report) -> Report:
    """A live report with each kind of content that the page shows, and hostile text."""
    first = replace(report.findings[0], patch=PATCH)
    odd = replace(first, message=ODD, module=ODD, path=f"a{ODD}.py".replace("\x00", ""), severity=Severity.INFO)
    covered = Coverage(ODD, "recorded", "given", ("train",), 5, 4, opaque=("a",))
    findings = (odd, report.findings[1], first)
    return replace(report, findings=findings, live=True, coverage=(covered,), files=3)


class Page(HTMLParser):
    """The elements of a document, its text, its script and its style; elements must nest."""

    def __init__(self, document: str) -> None:
        super().__init__()
        self.elements: list[tuple[str, dict[str, str]]] = []
        self.text = ""
        self.inline: dict[str, str] = {}
        self.open: list[str] = []
        self.feed(document)
        assert self.open == []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, {name: value or "" for name, value in attrs}))
        if tag not in VOID:
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        if tag not in VOID:
            assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        if self.open and self.open[-1] in ("script", "style"):
            self.inline[self.open[-1]] = data
        else:
            self.text += data

    def all(self, tag: str) -> list[dict[str, str]]:
        return [attributes for name, attributes in self.elements if name == tag]

    def values(self, attribute: str) -> list[str]:
        return [attributes[attribute] for _, attributes in self.elements if attribute in attributes]


def page_of(report: Report, **view: object) -> Page:
    return Page(rendered(report, "html", View(**view)))  # type: ignore[arg-type]


def many(report: Report, number: int) -> Report:
    """A live report of so many findings, of each severity in turn."""
    severities = [*Severity]
    findings = [
        replace(report.findings[0], module=f"net.blocks.{each}.attn", severity=severities[each % 3], patch=PATCH)
        for each in range(number)
    ]
    return replace(report, findings=tuple(findings), live=True)


def test_the_page_shows_findings_with_source_evidence_and_fix(full: Report) -> None:
    """Each finding is one card with its lines of source, its verdict, its figures, and its patch before and after."""
    page = page_of(full, show_refuted=True)
    assert len(page.all("article")) == len(full.findings) + len(full.refuted)
    assert "y = F.scaled_dot_product_attention(q, k, v, dropout_p=self.rate)" in page.text
    assert "confirmed on cpu: the prediction varies by 3.1 % of its spread" in page.text
    assert "measured: 3.1 % of the prediction's spread" in page.text and "material from 1 %" in page.text
    assert "-6    y = F.scaled_dot_product_attention(q, k, v, dropout_p=self.rate)" in page.text
    gated = "y = F.scaled_dot_product_attention(q, k, v, dropout_p=self.rate if self.training else 0.0)"
    assert f"+6    {gated}" in page.text
    assert "takes arguments: width" in page.text
    assert len(page_of(full).all("article")) == len(full.findings)


@pytest.mark.parametrize(("number", "unfolded"), [(20, True), (21, False)])
def test_long_contents_are_folded(report: Report, number: int, unfolded: bool) -> None:
    """Contents of more than 20 links show the rules alone, so that the first card is near the top of the page."""
    contents, *cards = page_of(many(report, number)).all("details")
    assert ("open" in contents) is unfolded
    assert len(cards) == number and all("open" in card for card in cards)


def test_the_page_says_where_it_comes_from(full: Report) -> None:
    """The command, the date, the versions, the devices and the coverage stand at its top; the counts add up."""
    page = page_of(full, command="regcheck audit 'a <b>.py:Net'")
    for text in (
        "regcheck audit 'a <b>.py:Net'",
        "UTC",
        "regcheck 1.2.3, Python 3.",
        "cpu; seed 0",
        "3 files looked at",
    ):
        assert text in page.text
    top = " ".join(page.text[: page.text.index("Command")].split())
    assert "1 error 0 warning 1 info 1 fail the run 1 unproven 1 not checked" in top


def test_the_worst_finding_comes_first_and_is_named_by_a_word(full: Report) -> None:
    """Cards are ordered by severity, which each names in text, so that colour alone says nothing."""
    page = page_of(full)
    assert [each["data-severity"] for each in page.all("article")] == ["error", "info", "warning"]
    badges = [each["class"] for each in page.all("span") if each.get("class", "").startswith("badge")]
    assert badges[-3:] == ["badge error", "badge info", "badge warning"]


def test_the_page_loads_nothing_and_runs_its_own_script_only(full: Report) -> None:
    """No element names a resource or a handler; the policy admits the page's own style and script, by their digests."""
    page = page_of(full, show_refuted=True, command=ODD)
    attributes = {name for _, given in page.elements for name in given}
    assert not {name for name in attributes if name.startswith("on")} | (
        attributes & {"src", "srcset", "style", "action"}
    )
    assert {"link", "img", "b", "iframe", "object"} & {tag for tag, _ in page.elements} == set()
    assert len(page.all("script")) == len(page.all("style")) == 1
    (policy,) = [each["content"] for each in page.all("meta") if "http-equiv" in each]
    assert policy.startswith("default-src 'none';")
    for inline in page.inline.values():
        assert f"'sha256-{base64.b64encode(hashlib.sha256(inline.encode()).digest()).decode()}'" in policy
    assert page.inline["script"] == part("html.js") and page.inline["style"] == part("html.css")
    assert not re.search(
        r"url\(|@import|fetch|XMLHttpRequest|innerHTML|eval", page.inline["style"] + page.inline["script"]
    )


def test_links_lead_somewhere(full: Report) -> None:
    """Identifiers are unique, each card has a link to itself and one in the contents, and every link has its target."""
    twice = replace(full, findings=(*full.findings, full.findings[2]))
    page = page_of(twice, show_refuted=True)
    identifiers = page.values("id")
    assert len(set(identifiers)) == len(identifiers)
    targets = [href[1:] for href in page.values("href") if href.startswith("#")]
    assert set(targets) <= set(identifiers)
    cards = [each["id"] for each in page.all("article")]
    assert set(cards) <= set(targets)
    assert page.values("data-to") and set(page.values("data-to")) <= set(cards)
    again = page_of(replace(twice, findings=twice.findings[2:]))
    assert next(each["id"] for each in again.all("article") if each["data-severity"] == "error") in cards


def test_without_the_script_everything_is_visible(full: Report) -> None:
    """Only the controls, which need the script, are hidden; all details are open."""
    page = page_of(full, show_refuted=True)
    assert [tag for tag, attributes in page.elements if "hidden" in attributes] == ["form"]
    assert all("open" in each for each in page.all("details"))


def test_an_empty_report_has_no_controls() -> None:
    """A page without findings has neither controls nor a script, and still says what was examined."""
    page = page_of(Report(files=2))
    assert not page.all("form") and not page.all("script")
    assert "0 findings" in page.text and "2 files looked at" in page.text


def test_many_findings_make_a_small_page(report: Report) -> None:
    """A page of 50 findings is far below a megabyte, and one of 200 too."""
    assert [len(rendered(many(report, number), "html")) < 1_000_000 for number in (50, 200)] == [True, True]


@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(message=words, module=words, path=words, reason=words)
def test_any_text_stays_text(report: Report, message: str, module: str, path: str, reason: str) -> None:
    """Whatever a message, a module or a path holds, the page and the notebook stay well-formed, with one card."""
    finding = replace(
        report.findings[0], message=message, module=module, path=f"x{path}".replace("\0", ""), patch=PATCH
    )
    odd = Report(findings=(finding,), not_checked=(NotChecked(path, reason),))
    plain = Report(findings=(replace(finding, message="m", module="m", path=None),), not_checked=odd.not_checked)
    tags, expected = ([tag for tag, _ in page_of(each).elements if tag != "code"] for each in (odd, plain))
    assert tags == expected
    assert len(Page(odd._repr_html_() or "").all("article")) == 1


def test_a_page_without_its_library_says_what_to_install(report: Report, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where Jinja2 is missing the error names the extra that brings it; a notebook falls back on the text."""
    monkeypatch.setitem(sys.modules, "jinja2", None)
    with pytest.raises(Exception, match=re.escape("pip install 'regcheck[html]'")):
        rendered(report, "html")
    assert report._repr_html_() is None and report.findings[0]._repr_html_() is None


def test_a_notebook_displays_the_cards_without_a_script(full: Report) -> None:
    """A report and a finding display the page's cards: no script, no identifiers that two cells would share."""
    shown = Page(full._repr_html_() or "")
    assert len(shown.all("article")) == len(full.findings)
    assert full.headline in shown.text and "takes arguments: width" in shown.text
    single = Page(full.findings[2]._repr_html_() or "")
    assert len(single.all("article")) == 1 and "confirmed on cpu" in single.text
    for each in (shown, single):
        assert not each.all("script") and not each.values("id") and not each.all("b") and not each.all("img")


def test_values_have_a_short_repr(report: Report) -> None:
    """The `repr` of a report and of a finding is one line that says the result."""
    assert repr(report) == f"<Report: {report.headline}>"
    finding = replace(report.findings[0], path="model.py")
    assert repr(finding) == "<Finding REG202 dropout-ignores-mode at model.py:6:9: error, confirmed>"


def luminance(color: str) -> float:
    """The relative luminance of `#rrggbb`, as WCAG 2 defines it."""
    parts = [int(color[at : at + 2], 16) / 255 for at in (1, 3, 5)]
    red, green, blue = (each / 12.92 if each <= 0.04045 else ((each + 0.055) / 1.055) ** 2.4 for each in parts)
    return 0.2126 * red + 0.7152 * green + 0.0722 * blue


def contrast(one: str, other: str) -> float:
    low, high = sorted((luminance(one), luminance(other)))
    return (high + 0.05) / (low + 0.05)


def palettes() -> list[dict[str, str]]:
    """The colours of the light and of the dark scheme, by name."""
    found = re.findall(
        r"\{((?:\s*--[\w-]+: #\w{6};)+|\s*color-scheme: light dark;(?:\s*--[\w-]+: #\w{6};)+)", part("html.css")
    )
    return [dict(re.findall(r"--([\w-]+): (#\w{6});", each)) for each in found]


def test_colours_have_enough_contrast() -> None:
    """Text has 4.5:1 against what it stands on, bars and borders of controls 3:1 (WCAG 2 AA), in both schemes."""
    light, dark = palettes()
    assert light.keys() == dark.keys()
    texts = [(text, ground) for text in ("ink", "muted", "link") for ground in ("paper", "panel")]
    texts += [(verdict, "paper") for verdict in ("good", "warning", "muted")]
    texts += [("ink", ground) for ground in ("here", "minus", "plus")]
    texts += [("on-badge", badge) for badge in ("error", "warning", "info")]
    shapes = [(shape, "paper") for shape in ("measured", "reference", "error", "warning", "info")] + [
        ("reference", "panel")
    ]
    for palette in (light, dark):
        poor = {pair for pair in texts if contrast(palette[pair[0]], palette[pair[1]]) < 4.5}
        assert poor | {pair for pair in shapes if contrast(palette[pair[0]], palette[pair[1]]) < 3} == set()
    assert not re.search(r"opacity|rgba|#\w{3,4}\b|#\w{8}\b", part("html.css"))


def evidence(measured: float | None, expected: float | None, effect: Effect | None = None) -> Evidence:
    return Evidence(Verdict.CONFIRMED, measured, expected, "share; exact test", effect=effect)


def test_bars_are_as_long_as_their_figures() -> None:
    """Bars begin at zero and share a scale with the threshold; texts give the figures in the effect's unit."""
    share = Effect("units dropped", 0.9, "of the units", 0.45)
    (chart,) = charts(evidence(0.9, 0.3, share))
    assert [(each.role, each.start, each.width) for each in chart.bars] == [
        ("measured", 0, 100),
        ("reference", 0, pytest.approx(100 / 3, abs=0.01)),
    ]
    assert chart.threshold is not None and chart.threshold.at == 50
    assert chart.description == (
        "units dropped. measured: 90 % of the units; reference: 30 % of the units; material from 45 %"
    )


def test_an_effect_in_another_unit_has_its_own_chart() -> None:
    """Figures of two units never share a scale, and an effect of any size has no threshold to draw."""
    one, other = charts(evidence(1.9, 1.5, Effect("variance added", 0.9, "of the variance")))
    assert [each.text for each in one.bars] == ["measured: 90 % of the variance"] and one.threshold is None
    assert [each.text for each in other.bars] == ["measured: 1.9", "reference: 1.5"]
    assert other.title == "share; exact test"


@pytest.mark.parametrize(
    ("measured", "expected", "bars"),
    [
        (None, None, []),
        (0.0, 0.0, [(0, 0), (0, 0)]),
        (-1.0, 3.0, [(0, 25), (25, 75)]),
        (-1.0, -2.0, [(50, 50), (0, 100)]),
        (1e308, -1e308, [(50, 50), (0, 50)]),
        (float("inf"), 0.0, []),
        (1.0, float("nan"), []),
    ],
)
def test_any_figures_fit_the_chart(measured: float | None, expected: float | None, bars: list[tuple[int, int]]) -> None:
    """Bars stay within the chart for figures of either sign and any size; a figure that is not finite has none."""
    drawn = [(bar.start, bar.width) for chart in charts(evidence(measured, expected)) for bar in chart.bars]
    assert drawn == bars


def test_an_effect_without_a_size_is_not_drawn() -> None:
    """An output that changes its shape has an effect that no number gives: no chart shows one."""
    assert charts(evidence(None, None, Effect("change", float("nan"), "of the output"))) == []


def test_code_in_prose_is_set_as_code(report: Report) -> None:
    """What stands between backticks is code, whatever it holds; a backtick without a pair stays as it is."""
    first, second = (replace(report.findings[0], message=each) for each in ("`<i>` and `b` fail", "a ` fails"))
    page = page_of(replace(report, findings=(first,)))
    assert "<i> and b fail" in page.text
    assert "a ` fails" in page_of(replace(report, findings=(second,))).text


def test_an_excerpt_has_no_shared_indentation(report: Report, tmp_path: Path) -> None:
    """Code deep inside a class begins at the margin, and its inner indentation stays; a tab is no four spaces."""
    path = tmp_path / "deep.py"
    path.write_text("        if a:\n\n            b()\n", encoding="utf-8")
    found = replace(report.findings[0], path=str(path), line=1)
    assert [row.text for row in excerpt(found)] == ["if a:", "", "    b()"]
    path.write_text("\tif a:\n        b()\n", encoding="utf-8")
    assert [row.text for row in excerpt(found)] == ["\tif a:", "        b()"]


def test_a_patch_is_shown_between_the_lines_around_it(report: Report, tmp_path: Path) -> None:
    """A patch at both ends of a long file shows both places, each with the unchanged line beside it."""
    path = tmp_path / "long.py"
    path.write_text("".join(f"x = {number}\n" for number in range(1, 41)), encoding="utf-8")
    patch = Patch("two places", False, (Edit(1, 1, 1, 1, "import a\n"), Edit(40, 5, 40, 7, "0")))
    rows = patched_lines(replace(report.findings[0], path=str(path), patch=patch))
    assert [f"{row.mark}{row.number} {row.text}" for row in rows] == [
        "+1 import a",
        "2 x = 1",
        "40 x = 39",
        "-40 x = 40",
        "+41 x = 0",
    ]


def test_a_patch_that_no_longer_fits_is_not_drawn(full: Report) -> None:
    """Where the source is shorter than the patch says, the page shows the patch's description alone."""
    late = replace(PATCH, edits=(Edit(60, 1, 60, 2, ""),))
    page = page_of(replace(full, findings=(replace(full.findings[2], patch=late),)))
    assert "gate it" in page.text and "-60" not in page.text
