"""Declare findings to be intended: on a class, around a block."""

import threading
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

import regcheck
from regcheck.core.errors import UsageError
from regcheck.core.suppressions import BLOCKS, CodeSuppression
from regcheck.suppression.comments import comments_in
from regcheck.suppression.declare import SuppressionLog, class_declarations, log_used, open_log


def said(declared: tuple[CodeSuppression, ...]) -> tuple[tuple[str, str], ...]:
    return tuple((each.pattern, each.reason) for each in declared)


@given(st.text(), st.text())
def test_any_text_can_be_read(before: str, after: str) -> None:
    """No source, however odd, stops the reader."""
    text = f"{before}# regcheck: ignore[REG202] why{after}"
    assert all(each.pattern and "]" not in each.pattern for each in comments_in("net.py", text).all)


def test_a_class_declares_for_itself_and_its_subclasses() -> None:
    """The decorator's ignores are those of the class, of its instances and of derived classes; not of others."""

    @regcheck.ignore("REG202", reason="Monte-Carlo dropout")
    class Prenet:
        pass

    @regcheck.ignore("REG203", "REG101")
    class Louder(Prenet):
        pass

    assert (
        said(class_declarations(Prenet)) == said(class_declarations(Prenet())) == (("REG202", "Monte-Carlo dropout"),)
    )
    assert said(class_declarations(Louder())) == (("REG203", ""), ("REG101", ""), ("REG202", "Monte-Carlo dropout"))
    assert class_declarations(object()) == ()


def test_decorators_add_up() -> None:
    """Two decorators on one class ignore what both name."""

    @regcheck.ignore("REG202", reason="first")
    @regcheck.ignore("REG203", reason="second")
    class Net:
        pass

    assert said(class_declarations(Net)) == (("REG202", "first"), ("REG203", "second"))


def test_a_block_declares_while_it_runs() -> None:
    """Inside `with regcheck.ignore(…)` its ignores are active, nested ones add up, and all end with their block."""
    outer = regcheck.ignore("REG301", reason="as in the paper")
    with outer:
        with outer, regcheck.ignore("REG101"):
            assert said(BLOCKS.get()) == (("REG301", "as in the paper"),) * 2 + (("REG101", ""),)
        assert said(BLOCKS.get()) == (("REG301", "as in the paper"),)
    with pytest.raises(ZeroDivisionError), regcheck.ignore("REG101"):
        _ = 1 / 0
    assert BLOCKS.get() == ()


def test_a_block_is_the_callers_own() -> None:
    """Another thread's audit is not silenced by this thread's block."""
    seen: list[object] = []
    with regcheck.ignore("REG301"):
        thread = threading.Thread(target=lambda: seen.append(BLOCKS.get()))
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
        (block,) = BLOCKS.get()

    @regcheck.ignore("REG202")
    class Net:
        pass

    lines = Path(__file__).read_text(encoding="utf-8").splitlines()
    for declared, written in ((block, "REG301"), (class_declarations(Net)[0], "REG202")):
        assert declared.place.path == __file__
        assert f'regcheck.ignore("{written}")' in lines[declared.place.line - 1]


def test_an_open_log_holds_what_code_enters_and_what_suppresses_a_finding() -> None:
    """A log names the blocks entered and the declarations in use, from any thread, as long as it is open."""
    with open_log(SuppressionLog()) as log:
        with regcheck.ignore("REG2", reason="why"):
            log_used(BLOCKS.get())
        thread = threading.Thread(target=regcheck.ignore("REG101").__enter__)
        thread.start()
        thread.join()
    assert [each.pattern for each in log.entered] == ["REG2", "REG101"]
    assert [each.pattern for each in log.used] == ["REG2"]
    with regcheck.ignore("REG301"):
        log_used(BLOCKS.get())
    assert len(log.entered) == 2
    assert len(log.used) == 1
