"""One rank of a process group: it audits models as it is told on the command line, and prints what came of them.

`rank.py RANK SIZE STORE FILE…`: of each file the model that `begin(rank)` makes, after the stream of a new process.
"""

from __future__ import annotations

import importlib.util
import json
import sys
from datetime import timedelta
from pathlib import Path

import torch
import torch.distributed as dist

from regcheck import audit

rank, size, store, *files = sys.argv[1:]
torch.set_num_threads(1)
dist.init_process_group(
    "gloo", store=dist.FileStore(store, int(size)), rank=int(rank), world_size=int(size), timeout=timedelta(seconds=300)
)
for file in files:
    spec = importlib.util.spec_from_file_location(Path(file).stem, file)
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module
    spec.loader.exec_module(module)
    torch.seed()
    model = module.begin(int(rank))
    alone = getattr(module, "alone", None)
    before = torch.get_rng_state()
    if alone is None or int(rank) == alone:
        report = audit(model, *module.inputs, options={"devices": ["cpu"]})
        assert torch.equal(before, torch.get_rng_state())
        print(json.dumps({Path(file).stem: json.loads(report.to_json())}), flush=True)
    dist.barrier()
dist.destroy_process_group()
