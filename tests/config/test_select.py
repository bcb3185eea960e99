"""The decider: which rules run, and where they are ignored."""

import pytest

from regcheck.config.options import Options
from regcheck.config.select import chosen, ignored_in, ignored_within, ignores
from regcheck.core.errors import UsageError
from regcheck.core.finding import Severity
from regcheck.core.graph import Kind
from regcheck.core.rule import Rule


def rule(code: str, name: str, severity: Severity = Severity.WARNING) -> Rule:
    return Rule(code, name, severity, "", "", "graph", lambda graph: (), None, begins_at=(Kind.DROPOUT,))


RULES = (
    rule("REG101", "dropout-on-output"),
    rule("REG104", "dropout-before-activation", Severity.INFO),
    rule("REG201", "missing-eval", Severity.ERROR),
    rule("REG202", "dropout-ignores-mode", Severity.ERROR),
    rule("ACME101", "acme-rule"),
)


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        ({}, "REG101 REG201 REG202 ACME101"),
        ({"select": "ALL"}, "REG101 REG104 REG201 REG202 ACME101"),
        ({"select": "REG"}, "REG101 REG104 REG201 REG202"),
        ({"select": "REG2"}, "REG201 REG202"),
        ({"select": "REG104"}, "REG104"),
        ({"select": "dropout-before-activation"}, "REG104"),
        ({"select": ("REG101", "ACME")}, "REG101 ACME101"),
        ({"extend_select": "REG104"}, "REG101 REG104 REG201 REG202 ACME101"),
        ({"select": "REG2", "extend_select": "REG101"}, "REG101 REG201 REG202"),
        ({"ignore": "REG2"}, "REG101 ACME101"),
        ({"ignore": "ALL"}, ""),
        ({"ignore": "missing-eval"}, "REG101 REG202 ACME101"),
        ({"select": "REG2", "ignore": "REG202"}, "REG201"),
        ({"select": "REG202", "ignore": "REG2"}, "REG202"),
        ({"select": "REG202", "ignore": "REG202"}, ""),
        ({"select": "REG202", "ignore": "dropout-ignores-mode"}, ""),
        ({"select": "ALL", "ignore": "REG", "extend_select": "REG10"}, "REG101 REG104 ACME101"),
        ({"ignore": "REG1", "extend_select": "REG104"}, "REG104 REG201 REG202 ACME101"),
    ],
    ids=str,
)
def test_the_pattern_that_says_most_decides(options: dict[str, object], expected: str) -> None:
    """The longest matching pattern wins, ignoring wins a tie, and advice is off unless selected."""
    assert " ".join(each.code for each in chosen(RULES, Options.of(options))) == expected


@pytest.mark.parametrize(
    "options",
    [
        {"select": ["REG220"]},
        {"ignore": ["dropout-ignore-mode"]},
        {"extend_select": ["REG20x"]},
        {"per_file_ignores": {"*.py": ["REG2022"]}},
        {"per_module_ignores": {"net.*": ["reg202"]}},
    ],
    ids=str,
)
def test_an_unknown_pattern_is_an_error(options: dict[str, object]) -> None:
    """A pattern that fits no rule is refused, whichever option holds it, with its nearest neighbour."""
    with pytest.raises(UsageError, match=r"unknown rule '.*' \(did you mean '.*'\?\); `regcheck rule` lists them"):
        chosen(RULES, Options.of(options))


@pytest.mark.parametrize(
    ("path", "expected"),
    [
        ("tests/test_net.py", ("REG201",)),
        ("/home/me/project/tests/deep/test_net.py", ("REG201",)),
        ("src/models/squeezenet.py", ("REG102",)),
        ("src/latests/net.py", ()),
        ("net.py", ()),
    ],
)
def test_files_are_ignored_by_glob(path: str, expected: tuple[str, ...]) -> None:
    """A glob is held against the path and each of its tails, never against a part of a folder's name."""
    options = Options(per_file_ignores={"tests/*": ("REG201",), "squeezenet.py": ("REG102",)})
    assert ignored_in(path, options) == expected


@pytest.mark.parametrize(
    ("module", "expected"),
    [("prenet.layers.0", ("REG202",)), ("prenet", ()), ("net.prenet.0", ())],
)
def test_modules_are_ignored_by_glob(module: str, expected: tuple[str, ...]) -> None:
    """A glob is held against the whole dotted path."""
    assert ignored_within(module, Options(per_module_ignores={"prenet.*": ("REG202",)})) == expected


@pytest.mark.parametrize(
    ("patterns", "expected"),
    [(["REG202"], True), (["REG2"], True), (["dropout-ignores-mode"], True), (["ALL"], True), (["REG203"], False),
     ([""], False), ([], False), (["G2"], False)],
)  # fmt: skip
def test_ignoring_takes_codes_names_and_prefixes(patterns: list[str], expected: bool) -> None:
    """A pattern fits a rule by its code, its name or the beginning of its code, and by nothing else."""
    assert ignores("REG202", patterns, "dropout-ignores-mode") is expected
