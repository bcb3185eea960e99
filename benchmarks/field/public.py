"""Scan the public revisions of public.toml, and write public.md.

    python -m benchmarks.field.public [--clones FOLDER] [--python EXECUTABLE]

Clones each repository from GitHub that is not in FOLDER yet (as `OWNER+NAME`), and scans a copy of its revision. With
`--python`, that Python also runs the programs of public.toml in such copies, watched by regcheck; its environment has
torch, NumPy, SciPy, scikit-learn, einops, tqdm and Matplotlib. Without it, the page takes the `run` of public.toml.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from collections.abc import Set as AbstractSet
from contextlib import contextmanager
from itertools import groupby
from pathlib import Path
from typing import Any

from regcheck.files.toml import toml_document

from .__main__ import ENVIRONMENTS

LIST = Path(__file__).with_name("public.toml")
PAGE = Path(__file__).with_name("public.md")
SECONDS = 600
PROGRAM = "regcheck_program.py"
HEAD = """# Public revisions

Faults in public projects, at a revision that has them, and what regcheck says there, with all rules, also those that
give advice. `python -m benchmarks.field.public` writes this page, and scans again. Where a model or a function of the
project runs without its data, `public.toml` has a short program that calls it, on random data and random weights, for
`regcheck run`; these results are of {date}, with torch 2.13.0 on CPU. The list holds what was looked up, line by line,
and is no sample.

A scan finds {scanned} of {all} at one of the lines. A run finds {ran} of the {programs} that ran.

| repository | revision | fault | where | outcome | scan | run |
| --- | --- | --- | --- | --- | --- | --- |
"""
RUN_ON = "1 December 2026"


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.field.public", description=__doc__)
    parser.add_argument("--clones", type=Path, default=ENVIRONMENTS / "clones", help="where clones are, or are put")
    parser.add_argument("--python", help="the Python that runs the programs")
    arguments = parser.parse_args()
    document = toml_document(LIST)
    programs = {(each["repository"], each["commit"]): each["text"] for each in document["program"]}
    rows = []
    for key, group in groupby(document["revision"], key=lambda one: (one["repository"], one["commit"])):
        faults = [*group]
        with copy_of(clone_of(key[0], arguments.clones), key[1], {each["file"] for each in faults}) as folder:
            report = reported([sys.executable, "-m", "regcheck", "scan"], ["--no-cache", "."], folder)
            run = watched(programs[key], arguments.python, folder) if arguments.python and key in programs else None
        for revision in faults:
            rows.append((revision, said(report, revision), said(run, revision) if run else revision["run"]))
            print(revision["repository"], revision["kind"], *rows[-1][1:], flush=True)
    runs = [run for *_, run in rows if not run.startswith("not run")]
    head = HEAD.format(
        scanned=sum(scan.startswith("found") for _, scan, _ in rows),
        all=len(rows),
        ran=sum(run.startswith("found") for run in runs),
        programs=len(runs),
        date=RUN_ON,
    )
    PAGE.write_text(head + "".join(row(*each) for each in rows), encoding="utf-8")


def clone_of(repository: str, clones: Path) -> Path:
    """The git directory of a repository, cloned where it is missing."""
    folder = clones / repository.replace("/", "+")
    if not folder.exists():
        subprocess.run(
            ["git", "clone", "--quiet", "--bare", f"https://github.com/{repository}", str(folder)], check=True
        )
    return folder


def watched(program: str, python: str, folder: Path) -> dict[str, Any] | None:
    """The report of a watched run of a program at the root of a revision, or None if it takes too long."""
    (folder / PROGRAM).write_text(program, encoding="utf-8")
    return reported([python, "-m", "regcheck", "run"], [PROGRAM], folder)


@contextmanager
def copy_of(clone: Path, commit: str, faulty: AbstractSet[str]) -> Iterator[Path]:
    """A temporary folder with the Python files of a revision, and the notebooks that have a fault."""
    git = ["git", "--literal-pathspecs", "-C", str(clone)]
    listed = subprocess.run([*git, "ls-tree", "-rz", "--name-only", commit], check=True, capture_output=True, text=True)
    files = [each for each in listed.stdout.split("\0") if each.endswith(".py") or each in faulty]
    with tempfile.TemporaryDirectory() as folder:
        archive = subprocess.run([*git, "archive", commit, "--", *files], check=True, capture_output=True)
        subprocess.run(["tar", "--extract", "--directory", folder], input=archive.stdout, check=True)
        yield Path(folder)


def reported(command: list[str], arguments: list[str], folder: Path) -> dict[str, Any] | None:
    """The report that a command of regcheck writes in a folder, with all rules, or None if it takes too long."""
    file = folder / "regcheck_report.json"
    options = ["--select", "ALL", "--output-format", "json", "--output-file", str(file)]
    path = os.pathsep.join((str(Path(__file__).parents[2] / "src"), str(folder)))
    try:
        subprocess.run(
            [*command, *options, *arguments],
            cwd=folder,
            env={**os.environ, "PYTHONPATH": path},
            capture_output=True,
            timeout=SECONDS,
        )
    except subprocess.TimeoutExpired:
        return None
    report: dict[str, Any] = json.loads(file.read_text(encoding="utf-8"))
    return report


def said(report: dict[str, Any] | None, revision: dict[str, Any]) -> str:
    """What the report says of a fault: found, not checked, or missed. A finding of the fault's own kind comes first."""
    if report is None:
        return f"not finished in {SECONDS} s"
    here = [each for each in report["findings"] if is_at(each, revision)]
    for finding in sorted(here, key=lambda each: each["name"] != revision["kind"]):
        return f"found: {finding['code']}, {finding['severity']}"
    return next(_reasons(report, revision["file"]), "missed")


def is_at(finding: dict[str, Any], revision: dict[str, Any]) -> bool:
    """Whether a finding is at one of the lines of a fault."""
    place = (finding["path"], finding.get("cell"))
    return place == (revision["file"], revision.get("cell")) and finding["line"] in revision["lines"]


def _reasons(report: dict[str, Any], file: str) -> Iterator[str]:
    for entry in report["not_checked"]:
        if file in json.dumps(entry):
            yield f"not checked: {entry['reason']}"


def row(revision: dict[str, Any], scan: str, run: str) -> str:
    repository, commit, file = revision["repository"], revision["commit"], revision["file"]
    cell = f", cell {revision['cell']}" if "cell" in revision else ""
    lines = ", ".join(map(str, revision["lines"]))
    outcome = " ".join(filter(None, (revision.get("report"), revision["outcome"])))
    link = f"[`{commit[:7]}`](https://github.com/{repository}/tree/{commit})"
    return f"| {repository} | {link} | {revision['kind']} | `{file}`{cell}: {lines} | {outcome} | {scan} | {run} |\n"


if __name__ == "__main__":
    main()
