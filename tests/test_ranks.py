"""Ranks of a real process group compare the masks they draw, and none of them waits for one that does not come."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from torch import nn

from regcheck.core.errors import CannotMeasure
from regcheck.core.measurements.rank_masks import RankMasks
from regcheck.probe.factory import locate
from regcheck.probe.measurements.rank_masks import mask_from
from regcheck.probe.probes import RanksProbe
from regcheck.probe.process_state import world_untouched
from regcheck.probe.runner import Runner
from regcheck.probe.seeds import state_of
from regcheck.tracing.example_inputs import Inputs
from regcheck.tracing.strategies import trace_model

RANK = Path(__file__).parent / "rank.py"
FIXTURES = sorted((Path(__file__).parents[1] / "fixtures" / "ranks").glob("*.py"))
PARTS = """
import torch
from torch import nn
from torch.nn.parallel import DistributedDataParallel

{parts}


def begin(rank):
    torch.manual_seed({seed})
    return DistributedDataParallel(nn.Sequential(nn.Linear(16, 64), nn.Dropout({rate}), nn.ReLU(), nn.Linear(64, 4)))


inputs = (torch.randn(8, 16),)
"""


SHARDED = """
import torch
import torch.nn.functional as F
from torch import nn
from torch.distributed.device_mesh import init_device_mesh
from torch.distributed.fsdp import FullyShardedDataParallel, fully_shard
from torch.distributed.tensor.parallel import ColwiseParallel, RowwiseParallel, parallelize_module

alone = 0


class Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.up, self.down, self.head = nn.Linear(16, 64), nn.Linear(64, 16), nn.Linear(16, 4)
        self.tied = self.down
        self.register_forward_pre_hook(lambda module, inputs: (inputs[0] * 2,))

    def forward(self, x):
        return self.head(F.dropout(self.down(self.up(x).relu()), 0.1))


def mesh():
    return init_device_mesh("cpu", (torch.distributed.get_world_size(),))


def begin(rank):
    torch.manual_seed(rank)
    return {shard}.eval()


inputs = (torch.randn(8, 16),)
"""
SHARDINGS = {
    "in_place": "fully_shard(Net(), mesh=mesh())",
    "flat": "FullyShardedDataParallel(Net(), device_id=torch.device('cpu'))",
    "flat_by_name": "FullyShardedDataParallel(Net(), device_id=torch.device('cpu'), use_orig_params=True)",
    "tensors": "parallelize_module(Net(), mesh(), {'up': ColwiseParallel(), 'down': RowwiseParallel()})",
}


def audited(folder, size, files):
    """What each rank of a gloo group said of each file."""
    command = [sys.executable, str(RANK)]
    tail = [str(size), str(folder / "store"), *map(str, files)]
    ranks = [
        subprocess.Popen([*command, str(rank), *tail], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
        for rank in range(size)
    ]
    try:
        said = [each.communicate(timeout=600) for each in ranks]
    finally:
        for each in ranks:
            each.kill()
    assert [each.returncode for each in ranks] == [0] * size, said
    return [{name: one for line in out.splitlines() for name, one in json.loads(line).items()} for out, _ in said]


@pytest.fixture(scope="module")
def two_ranks(tmp_path_factory):
    """What two ranks said of the fixtures, and of models that only the first of them audits."""
    folder = tmp_path_factory.mktemp("ranks")
    (folder / "left_alone.py").write_text(PARTS.format(parts="alone = 0", seed=0, rate=0.5))
    for name, shard in SHARDINGS.items():
        (folder / f"{name}.py").write_text(SHARDED.replace("{shard}", shard))
    sharded = [folder / f"{name}.py" for name in SHARDINGS]
    return audited(folder, 2, [*FIXTURES, folder / "left_alone.py", *sharded, *FIXTURES[:1]])


def marked(path):
    lines = path.read_text().splitlines()
    return {number for number, line in enumerate(lines, 1) if re.search(r"# <- REG501$", line)}


def test_there_are_fixtures_of_both_kinds():
    """There are at least three programs at fault and three that are right, each of which says why."""
    assert sum(bool(marked(path)) for path in FIXTURES) >= 3
    assert sum(path.read_text().startswith('"""Silent because ') and not marked(path) for path in FIXTURES) >= 3


@pytest.mark.parametrize("path", FIXTURES, ids=lambda path: path.stem)
def test_both_ranks_tell_the_same_of_a_program(two_ranks, path):
    """Each rank reports exactly the marked lines, confirmed, and nothing else, and leaves nothing unchecked."""
    for report in (rank[path.stem] for rank in two_ranks):
        found = {(each["code"], each["line"], each["evidence"]["verdict"]) for each in report["findings"]}
        assert found == {("REG501", line, "confirmed") for line in marked(path)}
        assert [each["reason"] for each in report["not_checked"]] == []


def test_a_rank_that_audits_alone_says_so(two_ranks):
    """Where the other rank does not audit, nothing is found and nothing hangs, and the report says so."""
    alone, other = (rank.get("left_alone") for rank in two_ranks)
    assert other is None
    assert alone["findings"] == []
    assert ["ranks" in each["reason"] and "5 seconds" in each["reason"] for each in alone["not_checked"]] == [True]


@pytest.mark.parametrize("sharding", SHARDINGS)
def test_a_sharded_model_is_followed_whole(two_ranks, sharding):
    """One rank alone follows all modules of a sharded model and names the faulty line, unproven as it cannot run."""
    report = two_ranks[0][sharding]
    (line,) = (n for n, text in enumerate(SHARDED.splitlines(), 1) if "F.dropout" in text)
    found = [(each["code"], each["line"], each["evidence"]["verdict"]) for each in report["findings"]]
    assert found == [("REG202", line, "unmeasured")]
    assert "spread over 2 processes" in report["findings"][0]["evidence"]["because"]
    (coverage,) = report["coverage"]
    assert (coverage["traced"], coverage["modules"], report["not_checked"]) == (4, 4, [])


def test_only_ranks_that_are_alike_are_named(tmp_path):
    """Of three ranks the two that share a stream are named by each other, and the third has no finding."""
    file = tmp_path / "two_of_three.py"
    file.write_text(PARTS.format(parts="", seed="rank // 2", rate=0.3))
    first, second, third = (rank["two_of_three"]["findings"] for rank in audited(tmp_path, 3, [file]))
    assert [each["code"] for each in (*first, *second)] == ["REG501"] * 2
    assert all("on ranks 0 and 1:" in each["message"] for each in (*first, *second))
    assert third == []


@pytest.mark.parametrize(
    ("layer", "same", "tells"),
    [
        (nn.Dropout(0.3), True, (True, True)),
        (nn.Dropout(0.3), False, (False, False)),
        (nn.Dropout2d(0.3), True, (True, True)),
        (nn.Dropout(1e-6), True, (True, False)),
    ],
    ids=["the same masks", "other masks", "whole channels", "hardly anything is dropped"],
)
def test_what_masks_tell(layer, same, tells):
    """Equal masks count as equal, others do not, and masks that drop next to nothing agree too easily to tell."""
    model, inputs = (
        nn.Sequential(nn.Conv2d(3, 64, 3), layer, nn.Flatten(), nn.Linear(2304, 2)),
        (torch.rand(4, 3, 8, 8),),
    )
    with world_untouched():
        graph = trace_model(model, "model", Inputs(inputs), locate).graph
        (op,) = (each for each in graph.train if each.drops)
        runner, cpu = Runner(model, inputs, {}, "cpu", locate), torch.device("cpu")
        torch.manual_seed(1)
        mine = state_of(cpu)
        if not same:
            torch.manual_seed(2)
        theirs = state_of(cpu)
        probe = RanksProbe(runner, mine, (0, 1), lambda *_: masks, 0)
        masks = {0: mask_from(runner, op, mine, 0), 1: mask_from(runner, op, theirs, 0)}
        found = probe.measure(RankMasks, op)
        assert (found.identical, found.p_value <= probe.alpha) == tells
        masks[1] = masks[1][:-1]
        with pytest.raises(CannotMeasure, match="different shapes"):
            probe.measure(RankMasks, op)
