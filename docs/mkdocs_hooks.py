"""Hooks of MkDocs: pages of folders in the navigation, edit links where the repository is known, marked lines."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

LINK = re.compile(r"\]\(([\w-]+\.md)\)")
"""A link to a page in the same folder."""

CODE = re.compile(r"^```python\n(.*?)^```$", re.DOTALL | re.MULTILINE)
MARK = re.compile(r"# <-( |$)")
"""The end of a line that a rule reports, see `regcheck.core.rule.MARK`."""


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


def on_page_markdown(markdown: str, **_: Any) -> str:
    """Highlight the lines of code that an example marks."""
    return CODE.sub(highlighted, markdown)


def highlighted(block: re.Match[str]) -> str:
    """Returns a block of code, with the numbers of its marked lines for the highlighter."""
    marked = [str(number) for number, line in enumerate(block[1].splitlines(), 1) if MARK.search(line)]
    return f'```python hl_lines="{" ".join(marked)}"\n{block[1]}```' if marked else block[0]
