"""Shell completion: the scripts, run by the shells themselves."""

from __future__ import annotations

import os
import pty
import select
import shutil
import subprocess
import sys
import time
from pathlib import Path

import pytest

from regcheck.cli.completion import FILES, SHELLS, VALUES, rule_codes, verbs
from regcheck.cli.main import main

FREE = {"N", "GB", "ADDRESS", "GLOBS", "REASON", "SECONDS", "SEED", "INPUT", "NAME"}
"""The metavars whose values no shell can list."""

CASES = [
    ("regcheck s", {"scan", "selftest", "server"}),
    ("regcheck --v", {"--version"}),
    ("regcheck scan --output-f", {"--output-format", "--output-file"}),
    ("regcheck audit net.py:Net --strict --stat", {"--statistics"}),
    ("regcheck scan --output-format gi", {"github", "gitlab"}),
    ("regcheck selftest --output-format ", {"full", "json"}),
    ("regcheck scan --fail-on n", {"never"}),
    ("regcheck run --select REG101,REG30", {f"REG101,{code}" for code in rule_codes() if code[:5] == "REG30"}),
    ("regcheck rule REG40", {code for code in rule_codes() if code[:5] == "REG40"}),
    ("regcheck scan ne", {"net.py"}),
    ("regcheck scan --html ne", {"net.py"}),
    ("regcheck audit --seed ne", set()),
    ("regcheck run --html out.html --verb", {"--verbose"}),
    ("regcheck run net.py --verb", set()),
    ("regcheck completion ", {*SHELLS}),
]
"""Command lines up to the cursor, and the words that complete the last one."""


def installed(shell: str) -> pytest.MarkDecorator:
    return pytest.mark.skipif(shutil.which(shell) is None, reason=f"{shell} is not installed")


@pytest.fixture
def folder(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> Path:
    """A folder with a file to complete, and the script of each shell."""
    (tmp_path / "net.py").write_text("")
    for shell in SHELLS:
        assert main(["completion", shell]) == 0
        (tmp_path / f"regcheck.{shell}").write_text(capsys.readouterr().out, encoding="utf-8")
    return tmp_path


def test_scripts_have_every_option_and_know_every_value(folder: Path) -> None:
    """Each option of each parser is in each script, and each kind of value is listed, a file, or known to be free."""
    for verb in verbs():
        assert {each.metavar for each in verb.arguments if not each.values} <= {"", *FREE, *FILES}
        for form in verb.forms:
            assert form in (folder / "regcheck.bash").read_text(encoding="utf-8")
            assert form in (folder / "regcheck.zsh").read_text(encoding="utf-8")
            assert f" {form.lstrip('-')} " in (folder / "regcheck.fish").read_text(encoding="utf-8")
    assert {each.metavar for verb in verbs() for each in verb.arguments} >= {*VALUES, *FILES}, "some are not in use"


@installed("bash")
def test_bash_completes(folder: Path) -> None:
    """Bash's function offers these words, also after `--option=`, which bash splits into three words."""
    asked = [line.replace("--fail-on ", "--fail-on = ") for line, _ in CASES]
    script = "source regcheck.bash\n" + "".join(
        f"COMP_WORDS=({line}{quote}) COMP_CWORD=$((${{#COMP_WORDS[@]}}-1)); _regcheck; echo ${{COMPREPLY[*]}}\n"
        for line in asked
        for quote in (" ''" if line.endswith(" ") else "",)
    )
    done = subprocess.run(["bash", "-c", script], cwd=folder, capture_output=True, text=True, check=True)
    assert done.stderr == ""
    assert [set(line.split()) for line in done.stdout.splitlines()] == [words for _, words in CASES]


@installed("bash")
@pytest.mark.skipif(sys.platform == "win32", reason="there are no pseudo-terminals")
def test_an_interactive_bash_completes(folder: Path) -> None:
    """A tab in a terminal completes an option, its value and a file name."""
    process, terminal = pty.fork()
    if not process:
        os.chdir(folder)
        os.environ["TERM"] = "dumb"
        os.execvp("bash", ["bash", "--norc", "--noprofile", "-i"])
    os.write(terminal, b"source regcheck.bash; PS1=; bind 'set bell-style none'\n")
    os.write(terminal, b"echo $((40+2)); regcheck() { printf '<%s>' \"$@\"; }\n")
    shown = read_until(terminal, "\n42")
    os.write(terminal, b"regcheck scan --output-for\tconc\tne\t\nexit\n")
    shown = read_until(terminal, "<scan><--output-format><concise><net.py>")
    os.close(terminal)
    os.waitpid(process, 0)
    assert "<scan><--output-format><concise><net.py>" in shown


def read_until(terminal: int, text: str) -> str:
    """What the terminal shows up to a text, for at most 20 seconds."""
    shown, end = "", time.monotonic() + 20
    while text not in shown and time.monotonic() < end:
        if select.select([terminal], [], [], 0.1)[0]:
            try:
                shown += os.read(terminal, 4096).decode(errors="replace")
            except OSError:  # the shell ended
                break
    return shown


@installed("fish")
def test_fish_completes(folder: Path) -> None:
    """Fish offers these words; it reads the words after a program as those of `regcheck run`, too."""
    for line, words in CASES:
        if "run net.py" not in line:
            command = f"source regcheck.fish; complete -C '{line}'"
            done = subprocess.run(["fish", "--no-config", "-c", command], cwd=folder, capture_output=True, text=True)
            assert {each.split("\t")[0] for each in done.stdout.splitlines()} == words, line


@installed("zsh")
def test_zsh_reads_the_script(folder: Path) -> None:
    """Zsh defines the function and registers it as the completion of `regcheck`."""
    script = "autoload -Uz compinit; compinit -u -D; source regcheck.zsh; print $_comps[regcheck]"
    done = subprocess.run(["zsh", "-f", "-c", script], cwd=folder, capture_output=True, text=True)
    assert (done.stdout.strip(), done.stderr) == ("_regcheck", "")
