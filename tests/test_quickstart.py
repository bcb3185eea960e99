"""The fixture project `quickstart`: the list of its planted faults is true."""

from __future__ import annotations

import json
from pathlib import Path

PROJECTS = Path(__file__).parent.parent / "fixtures" / "projects"


def test_planted_faults_stand_where_the_list_says() -> None:
    """Every fault of the list stands on its line, so the list cannot rot unseen."""
    planted = json.loads((PROJECTS / "quickstart.json").read_text(encoding="utf-8"))["findings"]
    for each in planted:
        lines = (PROJECTS / "quickstart" / each["path"]).read_text(encoding="utf-8").splitlines()
        assert lines[each["line"] - 1].strip() == each["source"]


def test_quickstart_has_no_configuration_of_ours() -> None:
    """The project says nothing of regcheck."""
    for path in (PROJECTS / "quickstart").rglob("*.*"):
        if path.suffix in (".py", ".toml"):
            assert "regcheck" not in path.read_text(encoding="utf-8").lower()
