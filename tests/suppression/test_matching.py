"""Ignoring a finding: on the line, on a class, around a block."""

import threading
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

import regcheck
from regcheck.core.errors import UsageError
from regcheck.core.finding import Evidence, Finding, Severity, Verdict
from regcheck.core.suppressions import CodeSuppression
from regcheck.suppression.comments import ignores_in
from regcheck.suppression.matching import active, ignored_by, intended, noted, silenced


def said(declared: tuple[CodeSuppression, ...]) -> tuple[tuple[str, str], ...]:
    return tuple((each.pattern, each.reason) for each in declared)


def finding(line: int | None) -> Finding:
    evidence = Evidence(Verdict.UNMEASURED)
    return Finding("REG202", "dropout-ignores-mode", Severity.ERROR, "", "", "net.py", line, 1, "", evidence, "")


@pytest.mark.parametrize(
    ("source", "expected"),
    [
        ("x = F.dropout(x)  # regcheck: ignore[REG202] Monte-Carlo dropout", True),
        ("x = F.dropout(x)  # regcheck: ignore[REG202]", True),
        ("x = F.dropout(x)  # regcheck:ignore[ REG101 , REG202 ]", True),
        ("x = F.dropout(x)  #regcheck: ignore[REG2]", True),
        ("x = F.dropout(x)  # regcheck: ignore[dropout-ignores-mode]", True),
        ("x = F.dropout(x)  # noqa # regcheck: ignore[REG202] why", True),
        ("x = F.dropout(x)  # regcheck: ignore[REG101]", False),
        ("x = F.dropout(x)  # regcheck: ignore", False),
        ("x = F.dropout(x)  # regcheck: ignore[]", False),
        ("x = F.dropout(x)  # ignore[REG202]", False),
        ("x = F.dropout(x)", False),
    ],
)
def test_a_comment_silences_what_it_names_on_its_own_line(source: str, expected: bool) -> None:
    """`# regcheck: ignore[…]` silences the rules it names, there and nowhere else; it never silences everything."""
    text = f"import torch\n{source}\nx\n"
    assert silenced(finding(line=2), text) is expected
    assert not silenced(finding(line=3), text)


@pytest.mark.parametrize("line", [None, 0, 5])
def test_a_finding_without_a_line_of_the_file_is_not_silenced(line: int | None) -> None:
    """Where the source has no such line there is nothing to read, and nothing is silenced."""
    assert not silenced(finding(line), "x = 1  # regcheck: ignore[REG202]\n" * 3)


def test_a_reason_can_be_required() -> None:
    """With `require-reason` an ignore without a reason silences nothing."""
    assert not silenced(finding(1), "x  # regcheck: ignore[REG202]\n", require_reason=True)
    assert silenced(finding(1), "x  # regcheck: ignore[REG202] as in the paper\n", require_reason=True)


@given(st.text(), st.text())
def test_any_text_can_be_read(before: str, after: str) -> None:
    """No source, however odd, stops the reader."""
    text = f"{before}# regcheck: ignore[REG202] why{after}"
    assert all(each.pattern and "]" not in each.pattern for each in ignores_in("net.py", text))


def test_a_class_declares_for_itself_and_its_subclasses() -> None:
    """The decorator's ignores are those of the class, of its instances and of derived classes; not of others."""

    @regcheck.ignore("REG202", reason="Monte-Carlo dropout")
    class Prenet:
        pass

    @regcheck.ignore("REG203", "REG101")
    class Louder(Prenet):
        pass

    assert said(ignored_by(Prenet)) == said(ignored_by(Prenet())) == (("REG202", "Monte-Carlo dropout"),)
    assert said(ignored_by(Louder())) == (("REG203", ""), ("REG101", ""), ("REG202", "Monte-Carlo dropout"))
    assert ignored_by(object()) == ()


def test_decorators_add_up() -> None:
    """Two decorators on one class ignore what both name."""

    @regcheck.ignore("REG202", reason="first")
    @regcheck.ignore("REG203", reason="second")
    class Net:
        pass

    assert said(ignored_by(Net)) == (("REG202", "first"), ("REG203", "second"))


def test_a_block_declares_while_it_runs() -> None:
    """Inside `with regcheck.ignore(…)` its ignores are active, nested ones add up, and all end with their block."""
    outer = regcheck.ignore("REG301", reason="as in the paper")
    with outer:
        with outer, regcheck.ignore("REG101"):
            assert said(active()) == (("REG301", "as in the paper"),) * 2 + (("REG101", ""),)
        assert said(active()) == (("REG301", "as in the paper"),)
    with pytest.raises(ZeroDivisionError), regcheck.ignore("REG101"):
        _ = 1 / 0
    assert active() == ()


def test_a_block_is_the_callers_own() -> None:
    """Another thread's audit is not silenced by this thread's block."""
    seen: list[object] = []
    with regcheck.ignore("REG301"):
        thread = threading.Thread(target=lambda: seen.append(active()))
        thread.start()
        thread.join()
    assert seen == [()]


@pytest.mark.parametrize("codes", [(), ("",), (int,), (3,)])
def test_what_to_ignore_must_be_said(codes: tuple[str, ...]) -> None:
    """An ignore without codes, such as the bare decorator, is refused rather than silencing everything."""
    with pytest.raises(UsageError, match="say what to ignore"):
        regcheck.ignore(*codes)


def test_only_classes_are_decorated() -> None:
    """A decorated function would silence nothing, so it is refused."""
    with pytest.raises(UsageError, match="goes on a class"):
        regcheck.ignore("REG202")(print)  # type: ignore[type-var]


def test_a_declaration_knows_where_it_stands() -> None:
    """What a decorator or a block declares carries the file and line it was written at."""
    with regcheck.ignore("REG301"):
        (block,) = active()

    @regcheck.ignore("REG202")
    class Net:
        pass

    lines = Path(__file__).read_text(encoding="utf-8").splitlines()
    for declared, written in ((block, "REG301"), (ignored_by(Net)[0], "REG202")):
        assert declared.place.path == __file__
        assert f'regcheck.ignore("{written}")' in lines[declared.place.line - 1]


@pytest.mark.parametrize(
    ("reason", "require_reason", "expected"), [("why", True, True), ("", False, True), ("", True, False)]
)
def test_what_speaks_is_noted(reason: str, require_reason: bool, expected: bool) -> None:
    """While notes are taken, they name the blocks entered and what silenced a finding, not what lacks a reason."""
    with noted() as notes:
        with regcheck.ignore("REG2", reason=reason):
            assert intended(finding(1), active(), require_reason) is expected
        with regcheck.ignore("REG101", reason=reason):
            assert not intended(finding(1), active(), require_reason)
    assert [each.pattern for each in notes.entered] == ["REG2", "REG101"]
    assert [each.pattern for each in notes.used] == (["REG2"] if expected else [])
    with regcheck.ignore("REG2", reason="why"):
        assert intended(finding(1), active())
    assert len(notes.entered) == 2
