"""Stable identifiers of findings, for programs that compare one report with the next."""

from __future__ import annotations

import hashlib
import os

from regcheck.core.finding import Finding
from regcheck.files.escape import encode
from regcheck.suppression.baseline import spot_of


def fingerprint(finding: Finding) -> str:
    """An identifier of a finding that stays the same when its line moves or is reformatted."""
    where = spot_of(finding) if finding.path else (finding.module_path, finding.message, 0)
    path = (finding.path or "").replace(os.sep, "/")
    identity = encode("\0".join(map(str, (finding.code, path, *where))))
    return hashlib.sha256(identity).hexdigest()[:32]
