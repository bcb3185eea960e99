"""What the parts of an analysis give, and how these make one reading of a project.

The parts are independent of each other and of the process that runs them: all identities in them are positions in
files, and all values can be pickled.
"""

from __future__ import annotations

from collections.abc import Hashable, Iterator, Mapping, Sequence
from dataclasses import field, replace

from regcheck.core.finding import FindingsByRule, NotChecked
from regcheck.core.graph import Graph, Wholeness
from regcheck.core.usage import Usage
from regcheck.files.place import Place
from regcheck.lazy_dataclass import dataclass

from .project.files import Source
from .project.names import Project
from .project.outlines import FileOutline

IN_SOURCE = (Wholeness.SCORED, Wholeness.ALONE, Wholeness.UNKNOWN)
"""What the graph of a model in source may be."""


@dataclass(frozen=True)
class LoweredModel:
    """A model that was constructed, and its graph, if it was lowered.

    Attributes:
        likeness: the digest that models with the same graph share: the first of them has it.
        identity: the key of the model's class, or of the expression that constructs it.
        graph: None where no rule can start in it, where it is not lowered, and where the forward is not followed; also
            once rules have checked it.
        findings: what they found in it, were it the graph of a whole model or of a part; empty where they did not run.
        scores_itself: whether the class has a method that scores the model's outputs.
        not_followed: the reason why the forward could not be followed.
        is_lowered: False for the second of like models.
    """

    likeness: str
    identity: Hashable
    graph: Graph | None = None
    scores_itself: bool = False
    not_followed: NotChecked | None = None
    is_lowered: bool = True
    findings: Mapping[Wholeness, FindingsByRule] = field(default_factory=dict)


@dataclass(frozen=True)
class CalledModel:
    """A model that a program constructs: its likeness, and the file and name of its class (empty for torch's own)."""

    likeness: str
    path: str = ""
    name: str = ""


Position = tuple[str, int, int]
"""The place of a function's definition: the path of its file, line and column."""


@dataclass(frozen=True)
class ProgramReading:
    """The usages of one program, or of several, and the models that they construct or call.

    Attributes:
        path: the file of the program; empty for several.
        usages: those that rules have not checked.
        findings: what rules have found in the others.
        called: the models that usages refer to by their keys.
        scored: the identities of the models whose results go into a loss, a score or a choice.
        parts: the identities of the modules that run in the `forward` of others.
        features: the identities of the models whose results another model reads, or a loss compares.
        entered: the functions at the tops of files, and of classes there, that the programs enter.
    """

    path: str = ""
    usages: tuple[Usage, ...] = ()
    models: tuple[LoweredModel, ...] = ()
    not_checked: tuple[NotChecked, ...] = ()
    called: Mapping[str, CalledModel] = field(default_factory=dict)
    scored: frozenset[Hashable] = frozenset()
    parts: frozenset[Hashable] = frozenset()
    features: frozenset[Hashable] = frozenset()
    entered: frozenset[Position] = frozenset()
    findings: tuple[FindingsByRule, ...] = ()

    @classmethod
    def joined(cls, programs: Sequence[ProgramReading]) -> ProgramReading:
        """The reading of several programs; which functions they enter is left out."""
        none = frozenset[Hashable]()
        return cls(
            "",
            tuple([each for one in programs for each in one.usages]),
            tuple([each for one in programs for each in one.models]),
            tuple([each for one in programs for each in one.not_checked]),
            {key: each for one in programs for key, each in one.called.items()},
            none.union(*(each.scored for each in programs)),
            none.union(*(each.parts for each in programs)),
            none.union(*(each.features for each in programs)),
            findings=tuple([each for one in programs for each in one.findings]),
        )


@dataclass(frozen=True)
class ClassReading:
    """A model class, the models that are built of it, and the reasons why one could not be built.

    Attributes:
        outcomes: what building and lowering gave, in their order.
        parts: the identities of the modules that run in the `forward` of any model that was constructed on the way.
        children: the identities of those that run in the class's own.
    """

    name: str
    place: Place
    outcomes: tuple[LoweredModel | NotChecked, ...] = ()
    parts: frozenset[Hashable] = frozenset()
    children: frozenset[Hashable] = frozenset()


@dataclass(frozen=True)
class Dependencies:
    """What following the code of a file depends on beside that file and what all files of a project share.

    Attributes:
        reached: the paths of the files in which names are looked up, and of those that call a class in `configured`.
        configured: the names of the classes whose calls, anywhere in the project, say which settings they change.
        mentioned: the names of the functions that any file of the project may mention.
        relevant: those of them in which a rule can start: their tops run.
        unread: the reasons why files that are reached could not be parsed, by their paths.
    """

    reached: frozenset[str] = frozenset()
    relevant: frozenset[str] = frozenset()
    configured: frozenset[str] = frozenset()
    mentioned: frozenset[str] = frozenset()
    unread: Mapping[str, NotChecked] = field(default_factory=dict)

    def joined(self, other: Dependencies) -> Dependencies:
        """The dependencies of either."""
        return Dependencies(
            self.reached | other.reached,
            self.relevant | other.relevant,
            self.configured | other.configured,
            self.mentioned | other.mentioned,
            {**self.unread, **other.unread},
        )

    @classmethod
    def of(cls, project: Project, source: Source) -> Dependencies:
        """What `project` has been asked for, since it began afresh, for a file."""
        reached = project.modules.reached
        return cls(
            frozenset([each.path for each in reached]),
            frozenset([each.path for each in project.relevant if each in reached]),
            frozenset([each.node.name for each in project.settings]),
            frozenset(project.mentioned),
            {each.path: each.unread for each in (source, *reached) if each.unread is not None},
        )


@dataclass(frozen=True)
class FileReading:
    """The model classes of a file."""

    path: str
    classes: tuple[ClassReading, ...] = ()
    dependencies: Dependencies = Dependencies()


@dataclass(frozen=True)
class Training:
    """A class at `place` whose training a library runs, and the position of its `training_step`."""

    name: str
    place: Position
    step: Position


@dataclass(frozen=True)
class KerasReading:
    """The graphs and usages of a project's Keras models, and the files with layers that could not be followed."""

    graphs: tuple[Graph, ...] = ()
    usages: tuple[Usage, ...] = ()
    not_checked: tuple[NotChecked, ...] = ()


@dataclass(frozen=True)
class FilePrograms:
    """The programs of a file that were read: its top, and some of its trainings and functions, by their positions.

    Attributes:
        trainings: all trainings of the file; None where nobody looked for them.
    """

    path: str
    top: ProgramReading
    trainings: tuple[Training, ...] | None
    others: Mapping[Position, ProgramReading] = field(default_factory=dict)
    dependencies: Dependencies = Dependencies()


@dataclass(frozen=True)
class ProgramsReading:
    """All programs of a project in the order in which they were read, and by file.

    Attributes:
        outlines: those of the files in which a rule can start.
    """

    programs: tuple[ProgramReading, ...] = ()
    files: tuple[FilePrograms, ...] = ()
    outlines: tuple[FileOutline, ...] = ()


@dataclass(frozen=True)
class EarlierReadings:
    """What an earlier analysis said of files, by path, and still holds.

    Attributes:
        models: the names of the model classes that its project had.
    """

    classes: Mapping[str, FileReading] = field(default_factory=dict)
    programs: Mapping[str, FilePrograms] = field(default_factory=dict)
    outlines: Mapping[str, FileOutline] = field(default_factory=dict)
    models: frozenset[str] = frozenset()


@dataclass(frozen=True)
class UsedModel:
    """A model that a program constructs: the index of its graph, if one was kept, and the file and name of its class.

    Both are empty for a model of one of torch's own classes.
    """

    graph: int | None
    path: str = ""
    name: str = ""


@dataclass(frozen=True)
class ReadingParts:
    """The parts of an analysis, from which the next one may copy, and what died with a process that followed it.

    Attributes:
        files: the classes of the files in which a rule can start.
        died: what the process should have followed: another analysis may follow it.
    """

    programs: ProgramsReading
    files: tuple[FileReading, ...] = ()
    keras: KerasReading = field(default_factory=KerasReading)
    died: tuple[NotChecked, ...] = ()


@dataclass(frozen=True)
class Reading:
    """The graphs and usages of a project, and what could not be followed.

    Attributes:
        graphs: those that rules have not checked.
        usages: likewise.
        findings: what rules have found in each of the others.
        classes: the places of the model classes by name.
        models: the models that usages refer to by their keys.
        complete: False where a process died: another analysis may follow what this one did not.
    """

    graphs: tuple[Graph, ...] = ()
    usages: tuple[Usage, ...] = ()
    not_checked: tuple[NotChecked, ...] = ()
    classes: tuple[tuple[str, Place], ...] = ()
    models: Mapping[str, UsedModel] = field(default_factory=dict)
    findings: tuple[FindingsByRule, ...] = ()
    complete: bool = True

    @classmethod
    def of(cls, parts: ReadingParts) -> Reading:
        """The reading that parts make: one graph for all models that are alike, marked as that of a whole or a part."""
        read, keras = ProgramReading.joined(parts.programs.programs), parts.keras
        classes = [each for file in parts.files for each in file.classes]
        inside = read.parts.union(*(each.parts for each in classes))
        scored = read.scored - inside - read.features
        unknown = (inside | read.features).union(*(each.children for each in classes))

        def wholeness(model: LoweredModel) -> Wholeness:
            if model.identity in scored:
                return Wholeness.SCORED
            if model.identity in unknown:
                return Wholeness.UNKNOWN
            return Wholeness.SCORED if model.scores_itself else Wholeness.ALONE

        not_checked = [*read.not_checked]
        graphs: list[Graph] = []
        findings: list[FindingsByRule] = []
        indices: dict[str, int | None] = {}
        for each in (*read.models, *(outcome for one in classes for outcome in one.outcomes)):
            if isinstance(each, NotChecked):
                not_checked.append(each)
            elif each.likeness not in indices:
                indices[each.likeness] = None
                if each.not_followed is not None:
                    not_checked.append(each.not_followed)
                if each.graph is not None:
                    indices[each.likeness] = len(graphs)
                    graphs.append(replace(each.graph, wholeness=wholeness(each)))
                elif each.findings:
                    findings.append(each.findings[wholeness(each)])
        return cls(
            graphs=(*graphs, *keras.graphs),
            usages=(*read.usages, *keras.usages),
            not_checked=(*not_checked, *keras.not_checked, *parts.died),
            classes=tuple([(each.name, each.place) for each in classes]),
            models={key: UsedModel(indices[each.likeness], each.path, each.name) for key, each in read.called.items()},
            findings=(*findings, *read.findings),
            complete=not parts.died,
        )

    def pairs(self) -> Iterator[tuple[Graph, Usage]]:
        """Each usage with the graph of each model that it calls."""
        for usage in self.usages:
            for key in dict.fromkeys(call.model.key for _, call in usage.calls()):
                model = self.models.get(key)
                if model is not None and model.graph is not None:
                    yield replace(self.graphs[model.graph], model=key), usage
