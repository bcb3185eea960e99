"""Names for findings that stay, for programs that follow them from one report to the next."""

from __future__ import annotations

import hashlib
import os

from regcheck.core.finding import Finding
from regcheck.files.escape import encode
from regcheck.suppression.baseline import spot_of


def fingerprint(finding: Finding) -> str:
    """A name for a finding that stays when its line moves or is laid out anew."""
    where = spot_of(finding) if finding.path else (finding.module_path, finding.message, 0)
    path = (finding.path or "").replace(os.sep, "/")
    known = encode("\0".join(map(str, (finding.code, path, *where))))
    return hashlib.sha256(known).hexdigest()[:32]
