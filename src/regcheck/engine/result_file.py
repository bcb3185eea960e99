"""The file of an audit of many targets: each report as it comes, so that a killed run is resumed."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from regcheck.core.errors import UsageError
from regcheck.core.report import Report
from regcheck.files.escape import without_surrogates


class ResultFile:
    """A file of JSON Lines: first what the results depend on, then each target with its digest and report.

    Args:
        file: the file; it is created, or continued. A last line that was cut off is removed.
        setting: what all results depend on (versions, options), as JSON values.

    Raises:
        UsageError: it cannot be read or written, is another kind of file, or was begun under another setting.
    """

    def __init__(self, file: Path, setting: Mapping[str, Any]) -> None:
        self._file = file
        first = {"type": "audit", **without_surrogates(dict(setting))}
        self.reports: dict[tuple[str, str], Report] = {}
        """The reports that the file holds, by target and digest."""
        try:
            lines = file.read_bytes().splitlines(keepends=True) if file.exists() else []
            if lines and not lines[-1].endswith(b"\n"):
                lines.pop()
                os.truncate(file, sum(map(len, lines)))
            if lines:
                self._read(lines, first)
            else:
                self._write(first)
        except OSError as error:
            raise UsageError(f"--resume {file}: {error.strerror}") from None

    def _read(self, lines: list[bytes], first: Mapping[str, Any]) -> None:
        try:
            begun, *entries = map(json.loads, lines)
            if begun.get("type") != "audit":
                raise ValueError
            for each in entries:
                self.reports[each["target"], each["digest"]] = Report.from_dict(each["report"])
        except (ValueError, KeyError, TypeError, AttributeError):
            raise UsageError(f"--resume {self._file}: this is not the file of an audit; name another one") from None
        differing = [key for key in {**first, **begun} if first.get(key) != begun.get(key)]
        if differing:
            raise UsageError(
                f"--resume {self._file}: the run that began it had other settings ({', '.join(differing)}); "
                "name another file, or remove it"
            )

    def add(self, target: str, digest: str, report: Report) -> None:
        """Write a report, at once and whole."""
        self._write({"type": "target", "target": target, "digest": digest, "report": report.to_dict()})

    def _write(self, entry: Mapping[str, Any]) -> None:
        with self._file.open("a", encoding="utf-8") as stream:
            stream.write(json.dumps(without_surrogates(entry)) + "\n")
