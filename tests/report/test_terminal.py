"""The text for people, held against the report it stands for."""

from __future__ import annotations

import json
import re
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from regcheck.core.coverage import Coverage
from regcheck.core.finding import Effect, Evidence, Finding, NotChecked, Severity, Verdict
from regcheck.core.join import join
from regcheck.core.report import Report
from regcheck.report import rendered
from regcheck.report.view import View, text_width

GOLDEN = """\
{path}:6:9 error REG202 dropout-ignores-mode  net.blocks.0.attn
    `scaled_dot_product_attention(dropout_p=0.1)` still drops attention weights after `eval()`
    6 |     y = F.scaled_dot_product_attention(q, k, v, dropout_p=self.rate)
      |         ^
    confirmed on cpu: the prediction varies by 3.1 % of its spread between eval runs
    fix: pass `dropout_p=… if self.training else 0.0`

<model> warning REG301 coupled-l2-adaptive
    `Adam(weight_decay=0.01)` folds the decay into the gradient
    fix: use `torch.optim.AdamW`

rule                         findings  confirmed
REG202 dropout-ignores-mode         1          1
REG301 coupled-l2-adaptive          1          0

pkg/net.py:3: not checked: pkg.net:Net: takes arguments: width; name a function that takes none

read from source, not measured; `regcheck audit` and `pytest --regcheck` measure
2 findings, 1 suspicion refuted by measurement, 1 not checked
"""


def test_a_report_of_nothing_is_its_last_lines() -> None:
    """Without findings and without anything that was not checked, both formats are the coverage and the headline."""
    covered = Coverage("net.py", "source", "", ("train", "eval"), 3, 2, opaque=("Net",))
    for report in (Report(), Report(coverage=(covered,))):
        lines = [*report.looked_at, report.headline]
        assert rendered(report).splitlines() == rendered(report, "concise").splitlines() == lines


def test_the_full_text_is_this(report: Report) -> None:
    """A reader gets place, rule and module; message, source and caret; the proof; the fix; then counts."""
    path = str(report.findings[0].path)
    text = rendered(report)
    headings = [f"{path}: 1 finding\n\n"]
    assert [each for each in headings if each in text] == headings
    assert text.replace(headings[0], "") == GOLDEN.format(path=path)


FIGURES = """\
    spread of the prediction: 3.1 % of the prediction's spread (material from 1 %); \
measured 0.03123, expected 0, α 1e-06, 24 samples, seed 0 (std over seeds relative to the output's; exact rank test)
"""


def test_verbose_shows_the_figures(report: Report) -> None:
    """`--verbose` adds one line to each measured finding: the effect size, the test and its figures."""
    added = rendered(report, view=View(verbose=True)).replace(FIGURES, "")
    assert FIGURES in rendered(report, view=View(verbose=True)) and added == rendered(report)


def test_an_effect_without_a_size_shows_the_other_figures(report: Report) -> None:
    """Where an effect is not finite the figures begin with the measured value."""
    first = report.findings[0]
    infinite = replace(first.evidence, effect=Effect("change", float("inf"), "of the spread"))
    shown = rendered(Report((replace(first, evidence=infinite),)), view=View(verbose=True))
    assert "    measured 0.03123, expected 0" in shown and "change" not in shown


def test_a_tab_does_not_move_the_caret(report: Report) -> None:
    """The caret stands below its character also where the line begins with a tab."""
    tabbed = Report(findings=(replace(report.refuted[0], column=6),))
    source, caret = [line for line in rendered(tabbed).splitlines() if " | " in line]
    assert source[caret.index("^")] == "F"


def test_refuted_and_statistics_are_shown_when_asked_for(report: Report) -> None:
    """`--show-refuted` adds the refuted suspicions, `--statistics` a count for each rule, to both text formats.

    The full text has the table also without `--statistics`, unless it is quiet or has one finding.
    """
    for format in ("full", "concise"):
        plain, asked = rendered(report, format), rendered(report, format, View(show_refuted=True, statistics=True))
        assert "REG101" not in plain
        assert "refuted on cpu: no unit is constant" in asked
        assert asked.splitlines()[-1] == plain.splitlines()[-1] == report.headline
    assert "   1  REG202  dropout-ignores-mode" in rendered(report, "concise", View(statistics=True))
    heading, one = "rule  ", replace(report, findings=report.findings[:1])
    assert heading in rendered(report)
    assert heading not in rendered(one) and heading not in rendered(report, view=View(quiet=True))
    assert heading in rendered(one, view=View(quiet=True, statistics=True))


def test_concise_has_one_line_for_each(report: Report) -> None:
    """Concise output is a line for each finding, a line for each thing not checked, and the headline."""
    first, second, third, last = rendered(report, "concise").splitlines()
    assert first.startswith(f"{report.findings[0].where} REG202 dropout-ignores-mode [net.blocks.0.attn]: `scaled")
    assert first.endswith("(confirmed on cpu: the prediction varies by 3.1 % of its spread between eval runs)")
    assert second.startswith("<model> REG301 coupled-l2-adaptive: `Adam")
    assert third.startswith("pkg/net.py:3: not checked: pkg.net:Net")
    assert last == report.headline


@pytest.mark.parametrize("format", ["full", "concise"])
def test_colour_changes_no_word(report: Report, format: str) -> None:
    """Without colour there is no escape code, and with it the words are the same."""
    assert "\x1b" not in rendered(report, format)
    coloured = rendered(report, format, View(color=True))
    assert re.sub(r"\x1b\[[0-9;]*m", "", coloured) == rendered(report, format)


def test_source_that_is_gone_is_left_out(report: Report) -> None:
    """A file that cannot be read any more costs the excerpt, not the finding."""
    assert report.findings[0].path is not None
    Path(report.findings[0].path).unlink()
    assert "attn\n    `scaled" in rendered(report) and "eval()`\n    confirmed on cpu" in rendered(report)


def test_prose_is_broken_at_spaces_on_a_terminal(report: Report) -> None:
    """In 60 columns prose takes several lines; places, source and words stay whole, and no word is lost."""
    lines = rendered(report, view=View(width=60)).splitlines()
    assert [*filter(None, " ".join(lines).split(" "))] == [*filter(None, re.split(r"[ \n]", rendered(report)))]
    assert report.findings[0].where in "\n".join(lines)
    assert all(len(line) <= 60 for line in lines if line.startswith("    ") and " | " not in line)
    coloured = rendered(report, view=View(width=60, color=True))
    assert re.sub(r"\x1b\[[0-9;]*m", "", coloured).splitlines() == lines


def test_the_width_of_prose(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """`COLUMNS` states that of a terminal, or of what is treated as one, up to 100; a file has none."""
    monkeypatch.delenv("FORCE_COLOR", raising=False)
    with (tmp_path / "out.txt").open("w") as file:
        monkeypatch.setenv("COLUMNS", "72")
        assert text_width(file) is None
        monkeypatch.setenv("FORCE_COLOR", "1")
        monkeypatch.setenv("COLUMNS", "72")
        assert text_width(file) == 72
        monkeypatch.setenv("COLUMNS", "300")
        assert text_width(file) == 100
        monkeypatch.delenv("COLUMNS")
        assert text_width(file) is None


def test_findings_of_models_stand_under_their_names(report: Report) -> None:
    """Reports on several models are one, where each group of findings is headed by its model and names the others."""
    first, second = (replace(each, evidence=report.findings[0].evidence) for each in report.findings)
    reports = [Report((first,), subjects=(name,), live=True) for name in ("Net", "Wide")]
    text = rendered(join([*reports, Report((second,), subjects=("Adam",), live=True)]))
    order = [text.index(part) for part in ("Adam: 1 finding", "REG301", "Net: 1 finding", "REG202", "also in Wide")]
    assert order == sorted(order)
    assert "finding\n" not in rendered(reports[0])[: -len("1 finding\n")]


def test_tests_are_named_while_they_fit_into_a_line(report: Report) -> None:
    """A finding names up to three tests, fewer where they are long, counts the others, and names all with `-v`."""
    first = report.findings[0]
    for names, shown in (
        ([f"test_{number}" for number in range(5)], "seen in test_0, test_1, test_2 and 2 more"),
        (["test_" + "long" * 20, "test_" + "name" * 20], f"seen in test_{'long' * 20} and 1 more"),
    ):
        seen = Report((first,), live=True, tests={first.key: tuple(names)})
        assert f"    {shown}\n" in rendered(seen)
        assert f"    seen in {', '.join(names)}\n" in rendered(seen, view=View(verbose=True))


REPEATED = """\
class Net:
    def forward(self, x):
        x = self.drop1(self.conv1(x))
        x = self.drop2(self.conv2(x))
        x = self.drop12(self.conv12(x))
        return self.drop3(x)
"""


def repeated(path: Path, code: str = "REG102") -> Report:
    """Four findings of a rule: three on lines that differ in numbers only, and one on another line."""
    path.write_text(REPEATED)
    evidence = Evidence(Verdict.UNMEASURED, because="read from the source, not run")
    message, fix = "`nn.Dropout(p=0.{})` drops single positions of a map", "drop whole channels"
    return Report(
        tuple(
            Finding(
                code, "some-rule", Severity.WARNING, message.format(line), "net", str(path), line, 13, fix, evidence, ""
            )
            for line in (3, 4, 5, 6)
        )
    )


def test_repetitions_of_a_placement_are_one_block(tmp_path: Path) -> None:
    """A placement repeated in a file is shown once with the lines where it repeats; all findings are counted."""
    text = rendered(repeated(tmp_path / "net.py"))
    assert re.findall(r"net.py:(\d+):13 warning REG102", text) == ["3", "6"]
    assert re.findall(r"also at .*", text) == ["also at lines 4, 5"]
    assert re.search(r"^REG102 some-rule +4$", text, re.MULTILINE)
    assert text.splitlines()[-1] == "4 findings"


def test_every_repetition_is_shown_where_it_matters(tmp_path: Path) -> None:
    """`--verbose`, other families of rules and formats for programs show each place as a finding of its own."""
    report = repeated(tmp_path / "net.py")
    everywhere = ["3", "4", "5", "6"]
    assert re.findall(r"net.py:(\d+):13 warning REG102", rendered(report, view=View(verbose=True))) == everywhere
    other = repeated(tmp_path / "net.py", "REG202")
    assert re.findall(r"net.py:(\d+):13 warning REG202", rendered(other)) == everywhere
    assert re.findall(r"line=(\d+)", rendered(report, "github")) == everywhere
    assert [each["line"] for each in json.loads(rendered(report, "json"))["findings"]] == [3, 4, 5, 6]


words = st.text(st.characters(categories=["L", "N", "P", "S"], include_characters=" "), min_size=1, max_size=40)
numbers = st.none() | st.floats(allow_nan=False, allow_infinity=False, width=32)
evidence = st.builds(
    Evidence,
    st.sampled_from([Verdict.CONFIRMED, Verdict.UNMEASURED]),
    measured=numbers,
    expected=numbers,
    samples=st.none() | st.integers(0, 10**6),
    because=words,
)
findings = st.builds(
    Finding,
    code=st.sampled_from(["REG101", "REG202", "REG301"]),
    name=st.just("some-rule"),
    severity=st.sampled_from(Severity),
    message=words.map(lambda text: f"M {text}"),
    module=st.just("net.layer"),
    path=st.sampled_from([None, "a.py", "b/c.py"]),
    line=st.integers(1, 999),
    column=st.integers(1, 99),
    fix=st.just("do it"),
    evidence=evidence,
    docs=st.just("https://example.org/"),
)
reports = st.builds(
    Report,
    findings=st.lists(findings, max_size=5).map(tuple),
    refuted=st.lists(findings, max_size=2).map(tuple),
    not_checked=st.lists(st.builds(NotChecked, words, words), max_size=3).map(tuple),
)


def is_confirmed(finding: Finding) -> bool:
    return finding.evidence.verdict is Verdict.CONFIRMED


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(reports)
def test_the_text_adds_up(report: Report) -> None:
    """Whatever the report, a judge that knows only the text counts the same findings, figures and things missed."""
    text = rendered(report, "full", View(statistics=True, verbose=True))
    titles = re.findall(r"^(\S+) (\w+) (REG\d+) some-rule  net\.layer$", text, re.MULTILINE)
    assert sorted(titles) == sorted((each.where, each.severity.value, each.code) for each in report.findings)
    messages = re.findall(r"^    (M .*)$", text, re.MULTILINE)
    assert sorted(each.strip() for each in messages) == sorted(each.message.strip() for each in report.findings)
    measured = re.findall(r"^    measured (\S+?)(?:,|$)", text, re.MULTILINE)
    figures = [each.evidence.measured for each in report.findings if each.evidence.measured is not None]
    assert sorted(float(each) for each in measured) == pytest.approx(sorted(figures), rel=1e-3)
    heading, *rows = re.findall(r"^(?:rule|REG\d+ some-rule) .*$", text, re.MULTILINE) or [""]
    for column, test in (("findings", lambda each: True), ("confirmed", is_confirmed)):
        numbers = [int(row.split()[heading.split().index(column) + 1]) for row in rows if column in heading]
        assert sum(numbers) == sum(map(test, report.findings))
    assert len(re.findall(r"^not checked: ", text, re.MULTILINE)) == len(report.not_checked)
    headline = text.splitlines()[-1]
    assert re.match(r"(\d+) findings?\b", headline).group(1) == str(len(report.findings))  # type: ignore[union-attr]
    missed = re.search(r"(\d+) not checked", headline)
    assert int(missed.group(1) if missed else 0) == len(report.not_checked)
