"""Mending what a scan finds: patches are applied, the result is scanned again, and only what holds is kept."""

from __future__ import annotations

import difflib
import re
from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

from regcheck.config.options import Options
from regcheck.core.errors import UsageError
from regcheck.core.finding import Finding
from regcheck.core.patch import Patch
from regcheck.core.report import Report
from regcheck.engine.scan import scan
from regcheck.files.atomic_write import write_atomically
from regcheck.files.escape import visible
from regcheck.files.text import content_of, is_overlaid, overlay
from regcheck.static.fixes.patches import CannotFix, applied

PASSES = 50
"""Patches that overlap are applied one after another; more passes than this are a loop."""


@dataclass
class Mended:
    """What came of mending: the report on what remains, and the contents of the files that change.

    `fixed` counts the findings that are gone, `refused` says by file why nothing of it was changed.
    """

    report: Report
    before: dict[str, bytes] = field(default_factory=dict)
    after: dict[str, bytes] = field(default_factory=dict)
    fixed: int = 0
    refused: dict[str, str] = field(default_factory=dict)

    def diff(self) -> Iterator[str]:
        """The lines of a unified diff of all changes."""
        for path, content in sorted(self.after.items()):
            old, new = map(_lines, (self.before[path], content))
            for line in difflib.unified_diff(old, new, visible(path), visible(path)):
                text, ended, _ = line.partition("\n")
                end = "\r\n" if text.endswith("\r") else "\n"
                shown = text[:1] + visible(text[1:].removesuffix("\r"), "\t\f") + end
                yield shown if ended else f"{shown}\\ No newline at end of file\n"

    def write(self) -> None:
        """Write the files that change, each at once or not at all.

        Raises:
            UsageError: one cannot be written, or is no longer what was scanned.
        """
        for path, content in self.after.items():
            if not is_overlaid(path):
                _replace(Path(path), self.before[path], content)


def _lines(content: bytes) -> list[str]:
    return re.findall(r"[^\n]*\n|[^\n]+", content.decode(errors="replace"))


def mended(paths: Iterable[str | Path], options: Options, *, unsafe: bool = False) -> Mended:
    """Scan, and apply the safe patches (with `unsafe`, all) as often as it takes. Nothing is written."""
    paths = list(paths)
    result = Mended(scan(paths, options))
    for _ in range(PASSES):
        changed, done = _pass(result, unsafe)
        if not changed:
            break
        with overlay({**result.after, **changed}):
            report = scan(paths, options)
        wrong = {path: why for path in changed if (why := _objection(path, done[path], result.report, report))}
        result.refused |= wrong
        if wrong:
            # Scanned again without them: what is left must hold by itself.
            continue
        result.after |= changed
        result.fixed += sum(len(each) for each in done.values())
        result.report = report
    return result


def _pass(result: Mended, unsafe: bool) -> tuple[dict[str, bytes], dict[str, list[Finding]]]:
    """The new contents that one round of patches gives, by file, and the findings that those are for."""
    changed: dict[str, bytes] = {}
    done: dict[str, list[Finding]] = {}
    wanted: dict[str, list[Finding]] = {}
    for each in result.report.findings:
        if each.path and each.patch and (each.patch.safe or unsafe) and each.path not in result.refused:
            wanted.setdefault(each.path, []).append(each)
    for path, findings in wanted.items():
        try:
            content = result.after[path] if path in result.after else content_of(path)
            result.before.setdefault(path, content)
            patches: dict[int | None, list[Patch]] = {}
            for each in findings:
                if each.patch is not None:
                    patches.setdefault(each.cell, []).append(each.patch)
            changed[path], made = applied(content, patches, path)
            done[path] = [each for each in findings if any(each.patch is patch for patch in made)]
        except (CannotFix, OSError) as error:
            result.refused[path] = str(error)
    return changed, done


def _objection(path: str, done: Iterable[Finding], before: Report, after: Report) -> str:
    """What speaks against the change of a file; nothing where its findings are gone and no others have come."""
    if path in {each.path for each in after.not_checked} - {each.path for each in before.not_checked}:
        return "with the fix it could not be read"
    were, are = (Counter(each.code for each in report.findings if each.path == path) for report in (before, after))
    were.subtract(each.code for each in done)
    if any(are[code] > were[code] for code in are):
        return "with the fix the finding remains, or another comes"
    return ""


def _replace(path: Path, before: bytes, after: bytes) -> None:
    """Put another content in a file's place, in one step, with the file's mode; a link stays a link."""
    file = path.resolve()
    try:
        if file.read_bytes() != before:
            raise UsageError(f"{path}: has changed since it was scanned; nothing was written there")
        write_atomically(file, after)
    except OSError as error:
        raise UsageError(f"{path}: cannot be written: {error.strerror}") from None
