"""A scan of the source of Keras and tf.keras models."""

from __future__ import annotations

import textwrap
from pathlib import Path

import pytest

from regcheck.core.report import Report
from regcheck.engine.scan import scan


def report(folder: Path, **files: str) -> Report:
    """The report about files with these names and texts."""
    for name, text in files.items():
        (folder / f"{name}.py").write_text(textwrap.dedent(text))
    return scan([folder])


@pytest.mark.parametrize(
    "imports",
    [
        "from keras import layers",
        "import keras.layers as layers",
        "from tensorflow.keras import layers",
        "import tensorflow as tf\nlayers = tf.keras.layers",
        "from tensorflow import keras\nlayers = keras.layers",
    ],
)
def test_layers_that_no_model_shows_are_not_checked(tmp_path: Path, imports: str) -> None:
    """A file whose Keras layers are in no model that the source shows is listed with their lines, however imported."""
    found = report(tmp_path, stems=f"{imports}\nstems = [register(layers.Dense(4)), register(layers.Dropout(0.5))]\n")
    (entry,) = found.not_checked
    assert "2 Keras layers" in entry.reason
    assert "`Dropout`" in entry.reason
    assert "audit" in entry.what_to_do


def test_a_file_that_only_names_keras_is_complete(tmp_path: Path) -> None:
    """A file that mentions Keras and builds no layer of it has no entry."""
    assert not report(tmp_path, losses="from keras import losses\nloss = losses.Huber()\n").not_checked
