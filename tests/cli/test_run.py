"""`regcheck run`: a program runs as Python runs it, and what its models and optimizers did is told afterwards."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

import pytest

WORLD = '''"""A program that tells where it is."""
import os, sys
print(__name__, __doc__, __file__, __package__, __spec__ and __spec__.name, type(__loader__).__name__)
print(sys.argv, sys.path, os.getcwd(), sys.modules["__main__"].__dict__ is globals(), sys.stdin.read())
x: int = 1
print(__annotations__)
'''

FAULTY = """
import torch
from torch import nn

class Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.hidden, self.drop, self.head = nn.Linear(8, 16), nn.Dropout(0.5), nn.Linear(16, 2)

    def forward(self, x):
        return self.head(self.drop(self.hidden(x)))

def predict(net):
    with torch.no_grad():
        return net(torch.ones(4, 8))
"""
"""A model, and a prediction that forgets `eval()`."""


RAISED = ("ValueError", "SyntaxError", "KeyboardInterrupt", "ZeroDivisionError", "UsageError")


def python(folder: Path, *words: str, **options: str) -> subprocess.CompletedProcess[str]:
    return started([sys.executable, *words], folder, **options)


def run(folder: Path, *words: str, **options: str) -> subprocess.CompletedProcess[str]:
    return started([sys.executable, "-m", "regcheck", "run", *words], folder, **options)


def started(command: Sequence[str], folder: Path, **options: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(command, cwd=folder, capture_output=True, text=True, timeout=120, input="in", **options)


def write(file: Path, text: str) -> Path:
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(text, encoding="utf-8")
    return file


@pytest.mark.parametrize(
    "words",
    [
        ("world.py",),
        ("world.py", "-m", "--select", "x", "--", "-"),
        ("./folder/world.py", "--help"),
        ("link.py",),
        ("-m", "package.world", "--strict"),
        ("-m", "package", "a"),
    ],
    ids=" ".join,
)
def test_a_program_finds_the_world_as_python_shows_it(tmp_path: Path, words: tuple[str, ...]) -> None:
    """Its names, arguments, path, folder and input are those that Python gives it."""
    for name in ("world.py", "folder/world.py", "package/world.py", "package/__main__.py"):
        write(tmp_path / name, WORLD)
    write(tmp_path / "package" / "__init__.py", "")
    (tmp_path / "link.py").symlink_to(Path("folder", "world.py"))
    expected, found = python(tmp_path, *words), run(tmp_path, *words)
    assert expected.returncode == 0, expected.stderr
    assert found.stdout == expected.stdout


@pytest.mark.parametrize(
    "text",
    [
        "",
        "import sys; sys.exit()",
        "import sys; sys.exit(7)",
        "raise SystemExit('no data')",
        "print('x'); raise ValueError('bad') from KeyError('worse')",
        "def f(: pass",
        "import sys; sys.excepthook = lambda *error: print('hook', error[0].__name__, error[2].tb_lineno)\n1 / 0",
        "import os; os.chdir('..'); os._exit(5)",
        "import atexit; atexit.register(print, 'bye'); print('hello')",
        "raise KeyboardInterrupt",
        "import regcheck; regcheck.watch({'colour': 1})",
    ],
)
def test_a_program_ends_as_under_python(tmp_path: Path, text: str) -> None:
    """Its exit status, its output and its traceback are the same; what regcheck has to say comes after it."""
    write(tmp_path / "program.py", text)
    expected, found = python(tmp_path, "program.py"), run(tmp_path, "program.py")
    assert (found.returncode, found.stdout) == (expected.returncode, expected.stdout)
    if "_exit" not in text:
        said = found.stderr.removeprefix(expected.stderr)
        assert said.startswith("not checked: program.py: no model ran"), found.stderr
        raised = any(each in expected.stdout + expected.stderr for each in RAISED)
        assert ("what it would have run after that is missing" in said) == raised


def test_what_never_imports_torch_stays_light(tmp_path: Path) -> None:
    """Neither torch nor the rest of regcheck that needs it is loaded, and the report says that no model ran."""
    write(tmp_path / "program.py", "import atexit, sys; atexit.register(lambda: print('torch' in sys.modules))")
    done = run(tmp_path, "--output-format", "json", "--output-file", "report.json", "program.py")
    assert (done.returncode, done.stdout, done.stderr) == (0, "False\n", "")
    (missed,) = json.loads((tmp_path / "report.json").read_text(encoding="utf-8"))["not_checked"]
    assert (missed["subject"], missed["reason"]) == ("program.py", "no model ran")
    assert run(tmp_path, "--strict", "program.py").returncode == 3


def test_findings_are_told_after_the_program(tmp_path: Path) -> None:
    """They go to standard error, the exit code is 1, and the program's own file counts whatever it is called."""
    write(tmp_path / "test_net.py", FAULTY + "predict(Net())\nprint('done')\n")
    done = run(tmp_path, "test_net.py")
    assert (done.returncode, done.stdout) == (1, "done\n")
    line = FAULTY.split("\n").index("        return net(torch.ones(4, 8))") + 1
    assert done.stderr.startswith(f"test_net.py:{line}:16 error REG201 missing-eval  Net\n"), done.stderr
    assert "confirmed on cpu" in done.stderr and "1 finding" in done.stderr


def test_a_block_speaks_for_what_happens_in_it(tmp_path: Path) -> None:
    """An ignore in the program silences the calls in it, and one that nothing is found in is told as advice."""
    block = "\nimport regcheck\nwith regcheck.ignore({!r}, reason='why'):\n    predict(Net()){}\n"
    write(tmp_path / "program.py", FAULTY + block.format("REG201", "") + block.format("REG301", ""))
    done = run(tmp_path, "--output-format", "json", "--output-file", "report.json", "program.py")
    found = json.loads((tmp_path / "report.json").read_text(encoding="utf-8"))["findings"]
    lines = (tmp_path / "program.py").read_text(encoding="utf-8").splitlines()
    assert done.returncode == 1, done.stderr
    assert [(each["code"], each["severity"]) for each in found] == [("REG201", "error"), ("REG900", "info")]
    assert "REG301" in lines[found[1]["line"] - 1]


def test_a_budget_that_is_used_up_names_the_option(tmp_path: Path) -> None:
    """What there was no time for is told with the option of the command line that gives more of it."""
    write(tmp_path / "program.py", f"{FAULTY}\npredict(Net())\n")
    assert "its budget of 0 s; raise `--budget`" in run(tmp_path, "--budget", "0", "program.py").stderr


def test_options_stand_before_the_program(tmp_path: Path) -> None:
    """They are those of `audit`, and files that they name are looked for where regcheck was started."""
    write(tmp_path / "there" / "x", "")
    write(tmp_path / "program.py", FAULTY + "import os, sys\nos.chdir('there')\npredict(Net())\nprint(sys.argv)")
    options = ("--fail-on=never", "--no-confirm", "--budget", "1.5", "--output-file", "out.json", "--output-format")
    done = run(tmp_path, *options, "json", "program.py", "--fail-on", "error")
    assert (done.returncode, done.stdout, done.stderr) == (0, "['program.py', '--fail-on', 'error']\n", "")
    (finding,) = json.loads((tmp_path / "out.json").read_text(encoding="utf-8"))["findings"]
    assert (finding["code"], finding["path"]) == ("REG201", "program.py")
    assert finding["evidence"]["verdict"] == "unmeasured"


def test_a_failing_program_keeps_its_code_and_gets_its_report(tmp_path: Path) -> None:
    """What was seen is told although it raised, and the wrappers that watched are not in its traceback."""
    text = FAULTY + "import sys\npredict(Net())\ntry:\n    Net()(torch.ones(3))\nexcept RuntimeError as error:\n"
    write(tmp_path / "program.py", text + "    raise KeyError('x') from error\n")
    expected, found = python(tmp_path, "program.py"), run(tmp_path, "program.py")
    assert found.returncode == expected.returncode == 1
    frames = [
        [line for line in each.stderr.splitlines() if line.startswith("  File") and "program.py" in line]
        for each in (expected, found)
    ]
    assert frames[0] == frames[1] != []
    assert "KeyError: 'x'\n" in found.stderr and "REG201" in found.stderr and "watcher" not in found.stderr
    write(tmp_path / "program.py", FAULTY + "import sys\npredict(Net())\nsys.exit(42)")
    done = run(tmp_path, "--output-file", "no/such/folder/x", "program.py")
    assert done.returncode == 42 and "regcheck: error: --output-file" in done.stderr
    done = run(tmp_path, "--device", "nowhere", "program.py")
    assert done.returncode == 42 and "regcheck: error: device 'nowhere' cannot be used" in done.stderr


def test_processes_and_threads_of_a_program(tmp_path: Path) -> None:
    """Spawned and forked processes run untouched; threads are waited for, idle ones of an executor are not."""
    text = f"""{FAULTY}
import concurrent.futures, multiprocessing, os, sys, threading, time

def child(number):
    return number + 1, sys.argv, __name__

def late(net):
    time.sleep(0.5)
    predict(net)

if __name__ == "__main__":
    with multiprocessing.get_context("spawn").Pool(1) as pool:
        print(pool.map(child, [1]), flush=True)
    if hasattr(os, "fork"):
        forked = os.fork()
        if not forked:
            predict(Net())
            sys.exit(3)
        print(os.waitstatus_to_exitcode(os.waitpid(forked, 0)[1]), flush=True)
    executor = concurrent.futures.ThreadPoolExecutor(1)
    executor.submit(print, "idle").result()
    threading.Thread(target=late, args=(Net(),)).start()
"""
    write(tmp_path / "program.py", text)
    expected, found = python(tmp_path, "program.py", "a"), run(tmp_path, "program.py", "a")
    assert expected.returncode == 0 and found.stdout == expected.stdout
    assert found.returncode == 1 and found.stderr.count("REG201") == 1, found.stderr


@pytest.mark.skipif(sys.platform == "win32", reason="Windows has no such signal to send")
def test_an_interrupt_is_reported_and_ends_the_program_as_ever(tmp_path: Path) -> None:
    """After Ctrl-C what was seen is told, and the process ends by that signal as a shell expects."""
    write(tmp_path / "program.py", FAULTY + "import time\npredict(Net())\nprint('ready', flush=True)\ntime.sleep(100)")
    command = [sys.executable, "-m", "regcheck", "run", "--no-confirm", "program.py"]
    before = signal.signal(signal.SIGINT, signal.default_int_handler)  # what is run in the background ignores Ctrl-C
    try:
        process = subprocess.Popen(command, cwd=tmp_path, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    finally:
        signal.signal(signal.SIGINT, before)
    assert process.stdout is not None
    assert process.stdout.readline() == "ready\n"
    process.send_signal(signal.SIGINT)
    _, said = process.communicate(timeout=120)
    assert process.returncode == -signal.SIGINT
    assert (
        said.count("KeyboardInterrupt\n") == 1 and "REG201" in said and said.index("Traceback") < said.index("REG201")
    )


@pytest.mark.parametrize(
    ("words", "said"),
    [
        ((), "name a program"),
        (("-m",), "name a program"),
        (("--select", "REG201"), "name a program"),
        (("nothing.py",), "there is no file 'nothing.py'"),
        (("package",), f"there is no file 'package'; name {os.path.join('package', '__main__.py')}"),
        (
            ("-m", "nothing.at.all"),
            "-m nothing.at.all: cannot be found: ModuleNotFoundError: No module named 'nothing'",
        ),
        (("-m", "hollow"), "-m hollow: there is no such module"),
        (("--selct", "REG201", "program.py"), "unknown option '--selct' (did you mean '--select'?)"),
        (("--select", "REG999", "program.py"), "REG999"),
        (("--budget", "soon", "program.py"), "--budget takes a number of seconds"),
        (("--config", "none.toml", "program.py"), "none.toml: cannot be read"),
    ],
)
def test_wrong_usage_is_told_before_anything_runs(tmp_path: Path, words: tuple[str, ...], said: str) -> None:
    """The exit code is 2, one line says what is wrong, and the program has not begun."""
    write(tmp_path / "program.py", "print('ran')")
    write(tmp_path / "package" / "__main__.py", "print('ran')")
    write(tmp_path / "hollow" / "__init__.py", "")
    done = run(tmp_path, *words)
    assert (done.returncode, done.stdout) == (2, "")
    assert said in done.stderr and done.stderr.startswith("regcheck: error: ") and done.stderr.count("\n") == 1


def notebook(*cells: str) -> str:
    """A notebook with a title and these code cells."""
    rows = [{"cell_type": "code", "metadata": {}, "outputs": [], "execution_count": None, "source": c} for c in cells]
    title = {"cell_type": "markdown", "metadata": {}, "source": "# Tides"}
    return json.dumps({"cells": [title, *rows], "metadata": {}, "nbformat": 4, "nbformat_minor": 5})


def test_the_cells_of_a_notebook_run_in_order(tmp_path: Path) -> None:
    """They share their names, run in the notebook's folder, and show the value of a last expression as Jupyter does."""
    cells = (
        "%matplotlib inline\nimport os\nfrom __future__ import annotations\ndef area(x: Undefined): return x * x;",
        "os.path.basename(os.getcwd())\ndisplay('shown', get_ipython())\n%time area(3)",
        "area(4)\n\n",
        "area(5);",
        "print(__name__, '__file__' in globals())\nif True:\n    area(6)",
        "# nothing",
    )
    write(tmp_path / "there" / "tides.ipynb", notebook(*cells))
    done = run(tmp_path, "there/tides.ipynb")
    assert (done.returncode, done.stdout) == (0, "shown None\n16\n__main__ False\n"), done.stderr
    assert done.stderr.startswith("not checked: there/tides.ipynb: no model ran")


def test_a_notebook_names_positions_in_its_cells(tmp_path: Path) -> None:
    """A finding, an exception and a line that only IPython runs are placed by cell and line, in each format."""
    cells = (
        FAULTY,
        "!python prepare.py",
        "net = Net()\n\n%time predict(net)",
        "def mean(x):\n    return 1 / 0\nmean(1)",
    )
    write(tmp_path / "test_tides.ipynb", notebook(*cells))
    done = run(tmp_path, "--output-format", "json", "--output-file", "report.json", "test_tides.ipynb")
    report = json.loads((tmp_path / "report.json").read_text(encoding="utf-8"))
    (found,), (missed, cut_short) = report["findings"], report["not_checked"]
    assert cut_short["reason"].startswith("it raised ZeroDivisionError")
    line = FAULTY.split("\n").index("        return net(torch.ones(4, 8))") + 1
    assert (found["code"], found["path"], found["cell"], found["line"]) == ("REG201", "test_tides.ipynb", 2, line)
    assert found["evidence"]["verdict"] == "confirmed"
    assert "cell 3, line 1 (`!python prepare.py`)" in missed["reason"]
    shown = [each for each in done.stderr.splitlines() if each.startswith("  File")]
    file = tmp_path / "test_tides.ipynb"
    assert done.returncode == 1
    assert shown == [f'  File "{file}: cell 5", line {at}' for at in ("3, in <module>", "2, in mean")]
    assert "    return 1 / 0\n" in done.stderr and done.stderr.endswith("ZeroDivisionError: division by zero\n")


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("{", "not a notebook"),
        (notebook("x = 1", "x = ("), "syntax error in cell 3, line 1"),
        (notebook(), "there is no Python code in this notebook"),
    ],
)
def test_a_notebook_that_cannot_run_is_wrong_usage(tmp_path: Path, text: str, said: str) -> None:
    """A file that is no notebook of Python code runs in no part, and the message says why."""
    write(tmp_path / "tides.ipynb", text)
    done = run(tmp_path, "tides.ipynb")
    assert (done.returncode, done.stdout) == (2, "")
    assert said in done.stderr and "Traceback" not in done.stderr
