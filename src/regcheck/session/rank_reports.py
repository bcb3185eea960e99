"""One report on a program that runs in several processes, one for each rank, under `torchrun`.

The ranks send their reports to the first one through the launcher's store, which outlives their process groups. No rank
ends before the report is out: the launcher kills the others as soon as one of them ends with a code that is not 0.
"""

from __future__ import annotations

import pickle
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import replace
from datetime import timedelta
from importlib import import_module
from typing import Any

from regcheck.core.errors import format_error
from regcheck.core.finding import Finding, Key, NotChecked
from regcheck.core.join import join
from regcheck.core.ranks import listed
from regcheck.core.report import Report
from regcheck.lazy_dataclass import dataclass
from regcheck.probe.rank_agreement import wait_for

PATIENCE = timedelta(minutes=10)
"""How long the first rank waits for the others' reports; the others wait twice as long for it."""


@dataclass(frozen=True)
class Launch:
    """This process among those that `torchrun` started; `run` distinguishes launches, and restarts of one."""

    rank: int
    size: int
    address: str
    port: int
    run: str

    @classmethod
    def of(cls, environment: Mapping[str, str]) -> Launch | None:
        """The launch that the environment describes; None for a process that is alone, or of another launcher."""
        if environment.get("TORCHELASTIC_USE_AGENT_STORE") != "True":
            return None
        try:
            rank, size, port = (int(environment[name]) for name in ("RANK", "WORLD_SIZE", "MASTER_PORT"))
            run = "/".join(environment[f"TORCHELASTIC_{name}"] for name in ("RUN_ID", "RESTART_COUNT"))
            address = environment["MASTER_ADDR"]
        except (KeyError, ValueError):
            return None
        return cls(rank, size, address, port, run) if size > 1 else None


@contextmanager
def report_of_all_ranks(launch: Launch | None, own: Report) -> Iterator[Report | None]:
    """Yields the report of all ranks in the first one, and None in the others, which end only when it has been used.

    A process that was started alone has its own report. So has each rank where the launcher's store cannot be reached,
    and that report says so.
    """
    store = None
    if launch is not None:
        try:
            store = _store(launch)
            if launch.rank:
                store.set(f"report/{launch.rank}", pickle.dumps(replace(own, fx_graph=None)))
            else:
                own = joined({0: own, **_received(store, launch.size)}, launch.size)
        except RuntimeError as error:
            missed = NotChecked("the other ranks", f"their reports cannot be had: {format_error(error)}")
            own, store = replace(own, not_checked=(*own.not_checked, missed)), None
    if store is None or launch is None:
        yield own
        return
    if launch.rank:
        yield None
        with suppress(RuntimeError):  # the launcher may have ended
            wait_for(store, ["published"], 2 * PATIENCE)
            store.set(f"released/{launch.rank}", "")
        return
    try:
        yield own
    finally:
        with suppress(RuntimeError):
            store.set("published", "")
            wait_for(store, [f"released/{rank}" for rank in range(1, launch.size)], timedelta(seconds=5))


def _store(launch: Launch) -> Any:
    """The launcher's store."""
    distributed: Any = import_module("torch.distributed")  # its stubs lack the stores

    timeout = timedelta(seconds=30)
    store = distributed.TCPStore(launch.address, launch.port, is_master=False, wait_for_workers=False, timeout=timeout)
    return distributed.PrefixStore(f"regcheck/{launch.run}", store)


def _received(store: Any, size: int) -> dict[int, Report]:
    """The reports of the other ranks, by rank, of those that send one in time."""
    keys = {rank: f"report/{rank}" for rank in range(1, size)}
    wait_for(store, [*keys.values()], PATIENCE)
    return {rank: pickle.loads(store.get(key)) for rank, key in keys.items() if store.check([key])}


def joined(reports: Mapping[int, Report], size: int) -> Report:
    """The reports of ranks as one: each finding once, naming its ranks unless all have it.

    Args:
        reports: the reports, by rank.
        size: the number of ranks.
    """
    ranks: dict[Key, list[int]] = {}
    for rank, report in reports.items():
        for each in report.findings:
            ranks.setdefault(each.key, []).append(rank)

    def naming_ranks(finding: Finding) -> Finding:
        if len(ranks[finding.key]) == size:
            return finding
        because = f"{finding.evidence.because}; on {named(ranks[finding.key])} of {size}"
        return replace(finding, evidence=replace(finding.evidence, because=because))

    whole = join(reports.values())
    silent = [rank for rank in range(size) if rank not in reports]
    missed = (NotChecked(named(silent), "sent no report", "see how it ended"),) if silent else ()
    return replace(whole, findings=tuple(map(naming_ranks, whole.findings)), not_checked=(*whole.not_checked, *missed))


def named(ranks: list[int]) -> str:
    """`rank 1`, or `ranks 0 and 2`."""
    return f"rank{'s' * (len(ranks) > 1)} {listed(ranks)}"
