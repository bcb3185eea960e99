"""Keras: one small architecture of each family of `keras.applications`, on torch and with random weights."""

from __future__ import annotations

import os
from collections.abc import Iterator
from functools import partial

from zoo.entry import Entry

FAMILIES = (
    *("ConvNeXtTiny", "DenseNet121", "EfficientNetB0", "EfficientNetV2B0", "InceptionResNetV2", "InceptionV3"),
    *("MobileNet", "MobileNetV2", "MobileNetV3Small", "ResNet50", "VGG16", "Xception"),
)
"""NASNet is left out: Keras does not build it on torch."""


def entries(library: str) -> Iterator[Entry]:
    """The smallest architecture of each family; the models declare their inputs."""
    os.environ["KERAS_BACKEND"] = "torch"
    import keras

    for name in FAMILIES:
        yield Entry(library, name, partial(getattr(keras.applications, name), weights=None))
