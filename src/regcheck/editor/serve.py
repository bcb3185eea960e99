"""`regcheck server`: the Language Server Protocol on standard input and output."""

from __future__ import annotations

import sys
from collections.abc import Sequence

from regcheck.cli.common_options import Parser
from regcheck.core.errors import UsageError


def argument_parser() -> Parser:
    """Returns the parser of the verb's arguments."""
    parser = Parser(
        "regcheck server",
        "Show findings in an editor, which starts this command and speaks the Language Server Protocol with it.",
    )
    parser.add_argument("--stdio", action="store_true", help="changes nothing: some editors pass it")
    return parser


def run(argv: Sequence[str]) -> int:
    """Serve until the editor ends the connection; return 0 if it asked for that.

    Raises:
        UsageError: pygls is not installed.
    """
    argument_parser().parse(argv)
    try:
        from regcheck.editor.server import Server
    except ModuleNotFoundError as error:
        if (error.name or "").partition(".")[0] not in ("pygls", "lsprotocol"):
            raise
        raise UsageError("`regcheck server` needs pygls: `pip install 'regcheck[lsp]'`") from None
    protocol_output = sys.stdout.buffer
    sys.stdout = sys.stderr  # a print of a plugin must not get between the messages
    return Server().serve(sys.stdin.buffer, protocol_output)
