"""Naive baseline: words in the source, as a search over a repository finds them."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

REQUIREMENTS: tuple[str, ...] = ()
WAY = "source"
LINES = {
    r"\bF\.\w*dropout\w*\((?!.*training)": "dropout-ignores-mode",
    r"dropout_p=(?!.*self\.training)": "dropout-ignores-mode",
    r"^\s+\w+ = nn\.Dropout\w*\(.*\)\(": "dropout-ignores-mode",
    r"return \S*[dD]rop\w*\(": "dropout-on-output",
    r"drop\w*\(.*conv|conv.*\n.*drop": "elementwise-dropout-after-conv",
    r"norm\w*\(.*drop": "dropout-before-batchnorm",
    r"^    .*(= |\+ |\()(torch\.(rand|bern)\w*|np\.random\.\w+|F\.gumbel\w*)\(": "stochastic-prediction",
    r"^\s*self\.\w+ = \[.*nn\.": "eval-does-not-reach",
    r"track_running_stats=False": "batch-dependent-prediction",
    r"\.(eval|train)$": "mode-call-without-effect",
    r"\b(Adam|NAdam|RAdam|Adamax|Adagrad|RMSprop|Adadelta)\(.*weight_decay": "coupled-l2-adaptive",
    r"(\.data|\.item\(\)|\.detach\(\)).*(pow|abs|norm)|(pow|abs|norm).*(\.data|\.item\(\))": "penalty-without-gradient",
    r"[dD]ropout\w*\((p=)?(0\.[89]|1\.0)": "extreme-rate",
    r"nn\.(LSTM|GRU|RNN)\((?!.*num_layers).*dropout=": "rnn-dropout-without-effect",
    r"^\s*(F\.\w*dropout\w*|self\.\w*drop\w*)\(": "discarded-dropout",
}
"""A pattern of a line, and the kind that it suggests."""


def prepare() -> None:
    """Nothing to import."""


def examine(task: dict[str, Any]) -> list[dict[str, Any]]:
    """The lines that match, draws within classes only, and `no_grad` in files without `eval()`."""
    found = []
    for file in sorted(Path().glob("*.py")):
        lines = file.read_text(encoding="utf-8").splitlines()
        in_class = False
        for number, line in enumerate(lines, 1):
            in_class = re.match(r"class |\s", line) is not None and (in_class or line.startswith("class "))
            for pattern, kind in LINES.items():
                if re.search(pattern, line) and (in_class or kind != "stochastic-prediction"):
                    found.append({"file": file.name, "line": number, "kind": kind, "text": line.strip()})
            if re.search(r"no_grad\(\)|inference_mode\(\)", line) and not any(".eval()" in other for other in lines):
                found.append({"file": file.name, "line": number, "kind": "missing-eval", "text": line.strip()})
    return found
