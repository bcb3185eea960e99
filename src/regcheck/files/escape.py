"""Escape untrusted text (names, paths, source lines, errors) for terminals and CI logs.

All displayed text goes through `visible`: it writes control characters, line breaks, zero-width characters, characters
that change the text direction, and bytes that are not UTF-8 as Python escapes, and breaks up commands to CI servers.
"""

from __future__ import annotations

import json
import re
from typing import Any

_COMMAND = re.compile(r"##(?=\w*\[)|\A\s*::")
"""Commands to GitHub Actions, Azure Pipelines and TeamCity: `::error` at the start, `##[error]` anywhere."""
_SPACES = frozenset("\u00a0\u1680\u202f\u205f\u3000" + "".join(map(chr, range(0x2000, 0x200B))))
_BYTES = range(0xDC80, 0xDD00)
"""The characters that stand for bytes of a file name that are not UTF-8."""
_SPELLINGS = {"…": "...", "×": "x", "²": "2", "α": "alpha", "–": "-", "≠": "!="}
"""Characters of regcheck's own messages, in ASCII."""
_LONE = re.compile("[\ud800-\udfff]")


def visible(text: str, keep: str = "") -> str:
    """Returns the text on one line, with escapes; characters in `keep` stay."""
    if not text.isprintable():
        text = "".join(each if each.isprintable() or each in keep else _escape(each) for each in text)
    return _COMMAND.sub(_break_up, text) if "##" in text or "::" in text else text


def visible_lines(text: str) -> str:
    """Returns a text of several lines, each escaped."""
    return "\n".join(visible(line, "\t") for line in text.split("\n"))


def without_surrogates(document: Any) -> Any:
    """Returns a JSON document with escapes for lone surrogates, which other programs cannot decode."""
    if isinstance(document, str):
        return _LONE.sub(lambda match: _escape(match[0]), document)
    if isinstance(document, dict):
        return {without_surrogates(name): without_surrogates(each) for name, each in document.items()}
    return [*map(without_surrogates, document)] if isinstance(document, (list, tuple)) else document


def dump_json(document: Any, indent: int | None = 2) -> str:
    """Returns a document as JSON that ends in a newline and holds no command to a CI server.

    It is on one line if `indent` is None.
    """
    text = json.dumps(without_surrogates(document), indent=indent)
    return _COMMAND.sub(lambda match: match[0].replace("##", "\\u0023#"), text) + "\n"


def encode(text: str) -> bytes:
    """Returns the bytes of a text, which may be a path that is not UTF-8."""
    try:
        return text.encode(errors="surrogateescape")
    except UnicodeEncodeError:
        return text.encode(errors="surrogatepass")


def escape_unencodable(text: str, encoding: str | None) -> str:
    """Returns the text with ASCII spellings, or else escapes, for characters that the encoding lacks."""
    encoding = encoding or "utf-8"
    for character, spelling in _SPELLINGS.items():
        if character in text and character.encode(encoding, "ignore") == b"":
            text = text.replace(character, spelling)
    return text.encode(encoding, "backslashreplace").decode(encoding)


def _escape(character: str) -> str:
    code = ord(character)
    if character in _SPACES:
        return character
    if code in _BYTES:
        return f"\\x{code - 0xDC00:02x}"
    return character.encode("unicode_escape").decode("ascii")


def _break_up(match: re.Match[str]) -> str:
    return match[0].replace("##", "#\\x23").replace("::", ":\\x3a")
