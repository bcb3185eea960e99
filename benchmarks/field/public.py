"""Scan the public revisions of public.toml, and write public.md.

    python -m benchmarks.field.public [--clones FOLDER]

Clones each repository from GitHub that is not in FOLDER yet (as `OWNER+NAME`), and scans a copy of its revision.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from itertools import groupby
from pathlib import Path
from typing import Any

from regcheck.files.toml import toml_document

from .__main__ import ENVIRONMENTS

LIST = Path(__file__).with_name("public.toml")
PAGE = Path(__file__).with_name("public.md")
SECONDS = 600
HEAD = """# Public revisions

Faults in public projects, at a revision that has them, and what `regcheck scan` says there, with rules at their
default and dropout-ignores-mode also where it is advice. `python -m benchmarks.field.public` writes this page. A live
door needs each project's environment and data, so it is not repeated; docs/field-notes.md tells where one ran.
The list holds what was looked up, line by line, and is no sample.

{found} of {all} are found at one of the lines.

| repository | revision | fault | where | outcome | scan |
| --- | --- | --- | --- | --- | --- |
"""


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.field.public", description=__doc__)
    parser.add_argument("--clones", type=Path, default=ENVIRONMENTS / "clones", help="where clones are, or are put")
    clones = parser.parse_args().clones
    rows = []
    revisions = toml_document(LIST)["revision"]
    for (repository, commit), group in groupby(revisions, key=lambda one: (one["repository"], one["commit"])):
        report = scanned(clone_of(repository, clones), commit)
        for revision in group:
            rows.append((revision, said(report, revision)))
            print(repository, revision["kind"], rows[-1][1], flush=True)
    table = "".join(row(revision, result) for revision, result in rows)
    found = sum(result.startswith("found") for _, result in rows)
    PAGE.write_text(HEAD.format(found=found, all=len(rows)) + table, encoding="utf-8")


def clone_of(repository: str, clones: Path) -> Path:
    """The git directory of a repository, cloned where it is missing."""
    folder = clones / repository.replace("/", "+")
    if not folder.exists():
        subprocess.run(
            ["git", "clone", "--quiet", "--bare", f"https://github.com/{repository}", str(folder)], check=True
        )
    return folder


def scanned(clone: Path, commit: str) -> dict[str, Any] | None:
    """The report of a scan of all Python files of a revision, or None if it takes too long."""
    with tempfile.TemporaryDirectory() as folder:
        archive = subprocess.run(
            ["git", "-C", str(clone), "archive", commit, "--", ":(glob)**/*.py"], check=True, capture_output=True
        )
        subprocess.run(["tar", "--extract", "--directory", folder], input=archive.stdout, check=True)
        command = [sys.executable, "-m", "regcheck", "scan", "--no-cache", "--extend-select", "REG202"]
        try:
            done = subprocess.run(
                [*command, "--output-format", "json", "."], cwd=folder, capture_output=True, text=True, timeout=SECONDS
            )
        except subprocess.TimeoutExpired:
            return None
        report: dict[str, Any] = json.loads(done.stdout)
        return report


def said(report: dict[str, Any] | None, revision: dict[str, Any]) -> str:
    """What the report says of a fault: found, not checked, or missed."""
    if report is None:
        return f"not scanned in {SECONDS} s"
    for finding in report["findings"]:
        if finding["path"] == revision["file"] and finding["line"] in revision["lines"]:
            return f"found: {finding['code']}, {finding['severity']}"
    return next(_reasons(report, revision["file"]), "missed")


def _reasons(report: dict[str, Any], file: str) -> Iterator[str]:
    for entry in report["not_checked"]:
        if file in json.dumps(entry):
            yield f"not checked: {entry['reason']}"


def row(revision: dict[str, Any], result: str) -> str:
    repository, commit, file = revision["repository"], revision["commit"], revision["file"]
    lines = ", ".join(map(str, revision["lines"]))
    outcome = " ".join(filter(None, (revision.get("report"), revision["outcome"])))
    link = f"[`{commit[:7]}`](https://github.com/{repository}/tree/{commit})"
    return f"| {repository} | {link} | {revision['kind']} | `{file}`: {lines} | {outcome} | {result} |\n"


if __name__ == "__main__":
    main()
