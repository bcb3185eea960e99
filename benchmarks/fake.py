"""Time tracing on fake tensors.

    python benchmarks/fake.py

Prints the seconds and the memory that whole audits of large models on the meta device take, each in a process of its
own, and for models with weights how long a fake forward takes in eager forwards (medians of paired runs on one thread,
with the fake copy that is made for each). Models of libraries that are not installed are left out.
"""

from __future__ import annotations

import importlib.util
import multiprocessing
import resource
import statistics
import time
from collections.abc import Callable
from typing import Any

import torch
from torch import nn

from regcheck import audit
from regcheck.core.graph import Mode
from regcheck.tracing.example_inputs import Inputs
from regcheck.tracing.fake import record_fake

Sizes = dict[str, int]
LLAMAS: dict[str, Sizes] = {
    "Llama 7B": {"hidden_size": 4096, "intermediate_size": 11008, "num_hidden_layers": 32, "num_attention_heads": 32},
    "Llama 70B": {
        "hidden_size": 8192,
        "intermediate_size": 28672,
        "num_hidden_layers": 80,
        "num_attention_heads": 64,
        "num_key_value_heads": 8,
    },
}


def import_torchvision() -> None:
    """Import torchvision, as timm and transformers do, with stand-ins if its compiled operators do not load."""
    if importlib.util.find_spec("torchvision"):
        from zoo.libraries.torchvision import imported

        imported()


def llama(name: str) -> nn.Module:
    """Returns a Llama of that size."""
    import_torchvision()
    from transformers import LlamaConfig, LlamaForCausalLM

    model: nn.Module = LlamaForCausalLM(LlamaConfig(**LLAMAS[name], attention_dropout=0.1))
    return model


def pretrained(name: str) -> nn.Module:
    """Returns a timm model with random weights."""
    import_torchvision()
    import timm

    model: nn.Module = timm.create_model(name, pretrained=False)
    return model


LARGE: dict[str, tuple[str, Callable[[str], nn.Module]]] = {
    "Llama 7B": ("transformers", llama),
    "Llama 70B": ("transformers", llama),
    "vit_giant_patch14_dinov2": ("timm", pretrained),
}
VISION = ("resnet50", "convnext_tiny", "vit_base_patch16_224")


def audited(name: str) -> dict[str, Any]:
    """Times an audit of a large model on meta."""
    with torch.device("meta"):
        model = LARGE[name][1](name)
    wall, cpu = time.perf_counter(), time.process_time()
    report = audit(model, options={"devices": ["cpu"]})
    return {
        "wall": time.perf_counter() - wall,
        "cpu": time.process_time() - cpu,
        "gigabytes": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024 / 1e9,
        "nodes": len(report.fx_graph.nodes) if report.fx_graph else 0,
        "findings": len(report.findings),
        "not checked": len(report.not_checked),
    }


def ratio(name: str) -> tuple[float, float]:
    """Returns CPU milliseconds of an eager forward, and the duration of a fake one in eager forwards."""
    torch.set_num_threads(1)
    model, x = pretrained(name).eval(), torch.randn(4, 3, 224, 224)

    def eager() -> None:
        with torch.no_grad():
            model(x)

    def timed(run: Callable[[], Any]) -> float:
        start = time.process_time()
        run()
        return time.process_time() - start

    pairs = [(timed(eager), timed(lambda: record_fake(model, Mode.EVAL, Inputs((x,))))) for _ in range(6)][1:]
    return 1000 * statistics.median(one for one, _ in pairs), statistics.median(fake / one for one, fake in pairs)


def main() -> None:
    """Print a line per model."""
    context = multiprocessing.get_context("spawn")
    for name, (library, _) in LARGE.items():
        if importlib.util.find_spec(library):
            with context.Pool(1) as pool:
                row = pool.apply(audited, (name,))
            print(f"{name:28}", "  ".join(f"{key} {round(value, 2)}" for key, value in row.items()), flush=True)
    for name in VISION if importlib.util.find_spec("timm") else ():
        with context.Pool(1) as pool:
            milliseconds, fakes = pool.apply(ratio, (name,))
        print(f"{name:28} eager {milliseconds:.0f} ms  fake {fakes:.2f} of it", flush=True)


if __name__ == "__main__":
    main()
