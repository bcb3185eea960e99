"""`regcheck completion SHELL`: print the script that completes verbs, options and their values."""

from __future__ import annotations

import argparse
from collections.abc import Callable, Iterable, Iterator, Sequence

from regcheck.cli.common_options import Parser
from regcheck.cli.main import VERBS, parser_of
from regcheck.cli.printing import show
from regcheck.core.finding import Severity
from regcheck.lazy_dataclass import dataclass
from regcheck.plugins import catalogue


def rule_codes() -> list[str]:
    """The codes of all rules, those of plugins among them."""
    return sorted(rule.code for rule in catalogue())


VALUES: dict[str, Callable[[], Iterable[str]]] = {
    "RULES": rule_codes,
    "CODE|NAME": rule_codes,
    "SEVERITY": lambda: [*(each.value for each in Severity), "never"],
    "DEVICES": lambda: ["auto", "cpu", "cuda"],
}
"""The values of arguments without `choices`, by metavar."""
FILES = ("FILE", "PATH", "REPORT", "TARGET")
"""The metavars of arguments that are files or folders."""


@dataclass(frozen=True)
class Completion:
    """What a shell completes of one argument: `forms` are its spellings, none for a positional argument.

    A flag has no `metavar`. The value is one of `values`, which a list separates by commas, or a file, or free.
    """

    forms: tuple[str, ...]
    help: str
    metavar: str
    values: tuple[str, ...]
    is_file: bool
    is_list: bool
    repeats: bool


@dataclass(frozen=True)
class Verb:
    """A verb with its arguments. The words that follow the first positional one may be those of a `program`."""

    name: str
    help: str
    arguments: tuple[Completion, ...]
    program: bool

    @property
    def options(self) -> list[Completion]:
        return [each for each in self.arguments if each.forms]

    @property
    def forms(self) -> list[str]:
        """The spellings of all options."""
        return [form for each in self.options for form in each.forms]

    @property
    def positional(self) -> Completion | None:
        return next((each for each in self.arguments if not each.forms), None)


def verbs() -> list[Verb]:
    """The verbs, from their parsers."""
    every = []
    for name, help in VERBS.items():
        parser = parser_of(name)
        arguments = tuple(completion_of(action) for action in parser._actions)
        every.append(Verb(name, help, arguments, program=name == "run"))
    return every


def completion_of(action: argparse.Action) -> Completion:
    """The completion of an argument of a parser."""
    metavar = "" if action.nargs == 0 else str(action.metavar or action.dest.upper())
    values = [*(action.choices or VALUES.get(metavar, tuple)())]
    if not values and isinstance(action.default, list):
        values = action.default  # the default is all of them, as that of selftest's modes
    return Completion(
        forms=tuple(action.option_strings),
        help=(action.help or "").partition(" (default: ")[0],
        metavar=metavar,
        values=tuple(map(str, values)),
        is_file=metavar in FILES,
        is_list=metavar in ("RULES", "DEVICES", "MODES"),
        repeats=type(action).__name__ in ("_ExtendAction", "_AppendAction") or action.nargs == "*",
    )


BASH = """\
# Completion of regcheck for bash, printed by `regcheck completion bash`.
_regcheck() {
    local cur=${COMP_WORDS[COMP_CWORD]} prev=${COMP_WORDS[COMP_CWORD-1]} verb=${COMP_WORDS[1]} words= files= i
    COMPREPLY=()
    [[ $cur == = ]] && cur=
    [[ $prev == = ]] && prev=${COMP_WORDS[COMP_CWORD-2]}
    if ((COMP_CWORD == 1)); then
        verb=
        words=@VERBS@
    fi
    case $verb in
@CASES@
    esac
    if [[ $words ]]; then
        local head=${cur%"${cur##*,}"}
        COMPREPLY=($(compgen -P "$head" -W "$words" -- "${cur##*,}"))
    elif [[ $files ]]; then
        compopt -o default 2>/dev/null || COMPREPLY=($(compgen -f -- "$cur"))
    fi
}
complete -F _regcheck regcheck
"""


def bash(every: Sequence[Verb]) -> str:
    """The script for bash."""
    names = quoted(" ".join([*(verb.name for verb in every), "--help", "--version"]))
    return BASH.replace("@VERBS@", names).replace("@CASES@", "\n".join(map(_bash_case, every)))


def _bash_case(verb: Verb) -> str:
    """The case of a verb: the values of the option before the cursor, or else options and positional arguments."""
    forms_of: dict[str, list[str]] = {}
    for each in verb.options:
        if each.metavar:
            forms_of.setdefault(_bash_value(each), []).extend(each.forms)
    lines = [f"        {verb.name})"]
    if verb.program:
        valued = " | ".join(form for forms in forms_of.values() for form in forms)
        lines += [
            "            for ((i = 2; i < COMP_CWORD; i++)); do",
            "                case ${COMP_WORDS[i]} in",
            f"                    {valued}) if [[ ${{COMP_WORDS[i+1]}} == = ]]; then ((i += 2)); else ((i++)); fi ;;",
            "                    -m | [!-]*) files=1 verb= && break ;;",
            "                esac",
            "            done",
        ]
    lines.append("            [[ $verb ]] && case $prev in" if verb.program else "            case $prev in")
    lines += [f"                {' | '.join(forms)}) {value} ;;" for value, forms in forms_of.items()]
    rest = _bash_value(verb.positional) if verb.positional else "files=1" if verb.program else ":"
    forms = quoted(" ".join([*verb.forms, *["-m"] * verb.program]))
    return "\n".join(
        [
            *lines,
            f"                *) if [[ $cur == -* ]]; then words={forms}; else {rest}; fi ;;",
            "            esac ;;",
        ]
    )


def _bash_value(each: Completion) -> str:
    return f"words={quoted(' '.join(each.values))}" if each.values else "files=1" if each.is_file else ":"


ZSH = """\
#compdef regcheck
# Completion of regcheck for zsh, printed by `regcheck completion zsh`.
_regcheck() {
    local -a verbs
    verbs=(@VERBS@)
    if (( CURRENT == 2 )); then
        _describe -t verbs verb verbs
        _arguments '--help[list the verbs]' '--version[print the version]'
        return
    fi
    local verb=$words[2]
    shift words
    (( CURRENT-- ))
    case $verb in
@CASES@
    esac
}
if [[ $funcstack[1] == _regcheck ]]; then _regcheck "$@"; else compdef _regcheck regcheck; fi
"""


def zsh(every: Sequence[Verb]) -> str:
    """The script for zsh."""
    names = "".join(f"\n        {quoted(f'{verb.name}:{verb.help}')}" for verb in every)
    cases = []
    for verb in every:
        specs = [spec for each in verb.arguments for spec in _zsh_specs(each)]
        specs += ["'*:argument:_files'"] if verb.program else []
        before = "_arguments -A '-*'" if verb.program else "_arguments"
        lines = [f"        {verb.name})", f"            {before}", *(f"                {each}" for each in specs)]
        cases.append(" \\\n".join(lines[1:]).join((f"{lines[0]}\n", " ;;")))
    return ZSH.replace("@VERBS@", f"{names}\n    ").replace("@CASES@", "\n".join(cases))


def _zsh_specs(each: Completion) -> Iterator[str]:
    """What `_arguments` of zsh says of one argument, a word for each of its forms."""
    if not each.metavar:
        value = ""
    elif each.is_list:
        value = f":{each.metavar}:_sequence compadd - {' '.join(each.values)}"
    elif each.values:
        value = f":{each.metavar}:({' '.join(each.values)})"
    else:
        value = f":{each.metavar}:{'_files' if each.is_file else ' '}"
    if not each.forms:
        yield quoted(f"{'*' if each.repeats else ''}{value}")
        return
    help = each.help.replace("[", r"\[").replace("]", r"\]").replace(":", r"\:")
    guard = "*" if each.repeats else f"({' '.join(each.forms)})"
    for form in each.forms:
        assign = "=" if each.metavar and form.startswith("--") else ""
        yield quoted(f"{guard}{form}{assign}[{help}]{value}")


def fish(every: Sequence[Verb]) -> str:
    """The script for fish."""
    lines = ["# Completion of regcheck for fish, printed by `regcheck completion fish`.", "complete -c regcheck -f"]
    at_first = "complete -c regcheck -n __fish_use_subcommand"
    lines += [f"{at_first} -a {verb.name} -d {_fish_quoted(verb.help)}" for verb in every]
    lines += [f"{at_first} -l help -d 'list the verbs'", f"{at_first} -l version -d 'print the version'"]
    for verb in every:
        begins = f"complete -c regcheck -n '__fish_seen_subcommand_from {verb.name}'"
        for each in verb.arguments:
            forms = [f"-l {form[2:]}" if form.startswith("--") else f"-s {form[1:]}" for form in each.forms]
            lines.append(" ".join(filter(None, [begins, *forms, _fish_value(each), f"-d {_fish_quoted(each.help)}"])))
        if verb.program:
            lines.append(f"{begins} -F")
    return "\n".join(lines) + "\n"


def _fish_value(each: Completion) -> str:
    if not each.metavar:
        return ""
    words = " ".join(each.values)
    if each.is_list:
        words = f"(__fish_append , {words})"
    required = "-x" if each.forms else ""
    if each.values:
        return f"{required} -a {_fish_quoted(words)}".strip()
    return ("-r -F" if each.forms else "-F") if each.is_file else required


def _fish_quoted(text: str) -> str:
    return "'" + text.replace("\\", "\\\\").replace("'", "\\'") + "'"


def quoted(text: str) -> str:
    """The text in single quotes, for bash and zsh."""
    return "'" + text.replace("'", "'\\''") + "'"


SHELLS: dict[str, Callable[[Sequence[Verb]], str]] = {"bash": bash, "zsh": zsh, "fish": fish}
"""The shells, and the function that writes the script of each."""


def argument_parser() -> Parser:
    """Returns the parser of the verb's arguments."""
    parser = Parser("regcheck completion", "Print the script that completes verbs, options and values in a shell.")
    parser.add_argument("shell", metavar="SHELL", choices=tuple(SHELLS), help=f"one of {', '.join(SHELLS)}")
    return parser


def run(argv: Sequence[str]) -> int:
    """Print the script, and return the exit code."""
    arguments = argument_parser().parse(argv)
    show(SHELLS[arguments.shell](verbs()))
    return 0
