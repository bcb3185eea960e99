"""Runs the tops of the files whose code a program reaches, as imports do."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from regcheck.core.errors import CannotTrace
from regcheck.static.interpreter.state import Frame
from regcheck.static.interpreter.values import Cells, Constant, Module, reading_clock, reserve_time, tick
from regcheck.static.project.files import Source
from regcheck.static.project.names import Project

from .control_flow import program_interpreter
from .domain import ProgramDomain
from .shared_imports import ImportCopy, SharedImports

_TIMES = 2**110
_TIMES_WITHIN = 2**22
"""An import gets so much fewer times than the program that runs it."""


class Imports:
    """The files whose tops have run for the programs of one file, whose domain is `domain`.

    The top of a file runs once, when code in the file reads a global first, in an interpreter of its own: what it
    creates is older than the program that reaches it. In a cycle, code meets the globals that are there so far.

    Attributes:
        globals: by path, the names that running a file binds.
        created: the modules that tops have constructed since the list was cleared.
        entered: the functions that tops have entered, by the ids of their nodes.
        keeps_effects: whether what a top does to objects of other files lasts. If not, programs may share the globals
            of a file, whichever reaches it first, unless it `has_cycle`.
    """

    def __init__(self, project: Project, shared: SharedImports) -> None:
        self.project = project
        self._shared = shared
        self.domain = ProgramDomain(self.globals_of)
        self.globals: dict[str, Cells] = {}
        self.created: list[Module] = []
        self.entered: set[int] = set()
        self.keeps_effects = True
        self.has_cycle = False
        self._runnable = frozenset(project.relevant)
        self._running: dict[str, Cells] = {}
        self._copies: dict[str, ImportCopy] = {}
        self._own: set[str] = set()
        """The paths of the files whose tops ran here, and may have left another state than elsewhere."""
        self._added: list[tuple[int, str, object]] = []
        self._forgotten: list[dict[str, Cells]] = []
        """Globals that no program reads anymore, which keep the ids of their objects in use."""
        self._clocks: list[Iterator[int]] = []
        self._count = 0

    def begin(self) -> None:
        """A program begins: what it imports is older than what it creates."""
        self._clocks = [reserve_time(_TIMES)]

    def globals_of(self, source: Source) -> Cells:
        """The names that running a file binds."""
        path = source.path
        if path in self._running:
            self.has_cycle = True
            return self._running[path]
        if path not in self.globals:
            if source not in self._runnable:
                self.globals[path] = Cells()
            elif not self._copy(source):
                self._run(source)
        return self.globals[path]

    @contextmanager
    def running(self, source: Source, cells: Cells) -> Iterator[None]:
        """Runs the block, in which the top of a file runs and binds names in `cells`."""
        self._running[source.path] = cells
        self._own.add(source.path)
        try:
            yield
        finally:
            del self._running[source.path]
            self.globals[source.path] = cells

    def forget(self, names: frozenset[str]) -> None:
        """Forgets the files that are not `names`, by path."""
        self._forgotten.append({path: self.globals.pop(path) for path in self.globals.keys() - names})
        self._own &= names
        self._copies = {path: each for path, each in self._copies.items() if path in names}

    def add_facts(self) -> None:
        """Adds to the domain what tops have shown of objects that they constructed."""
        for index, name, fact in self._added:
            facts = getattr(self.domain.parts[index], name)
            facts.update(fact)

    def _copy(self, source: Source) -> bool:
        """Copies what the top of a file leaves wherever it runs; False where it must run here."""
        top = self._shared.of(source)
        if top is None or not self._own.isdisjoint(top.files):
            return False
        if not all(self._copies[each].is_unchanged() for each in top.files if each in self._copies):
            return False
        with reading_clock(self._clocks[-1]):
            copy = self._copies[source.path] = top.copy(self.project)
        self.globals[source.path] = copy.names
        self.entered |= top.entered
        return True

    def _run(self, source: Source) -> None:
        with reading_clock(self._clocks[-1]):
            cells = Cells(__name__=Constant(source.module))
            times = _TIMES // _TIMES_WITHIN ** len(self._clocks)
            self._clocks.append(reserve_time(times) if times else self._clocks[-1])
            self._count += 1
            domain = ProgramDomain(self.globals_of, str(self._count))
            interpreter = program_interpreter(self.project, domain)
            state = interpreter.state
            state.globals[source.path] = cells
            before = self._share_facts(domain)
            since = tick()
            domain.begin(f"{source.path} {self._count}")
            try:
                with self.running(source, cells), state.within(Frame(None, source, cells)):
                    interpreter.statements.run(source.tree.body)
            except CannotTrace:
                pass  # the reader of the file itself says so
            except RecursionError:
                self.has_cycle = True  # how much of it runs depends on the code that reaches it
            finally:
                self._clocks.pop()
            if self.keeps_effects:
                self.created += state.created
            else:
                domain.unsettle(state.created)
                state.undo(0, since)
            self.entered |= state.entered
            self._note_facts(before)

    def _share_facts(self, domain: ProgramDomain) -> list[tuple[int, str, set[object]]]:
        """Hands the facts about lasting objects to the domain of a top; what they are about."""
        before = []
        for index, (own, part) in enumerate(zip(self.domain.parts, domain.parts, strict=True)):
            for name in own.lasting:
                facts = getattr(own, name)
                setattr(part, name, facts)
                before.append((index, name, {*facts}))
        return before

    def _note_facts(self, before: list[tuple[int, str, set[object]]]) -> None:
        for index, name, keys in before:
            facts = getattr(self.domain.parts[index], name)
            if len(facts) > len(keys):
                new = (
                    {each: facts[each] for each in facts if each not in keys}
                    if isinstance(facts, dict)
                    else facts - keys
                )
                self._added.append((index, name, new))
