"""Audit each target in a process of its own, and keep the reports as they come."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from contextlib import closing, suppress
from pathlib import Path

from regcheck.config.options import Options
from regcheck.core.finding import NotChecked
from regcheck.core.join import join
from regcheck.core.progress import steps
from regcheck.core.report import Report, asked_by_name
from regcheck.core.version import __version__


def audited_apart(
    targets: Sequence[str],
    examine: Callable[[str], Report],
    options: Options,
    jobs: int,
    memory: int | None,
    cluster: str | None,
    file: Path | None,
    inputs: Sequence[str],
) -> Report:
    """Returns one report on all targets, the same as that of a single process.

    A target whose process crashes or is killed is not checked. The file does not hold it, so that it is tried again.

    Args:
        targets: the targets.
        examine: returns the report on a target; it is pickled.
        options: the options of the run.
        jobs: how many processes run at once on this machine.
        memory: the most bytes of one process; by default its share of the machine's memory.
        cluster: the address of the Ray cluster that runs the processes, if one does.
        file: where to write each report, and to read those of an earlier run from, if anywhere.
        inputs: the inputs as they are written on the command line.
    """
    import torch

    from regcheck.engine.isolated_calls import IsolatedCalls, Lost
    from regcheck.engine.ray_calls import RayCalls
    from regcheck.engine.result_file import ResultFile
    from regcheck.engine.target_digest import digest
    from regcheck.suppression.apply import report_under

    reports: dict[str, Report] = {}
    results, digests = None, dict.fromkeys(targets, "")
    if file is not None:
        setting = {"version": __version__, "torch": torch.__version__, "options": options.to_dict()}
        results = ResultFile(file, {**setting, "inputs": list(inputs)})
        digests = {each: digest(each) for each in targets}
        stored_reports = results.reports
        reports = {each: stored_reports[each, of] for each, of in digests.items() if (each, of) in stored_reports}
    missing = [each for each in targets if each not in reports]
    calls: IsolatedCalls[str, Report] | RayCalls[str, Report]
    if cluster is None:
        calls = IsolatedCalls(examine, missing, jobs, memory or memory_of_machine() // jobs)
    else:
        calls = RayCalls(examine, missing, cluster, memory)
    with closing(calls.results()) as outcomes:
        for _ in steps(missing, lambda _: f"auditing {', '.join(calls.running[:jobs]) or 'the first models'}"):
            target, outcome = next(outcomes)
            if isinstance(outcome, Lost):
                todo = "audit it alone, or with fewer --jobs or more --memory"
                lost = report_under(options, not_checked=(NotChecked(target, str(outcome), todo),))
                reports[target] = asked_by_name(lost, target)
                continue
            reports[target] = outcome
            if results is not None:
                results.add(target, digests[target], outcome)
    return join(reports[each] for each in targets)


def memory_of_machine() -> int:
    """The bytes of memory of this machine, or of the container."""
    limits = []
    with suppress(OSError, ValueError, AttributeError):
        limits.append(os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES"))
    with suppress(OSError, ValueError):
        limits.append(int(Path("/sys/fs/cgroup/memory.max").read_text()))
    return min(limits, default=1 << 62)
