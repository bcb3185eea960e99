"""timm: architectures of every family, as they are, and once more with rates of 0.1, which timm sets to zero."""

from __future__ import annotations

import re
from collections.abc import Iterator
from functools import partial
from typing import Any

import torch
from torch import nn

from zoo.entry import Arguments, Entry
from zoo.libraries.torchvision import imported

OF_EACH_FAMILY = 3
SIZES = "atto femto pico zepto nano xxtiny xxt xxsmall xxs xs xsmall tiny ti t small s mini".split()
LARGE = "large l huge h giant g gigantic enormous xl xlarge xxl xxlarge so400m so150m 7b".split()
RATES = {"drop_rate": 0.1, "drop_path_rate": 0.1, "attn_drop_rate": 0.1}


def entries(library: str) -> Iterator[Entry]:
    """The smallest architectures of each family, by what their names say."""
    imported()
    import timm

    for name in chosen(timm):
        plain = partial(timm.create_model, name, pretrained=False)
        yield Entry(library, name, plain if library == "timm" else partial(with_rates, timm, name), images)


def chosen(timm: Any) -> list[str]:
    """Returns the family: the beginning of a name, up to the first part that is no letter or a version."""
    families: dict[tuple[str, str], list[str]] = {}
    for module in timm.list_modules():
        for name in timm.list_models(module=module):
            found = re.match(r"(?:tf_|sam2_|test_)?[a-z]+(?:v\d)?", name)
            family = found.group() if found else name
            families.setdefault((module, family), []).append(name)
    picked = [name for names in families.values() for name in sorted(names, key=weight)[:OF_EACH_FAMILY]]
    return [*dict.fromkeys(name for name in picked if not weight(name)[0])]


def weight(name: str) -> tuple[Any, ...]:
    """Sorts names from small to large: words of size first, then image sizes and depths."""
    words = name.split("_")
    numbers = [int(each) for each in re.findall(r"\d+", name)]
    small = min((SIZES.index(each) for each in words if each in SIZES), default=len(SIZES))
    return any(each in LARGE for each in words), small, sum(numbers), name


def with_rates(timm: Any, name: str) -> nn.Module:
    """The model with rates of 0.1, as far as its constructor takes them."""
    for rates in (RATES, {key: RATES[key] for key in ("drop_rate", "drop_path_rate")}, {"drop_rate": 0.1}):
        try:
            model: nn.Module = timm.create_model(name, pretrained=False, **rates)
        except TypeError:
            continue
        return model
    raise TypeError(f"{name} takes no rates")


def images(model: nn.Module) -> Arguments:
    declared: Any = model.pretrained_cfg
    return (torch.rand(2, *declared["input_size"]),), {}
