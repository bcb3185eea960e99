"""Time until an editor shows the diagnostics of a file.

    python benchmarks/editor.py [FOLDER FILE…]

Copies the folder (default: the fixtures' programs) into a project of its own, starts `regcheck server` there, and opens
each file: for the first time, again, and after a change of one line. Prints wall time, and the server's CPU time.
"""

from __future__ import annotations

import asyncio
import os
import shutil
import sys
import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path
from time import perf_counter

from lsprotocol import types
from pygls.lsp.client import LanguageClient

PROGRAMS = Path(__file__).parent.parent / "fixtures" / "programs"


class Timer:
    """A client that waits for the diagnostics of one document at a time."""

    def __init__(self) -> None:
        self.client = LanguageClient("benchmark", "1")
        self._published: asyncio.Queue[types.PublishDiagnosticsParams] = asyncio.Queue()

        def receive(params: types.PublishDiagnosticsParams) -> None:
            self._published.put_nowait(params)

        self.client.feature(types.TEXT_DOCUMENT_PUBLISH_DIAGNOSTICS)(receive)

    async def start(self, root: Path) -> None:
        await self.client.start_io(sys.executable, "-m", "regcheck", "server")
        folder = types.WorkspaceFolder(root.as_uri(), root.name)
        await self.client.initialize_async(
            types.InitializeParams(types.ClientCapabilities(), workspace_folders=[folder])
        )
        self.client.initialized(types.InitializedParams())

    async def seconds(self, send: Callable[[], None], uri: str, version: int) -> tuple[float, float]:
        """Wall and CPU time from a message to the diagnostics of that version."""
        began, before = perf_counter(), self._cpu()
        send()
        while True:
            published = await self._published.get()
            if (published.uri, published.version) == (uri, version):
                return perf_counter() - began, self._cpu() - before

    def _cpu(self) -> float:
        """The CPU seconds of the server so far; 0 where there is no `/proc`."""
        server = self.client._server
        stat = Path(f"/proc/{server.pid}/stat") if server else Path()
        if not stat.is_file():
            return 0.0
        fields = stat.read_text().rpartition(")")[2].split()
        return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


async def measure(root: Path, files: Sequence[Path]) -> None:
    """Print a row for each file."""
    timer = Timer()
    began = perf_counter()
    await timer.start(root)
    print(f"start of the server: {perf_counter() - began:.2f} s wall")
    print(f"{'file':<40} {'first':>15} {'again':>15} {'one line changed':>17}   (s wall / CPU)")
    client = timer.client
    for file in files:
        uri, text = file.as_uri(), file.read_text()

        def opened(version: int, uri: str = uri, text: str = text) -> None:
            document = types.TextDocumentItem(uri, "python", version, text)
            client.text_document_did_open(types.DidOpenTextDocumentParams(document))

        def changed(uri: str = uri, text: str = text) -> None:
            document = types.VersionedTextDocumentIdentifier(3, uri)
            change = types.TextDocumentContentChangeWholeDocument(f"{text}\nCHANGED = True\n")
            client.text_document_did_change(types.DidChangeTextDocumentParams(document, [change]))

        def closed(uri: str = uri) -> None:
            client.text_document_did_close(types.DidCloseTextDocumentParams(types.TextDocumentIdentifier(uri)))

        times = [await timer.seconds(lambda: opened(1), uri, 1)]
        closed()
        times.append(await timer.seconds(lambda: opened(2), uri, 2))
        times.append(await timer.seconds(changed, uri, 3))
        closed()
        print(f"{file.relative_to(root)!s:<40}", *(f"{wall:6.2f} / {cpu:6.2f}" for wall, cpu in times))
    await client.shutdown_async(None)
    client.exit(None)


def main(folder: str = str(PROGRAMS), *names: str) -> None:
    """Copy the folder, and measure the files with these names in it, its first three by default."""
    names = names or tuple(each.name for each in sorted(Path(folder).glob("*.py"))[:3])
    with tempfile.TemporaryDirectory() as scratch:
        os.environ["XDG_CACHE_HOME"] = f"{scratch}/cache"
        root = Path(os.path.realpath(scratch), "project")
        copy = shutil.copytree(folder, root / Path(folder).name)
        (root / "pyproject.toml").write_text("[project]\nname = 'copy'\n")
        print(f"{len([*root.rglob('*.py')])} files")
        asyncio.run(measure(root, [copy / name for name in names]))


if __name__ == "__main__":
    main(*sys.argv[1:])
