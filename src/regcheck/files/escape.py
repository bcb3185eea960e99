"""Text that others wrote (names, paths, source lines, errors), made safe to show on a terminal and in a CI log.

Everything that is shown goes through `visible`: control characters, line breaks, characters without a width or that
change the direction of others, and bytes that are not UTF-8 are written as Python escapes, and what a CI server takes
for a command is broken up.
"""

from __future__ import annotations

import json
import re
from typing import Any

_COMMAND = re.compile(r"##(?=\w*\[)|\A\s*::")
"""What GitHub Actions, Azure Pipelines and TeamCity take for a command: `::error` in front, `##[error]` anywhere."""
_SPACES = frozenset("\u00a0\u1680\u202f\u205f\u3000" + "".join(map(chr, range(0x2000, 0x200B))))
_BYTES = range(0xDC80, 0xDD00)
"""The characters that stand for bytes of a file name that are not UTF-8."""
_LONE = re.compile("[\ud800-\udfff]")


def visible(text: str, keep: str = "") -> str:
    """The text on one line of harmless characters; those in `keep` stay."""
    if not text.isprintable():
        text = "".join(each if each.isprintable() or each in keep else _escaped(each) for each in text)
    return _COMMAND.sub(_broken, text) if "##" in text or "::" in text else text


def visible_lines(text: str) -> str:
    """A text of several lines, each made safe."""
    return "\n".join(visible(line, "\t") for line in text.split("\n"))


def well_formed(document: Any) -> Any:
    """A JSON document without the surrogates that no other program could decode."""
    if isinstance(document, str):
        return _LONE.sub(lambda found: _escaped(found[0]), document)
    if isinstance(document, dict):
        return {well_formed(name): well_formed(each) for name, each in document.items()}
    return [*map(well_formed, document)] if isinstance(document, (list, tuple)) else document


def dumped(document: Any) -> str:
    """A document as indented JSON that ends in a newline, and that holds no command to a CI server."""
    text = json.dumps(well_formed(document), indent=2)
    return _COMMAND.sub(lambda found: found[0].replace("##", "\\u0023#"), text) + "\n"


def encoded(text: str) -> bytes:
    """The bytes of a path, which need not be UTF-8, or of any other text."""
    try:
        return text.encode(errors="surrogateescape")
    except UnicodeEncodeError:
        return text.encode(errors="surrogatepass")


def encodable(text: str, encoding: str | None) -> str:
    """The text with escapes for what a stream of that encoding cannot hold."""
    encoding = encoding or "utf-8"
    return text.encode(encoding, "backslashreplace").decode(encoding)


def _escaped(character: str) -> str:
    code = ord(character)
    if character in _SPACES:
        return character
    if code in _BYTES:
        return f"\\x{code - 0xDC00:02x}"
    return character.encode("unicode_escape").decode("ascii")


def _broken(found: re.Match[str]) -> str:
    return found[0].replace("##", "#\\x23").replace("::", ":\\x3a")
