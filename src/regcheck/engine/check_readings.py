"""Runs rules on the readings of files, which then hold what the rules find in place of graphs and usages."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import replace

from regcheck.core.finding import FindingsByRule, NotChecked
from regcheck.core.graph import Graph
from regcheck.core.rule import Rule
from regcheck.core.usage import Usage
from regcheck.engine.rule_findings import findings_in
from regcheck.static.reading import (
    IN_SOURCE,
    ClassReading,
    FilePrograms,
    FileReading,
    LoweredModel,
    ProgramReading,
    ReadingParts,
)


def check_parts(parts: ReadingParts, rules: Iterable[Rule]) -> ReadingParts:
    """The parts with what the rules find in each graph and usage in place of it; those of Keras are left as they are.

    Readings in which nothing is left to check are the same objects as before. No rule may read a usage together with a
    graph, which may belong to another file.
    """
    check = _Check(rules)
    programs = replace(
        parts.programs,
        programs=tuple(map(check.program, parts.programs.programs)),
        files=tuple(map(check.programs, parts.programs.files)),
    )
    return replace(parts, programs=programs, files=tuple(map(check.classes, parts.files)))


class _Check:
    """Runs rules on each graph and usage once."""

    def __init__(self, rules: Iterable[Rule]) -> None:
        rules = tuple(rules)
        self._about_graphs = [each for each in rules if each.about == "graph"]
        self._about_usages = [each for each in rules if each.about == "usage"]
        self._checked: dict[int, tuple[ProgramReading, ProgramReading]] = {}
        """Programs before and after, by the ids of the former."""

    def classes(self, file: FileReading) -> FileReading:
        """The classes of a file with what rules find in the graphs of their models."""
        if all(each.graph is None for one in file.classes for each in _models(one.outcomes)):
            return file
        return replace(file, classes=tuple(map(self._class, file.classes)))

    def _class(self, reading: ClassReading) -> ClassReading:
        outcomes = [self._model(each) if isinstance(each, LoweredModel) else each for each in reading.outcomes]
        return replace(reading, outcomes=tuple(outcomes))

    def programs(self, file: FilePrograms) -> FilePrograms:
        """The programs of a file with what rules find in them."""
        top = self.program(file.top)
        others = {position: self.program(each) for position, each in file.others.items()}
        is_same = top is file.top and all(each is file.others[position] for position, each in others.items())
        return file if is_same else replace(file, top=top, others=others)

    def program(self, program: ProgramReading) -> ProgramReading:
        """A program with what rules find in its usages and in the graphs of its models."""
        if not program.usages and all(each.graph is None for each in program.models):
            return program
        if id(program) not in self._checked:
            findings = tuple([self._findings(self._about_usages, each) for each in program.usages])
            models = tuple(map(self._model, program.models))
            checked = replace(program, usages=(), models=models, findings=(*program.findings, *findings))
            self._checked[id(program)] = program, checked
        return self._checked[id(program)][1]

    def _model(self, model: LoweredModel) -> LoweredModel:
        if model.graph is None:
            return model
        graphs = {each: replace(model.graph, wholeness=each) for each in IN_SOURCE}
        findings = {each: self._findings(self._about_graphs, graph) for each, graph in graphs.items()}
        return replace(model, graph=None, findings=findings)

    def _findings(self, rules: Iterable[Rule], subject: Graph | Usage) -> FindingsByRule:
        findings = {rule.code: findings_in(rule, subject) for rule in rules}
        return {code: each for code, each in findings.items() if each.findings or each.undecided}


def _models(outcomes: Iterable[LoweredModel | NotChecked]) -> Iterator[LoweredModel]:
    return (each for each in outcomes if isinstance(each, LoweredModel))
