"""Runs one tool on cases, in the tool's own environment: a task per line of stdin, a result per line of stdout.

Each case runs in a forked process, which shares the tool's imports and nothing else, and draws the same random numbers
each time. A result has the tool's messages, its processor time without those imports, and the error of a tool that
raised or ran out of time.
"""

from __future__ import annotations

import contextlib
import importlib
import json
import operator
import os
import random
import signal
import sys
import traceback
from types import ModuleType
from typing import Any

SECONDS = 90


def examined(tool: ModuleType, task: dict[str, Any]) -> dict[str, Any]:
    reading, writing = os.pipe()
    process = os.fork()
    if process == 0:
        os.close(reading)
        _examine(tool, task, writing)
    os.close(writing)
    with os.fdopen(reading) as pipe:
        text = pipe.read()
    _, status, usage = os.wait4(process, 0)
    result: dict[str, Any] = json.loads(text) if text else {"messages": [], "error": f"ended with status {status}"}
    return {**result, "seconds": round(usage.ru_utime + usage.ru_stime, 2)}


def _examine(tool: ModuleType, task: dict[str, Any], pipe: int) -> None:
    """Write the result to the pipe and end the process."""
    os.setpgrp()
    signal.alarm(SECONDS)
    os.chdir(task["folder"])
    sys.path.insert(0, task["folder"])
    sys.argv[:] = ["main.py"]
    _seed()
    silence = os.open(os.devnull, os.O_RDWR)
    for stream in (0, 1, 2):
        os.dup2(silence, stream)
    result: dict[str, Any] = {"messages": []}
    try:
        result["messages"] = tool.examine(task)
    except BaseException as error:
        result["error"] = "".join(traceback.format_exception_only(error)).strip()[-300:]
    with contextlib.suppress(OSError), os.fdopen(pipe, "w") as file:
        json.dump(result, file)
    os._exit(0)


def _seed() -> None:
    random.seed(0)
    for module, function in (("numpy", "random.seed"), ("torch", "manual_seed")):
        if module in sys.modules:
            operator.attrgetter(function)(sys.modules[module])(0)


def main() -> None:
    tool = importlib.import_module(f"benchmarks.field.tools.{sys.argv[1]}")
    tool.prepare()
    for line in sys.stdin:
        print(json.dumps(examined(tool, json.loads(line))), flush=True)


if __name__ == "__main__":
    main()
