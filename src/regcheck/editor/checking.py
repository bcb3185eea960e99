"""Checks one open file in its project, as `regcheck scan` does, with the texts that the editor shows."""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping
from dataclasses import replace
from pathlib import Path

from regcheck.config.load import configured_folder, load
from regcheck.config.options import Options
from regcheck.core.errors import RegcheckError
from regcheck.core.finding import Finding, NotChecked
from regcheck.core.report import Report
from regcheck.engine.fix import objection_to
from regcheck.engine.scan import scan
from regcheck.files.project_folders import SKIPPED
from regcheck.files.text import line_in_file, overlay
from regcheck.lazy_dataclass import dataclass
from regcheck.session import last_run
from regcheck.static.project.discovery import parse, read
from regcheck.suppression.apply import context_of, shown_path
from regcheck.suppression.decide import decide

INSTALLED = ("site-packages", "dist-packages")


@dataclass(frozen=True)
class EditorFinding:
    """A finding of a scan, of a test session (`from_run`), or of both.

    It is `stale` where only a session found it, and the file has changed since.
    """

    finding: Finding
    from_run: bool = False
    stale: bool = False


@dataclass(frozen=True)
class EditorResult:
    """What an editor shows about a file. Lines and columns count from 1, in a notebook within the cell."""

    findings: tuple[EditorFinding, ...] = ()
    not_checked: tuple[NotChecked, ...] = ()


@dataclass(frozen=True)
class Checker:
    """The open files of an editor, by path, and its workspace folders. All paths are real."""

    contents: Mapping[str, bytes]
    folders: tuple[Path, ...] = ()

    def is_installed(self, path: Path) -> bool:
        """Whether a file belongs to a library or an environment, not to the user's code."""
        if not set(INSTALLED).isdisjoint(path.parts):
            return True
        workspace = self._workspace(path)
        return workspace is not None and not SKIPPED.isdisjoint(path.relative_to(workspace).parts[:-1])

    def can_be_parsed(self, path: Path) -> bool:
        """Whether a file's text is Python, or a notebook of cells that are."""
        with overlay({**self.contents}):
            content = read(path)
            return content is None or not isinstance(
                content if isinstance(content, NotChecked) else parse(str(path), content), NotChecked
            )

    def check(self, path: Path, *, stored: bool) -> EditorResult:
        """The findings in a file: those of a scan, and the confirmed ones of the project's test sessions.

        `stored`: store for later scans what this one reads and finds. Changes the working directory to the folder of
        the configuration.
        """
        if self.is_installed(path):
            return EditorResult()
        with overlay({**self.contents}):
            try:
                options = self._enter(path)
                report = scan([_named(path)], options, cached=True, stored=stored)
                return EditorResult(tuple(_merged(report, path, options)), report.not_checked)
            except RegcheckError as error:
                return EditorResult(not_checked=(NotChecked(path.name, str(error)),))

    def objection_to(self, finding: Finding, path: Path) -> str:
        """Why not to offer the patch of a finding that `check` returned for a file; empty if a scan confirms it."""
        with overlay({**self.contents}):
            options = self._enter(path)
            return objection_to(finding, scan([_named(path)], options), options)

    def _enter(self, path: Path) -> Options:
        """The options for a file; the working directory becomes the folder that a command line would run in."""
        folder = path.parent
        os.chdir(configured_folder(folder) or self._workspace(path) or folder)
        return load(folder)

    def _workspace(self, path: Path) -> Path | None:
        """The innermost workspace folder around a file."""
        around = (each for each in self.folders if each in path.parents)
        return max(around, key=lambda each: len(each.parts), default=None)


def _named(path: Path) -> str:
    """The path as the user names it on the command line, so that both share cached results."""
    return shown_path(str(path)) or str(path)


def _merged(report: Report, path: Path, options: Options) -> Iterable[EditorFinding]:
    """The findings of a scan, with the evidence of test sessions that confirmed them, and the further ones of these."""
    scanned = {each.key: EditorFinding(each) for each in report.findings}
    for confirmed in last_run.load(path):
        finding = confirmed.now()
        if finding is None:
            continue
        finding = finding.at(_named(path))
        same = scanned.get(finding.key)
        if same is not None and confirmed.is_current:
            proven = replace(finding, patch=same.finding.patch, column=same.finding.column)
            scanned[finding.key] = EditorFinding(proven, from_run=True)
        elif same is None and not _is_suppressed(finding, options):
            scanned[finding.key] = EditorFinding(finding, from_run=True, stale=not confirmed.is_current)
    return scanned.values()


def _is_suppressed(finding: Finding, options: Options) -> bool:
    """Whether a declaration that was added after the session suppresses a finding."""
    in_file = replace(finding, line=line_in_file(finding.path or "", finding.cell, finding.line or 1))
    return decide(in_file, context_of(in_file, options)).is_suppressed
