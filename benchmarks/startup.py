"""Time what must be fast: the start of the process, the list of rules, scans without torch, sessions without a model.

    python benchmarks/startup.py

Prints the best of several runs in seconds, beside the same Python doing nothing. The sessions write no bytecode, as in
a fresh environment: that of pytest is then missing.
"""

from __future__ import annotations

import subprocess
import sys
import tempfile
import time
from importlib.util import find_spec
from pathlib import Path

QUICKSTART = Path(__file__).parent.parent / "fixtures" / "projects" / "quickstart"
SMALL = """\
from torch import nn


class Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.layer, self.drop = nn.Linear(3, 4), nn.Dropout(0.2)

    def forward(self, x):
        return self.drop(self.layer(x)).relu()
"""
TESTS = {"test_nothing.py": "def test(): pass\n", "test_torch.py": "import torch\ndef test(): pass\n"}
TORCH_BLOCKED = "import sys; sys.modules['torch'] = None; from regcheck.cli.main import main; main(sys.argv[1:])"


def seconds(*argv: str, runs: int = 7) -> float:
    """Returns the best wall time of a Python process with these arguments."""
    times = []
    for _ in range(runs):
        start = time.perf_counter()
        subprocess.run([sys.executable, *argv], capture_output=True, check=False)
        times.append(time.perf_counter() - start)
    return min(times)


def main() -> None:
    """Print a table of times."""
    rows = [
        ("python, doing nothing", seconds("-c", "pass")),
        ("import regcheck", seconds("-c", "import regcheck")),
        ("regcheck rule", seconds("-c", TORCH_BLOCKED, "rule")),
        ("regcheck scan quickstart", seconds("-c", TORCH_BLOCKED, "scan", str(QUICKSTART))),
        (
            "regcheck scan quickstart, concise",
            seconds("-c", TORCH_BLOCKED, "scan", str(QUICKSTART), "--output-format=concise"),
        ),
    ]
    with tempfile.TemporaryDirectory() as folder:
        small = Path(folder, "net.py")
        small.write_text(SMALL, encoding="utf-8")
        rows.append(
            ("regcheck scan --no-cache, ten lines", seconds("-m", "regcheck", "scan", "--no-cache", str(small)))
        )
        for name, test in TESTS.items():
            file = Path(folder, name)
            file.write_text(test, encoding="utf-8")
            for flag in ("-q", "--regcheck"):
                session = seconds(
                    "-B", "-m", "pytest", "-p", "no:cacheprovider", f"--rootdir={folder}", flag, str(file)
                )
                rows.append((f"pytest {flag} {name}", session))
    torch = find_spec("torch")
    if torch and torch.origin:
        nn = str(Path(torch.origin).parent / "nn")
        rows.append(("regcheck scan torch/nn", seconds("-c", TORCH_BLOCKED, "scan", nn, runs=3)))
    for name, best in rows:
        print(f"{best:7.3f} s  {name}")


if __name__ == "__main__":
    main()
