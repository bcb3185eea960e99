"""Audit public models, one process each, and write what was found to a JSON-lines file.

    python benchmarks/zoo.py torchvision timm --out zoo.jsonl

Models that the file already holds are skipped, so an interrupted run can be taken up again. Weights are random. The
compiled operators of a CUDA build of torchvision, which do not load beside a CPU build of torch, are declared here.
"""

from __future__ import annotations

import argparse
import json
import multiprocessing
import resource
import time
import traceback
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

import torch
from rich.progress import track
from torch import nn

TIMM_FAMILIES = """
    beit_base_patch16_224 botnet26t_256 caformer_s18 cait_xxs24_224 coat_tiny coatnet_0_rw_224 convit_tiny
    convmixer_768_32 convnext_tiny convnextv2_tiny crossvit_tiny_240 cs3darknet_m cspresnet50 darknet53 davit_tiny
    deit_tiny_patch16_224 deit3_small_patch16_224 densenet121 dla34 dm_nfnet_f0 dpn68 eca_nfnet_l0 edgenext_small
    efficientformer_l1 efficientformerv2_s0 efficientnet_b0 efficientnetv2_rw_t efficientvit_b0 efficientvit_m0
    ese_vovnet19b_dw eva02_tiny_patch14_224 fastvit_t8 fbnetc_100 flexivit_small focalnet_tiny_srf gcvit_xxtiny
    gernet_s ghostnet_100 gmixer_24_224 gmlp_s16_224 halonet26t hardcorenas_a hgnet_tiny hiera_tiny_224
    hrnet_w18_small inception_next_tiny inception_resnet_v2 inception_v3 inception_v4 lambda_resnet26t lcnet_050
    levit_128 maxvit_rmlp_pico_rw_256 metaformer_ppff_s12_224 mixer_s32_224 mixnet_s mnasnet_100 mobilenetv2_100
    mobilenetv3_small_100 mobilenetv4_conv_small mobileone_s0 mobilevit_xxs mobilevitv2_050 mvitv2_tiny
    nasnetalarge nest_tiny nextvit_small nfnet_f0 pit_ti_224 poolformer_s12 pvt_v2_b0 regnetx_002 regnety_002
    repghostnet_050 repvgg_a0 repvit_m0_9 res2net50_26w_4s resmlp_12_224 resnest14d resnet18 resnetv2_50
    resnext50_32x4d rexnet_100 samvit_base_patch16_224 sehalonet33ts selecsls42b seresnet18 sequencer2d_s
    skresnet18 spnasnet_100 swin_tiny_patch4_window7_224 swinv2_cr_tiny_224 tf_efficientnet_b0 tiny_vit_5m_224
    tinynet_e tnt_s_legacy_patch16_224 tresnet_m twins_pcpvt_small vgg11 visformer_tiny vit_tiny_patch16_224
    vit_relpos_small_patch16_224 vitamin_small_224 volo_d1_224 wide_resnet50_2 xception41 xcit_nano_12_p16_224
"""


def import_torchvision() -> Any:
    """Import torchvision beside a CPU build of torch."""
    declare: Any = torch.library.Library
    library = declare("torchvision", "DEF")
    for name in ("nms", "qnms"):
        library.define(f"{name}(Tensor dets, Tensor scores, float iou_threshold) -> Tensor")
    library.define(
        "roi_align(Tensor input, Tensor rois, float spatial_scale, int pooled_height, int pooled_width,"
        " int sampling_ratio, bool aligned) -> Tensor"
    )
    import_torchvision.keep = library  # type: ignore[attr-defined]
    import torchvision

    return torchvision


def models(source: str) -> Iterator[tuple[str, Callable[[], nn.Module]]]:
    """Names and builders of a source's models."""
    torchvision = import_torchvision() if not hasattr(import_torchvision, "keep") else __import__("torchvision")
    if source == "torchvision":
        for module in (torchvision.models, torchvision.models.segmentation):
            for name in torchvision.models.list_models(module=module):
                yield name, partial(torchvision.models.get_model, name, weights=None, **_backbone(name))
    elif source == "timm":
        import timm

        known = set(timm.list_models())
        for name in TIMM_FAMILIES.split():
            if name in known:
                yield name, partial(timm.create_model, name, pretrained=False)
    elif source == "timm-regularized":
        import timm

        for name in TIMM_FAMILIES.split():
            if name in timm.list_models():
                yield name, partial(_with_rates, timm, name)


def _backbone(name: str) -> dict[str, Any]:
    segmentation = ("deeplab", "fcn", "lraspp")
    return {"weights_backbone": None} if name.startswith(segmentation) else {}


def _with_rates(timm: Any, name: str) -> nn.Module:
    for rates in ({"drop_rate": 0.1, "drop_path_rate": 0.1, "attn_drop_rate": 0.1}, {"drop_rate": 0.1}):
        try:
            model: nn.Module = timm.create_model(name, pretrained=False, **rates)
        except TypeError:
            continue
        return model
    raise TypeError(f"{name} takes no rates")


def state_of(model: nn.Module) -> list[Any]:
    """What an audit must leave alone: values, gradients, flags and hooks."""
    tensors = [*model.named_parameters(), *model.named_buffers()]
    values = [(name, each.detach().double().sum().item(), each._version, each.grad is None) for name, each in tensors]
    modules = [
        (name, m.training, len(m._forward_hooks), len(m._forward_pre_hooks)) for name, m in model.named_modules()
    ]
    return [values, modules, torch.get_rng_state().sum().item()]


def examine(source: str, name: str, build: Callable[[], nn.Module]) -> dict[str, Any]:
    """Audit one model; what was found, what it cost, and whether the model was left alone."""
    from regcheck import audit

    torch.set_num_threads(1)
    torch.manual_seed(0)
    row: dict[str, Any] = {"source": source, "model": name}
    try:
        model = build()
    except Exception as error:
        return {**row, "unbuilt": f"{type(error).__name__}: {error}"}
    before = state_of(model)
    start = time.perf_counter()
    try:
        report = audit(model, options={"budget": 300.0, "devices": ["cpu"]})
    except Exception:
        return {**row, "crash": traceback.format_exc()}
    row["seconds"] = round(time.perf_counter() - start, 2)
    row["unchanged"] = before == state_of(model)
    row["findings"] = [each.to_dict() for each in report.findings]
    row["refuted"] = [each.to_dict() for each in report.refuted]
    row["not_checked"] = [each.to_dict() for each in report.not_checked]
    row["ops"] = 0 if report.fx_graph is None else len(report.fx_graph.nodes)
    row["megabytes"] = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024
    return row


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("sources", nargs="+")
    parser.add_argument("--out", type=Path, default=Path("zoo.jsonl"))
    parser.add_argument("--limit", type=int)
    parser.add_argument("--timeout", type=float, default=600.0)
    options = parser.parse_args()
    lines = options.out.read_text().splitlines() if options.out.exists() else []
    done = {(row["source"], row["model"]) for row in map(json.loads, lines)}
    todo = [
        (source, name, build)
        for source in options.sources
        for name, build in list(models(source))[: options.limit]
        if (source, name) not in done
    ]
    context = multiprocessing.get_context("fork")
    with options.out.open("a") as out:
        for source, name, build in track(todo, description="auditing"):
            receiver, sender = context.Pipe(duplex=False)
            child = context.Process(target=lambda: sender.send(examine(source, name, build)))  # noqa: B023
            child.start()
            sender.close()
            try:
                row = receiver.recv() if receiver.poll(options.timeout) else {"crash": "took too long"}
            except EOFError:
                row = {"crash": "the process died"}
            child.kill()
            child.join()
            out.write(json.dumps({"source": source, "model": name, **row}) + "\n")
            out.flush()


if __name__ == "__main__":
    main()
