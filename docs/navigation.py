"""A hook of MkDocs: the pages of folders in the navigation, and edit links only where the repository is known."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

LINK = re.compile(r"\]\(([\w-]+\.md)\)")
"""A link to a page in the same folder."""


def on_config(config: Any) -> None:
    """Replace each folder, an entry that ends in a slash, by its index page and the pages that this links."""
    config["nav"] = expanded(config["nav"], Path(config["docs_dir"]))
    if config["repo_url"] is None:
        config["edit_uri"] = None


def expanded(nav: Any, docs: Path) -> Any:
    """Returns a part of the navigation with the pages of each folder in its place."""
    if isinstance(nav, list):
        return [expanded(each, docs) for each in nav]
    if isinstance(nav, dict):
        return {title: expanded(each, docs) for title, each in nav.items()}
    return pages(nav, docs) if nav.endswith("/") else nav


def pages(folder: str, docs: Path) -> list[str]:
    """The index page of a folder, and the pages of the folder that it links, in its order."""
    index = docs / folder / "index.md"
    linked = dict.fromkeys(LINK.findall(index.read_text(encoding="utf-8")))
    return [f"{folder}index.md", *(f"{folder}{name}" for name in linked)]
