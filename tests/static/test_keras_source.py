"""A scan of the source of Keras and tf.keras models."""

from __future__ import annotations

import re
import textwrap
from pathlib import Path

import pytest

from regcheck.core.report import Report
from regcheck.engine.scan import scan

FIXTURES = sorted((Path(__file__).parents[2] / "fixtures" / "keras").glob("*.py"))
MARKS = re.compile(r"# <-((?: REG\d{3})+)$")


def marked(text: str) -> set[tuple[int, str]]:
    """The lines and codes of the marks in a text."""
    lines = enumerate(text.splitlines(), 1)
    return {(number, code) for number, line in lines for match in MARKS.finditer(line) for code in match[1].split()}


def found(each: Report) -> set[tuple[int | None, str]]:
    """The lines and codes of a report's findings."""
    return {(finding.line, finding.code) for finding in each.findings}


def report(folder: Path, **files: str) -> Report:
    """The report about files with these names and texts."""
    for name, text in files.items():
        (folder / f"{name}.py").write_text(textwrap.dedent(text))
    return scan([folder])


@pytest.mark.parametrize("path", FIXTURES, ids=lambda path: path.stem)
def test_a_scan_finds_what_the_marks_of_a_fixture_say(path: Path) -> None:
    """A scan of Keras source reports exactly the marked lines, and every layer is in a model."""
    each = scan([path])
    assert found(each) == marked(path.read_text())
    assert not each.not_checked


VARIANTS = """
import tensorflow as tf
from tensorflow import keras
from tensorflow.keras import layers
from tensorflow.keras.layers import Convolution2D, Dense, Dropout, TimeDistributed


class Rows(layers.Layer):
    def __init__(self, rate, **options):
        super().__init__(**options)
        self.drop = Dropout(rate)

    def build(self, shape):
        self.dense = Dense(shape[-1])

    def call(self, x):
        return self.dense(self.drop(x))


def rows():
    inputs = keras.Input((4,))
    return keras.Model(inputs, Dense(1)(Rows(0.2)(inputs)))


class Sampled(Rows):
    def call(self, x):
        return self.dense(self.drop(x, training=True))  # <- REG202


def chosen_at_will(monte_carlo=False):
    inputs = keras.Input((4,))
    x = Dropout(0.5)(inputs, training=monte_carlo)
    return keras.Model(inputs, Dense(1)(x))


def before_norm():
    return keras.Sequential(
        [Dense(9), Dropout(0.5), Dense(9), layers.BatchNormalization(), Dense(1)]  # <- REG103
    )


def after_norm():
    return keras.Sequential([Dense(9), layers.BatchNormalization(), Dropout(0.5), Dense(9), Dense(1)])


def doubled():
    return keras.Sequential([Dense(9), Dropout(0.1), Dropout(0.1), Dense(1)])  # <- REG106


def saturated():
    return keras.Sequential([Dense(9), Dropout(0.1), layers.Activation("sigmoid"), Dense(1)])  # <- REG104


def maps(rate):
    model = keras.models.Sequential()
    for filters in (8, 16):
        model.add(Convolution2D(filters, (3, 3), activation=layers.LeakyReLU(0.1)))
        model.add(Dropout(rate))  # <- REG102
        model.add(layers.MaxPool2D((2, 2)))
    model.add(layers.Flatten())
    model.add(Dense(3))
    return model


def maps_by_channel(rate):
    model = keras.models.Sequential()
    for filters in (8, 16):
        model.add(Convolution2D(filters, (3, 3), activation=layers.LeakyReLU(0.1)))
        model.add(Dropout(rate, noise_shape=(None, 1, 1, filters)))
        model.add(layers.MaxPool2D((2, 2)))
    model.add(layers.Flatten())
    model.add(Dense(3))
    return model


def words(rate=0.2):
    inputs = keras.Input((30,))
    x = layers.Embedding(100, 8)(inputs)
    x = layers.SpatialDropout1D(rate)(x)
    x = layers.LSTM(8, return_sequences=True, dropout=0.2)(x)
    x = TimeDistributed(Dropout(rate))(x)
    return keras.Model(inputs, TimeDistributed(Dense(5, activation="softmax"))(x))


class Attending(layers.Layer):
    def __init__(self, rate=0.1):
        super().__init__()
        self.rate = rate
        self.scores = Dense(4)

    def call(self, x, training=None):
        weights = tf.nn.softmax(self.scores(x))
        return self.scores(tf.nn.dropout(weights, self.rate))  # <- REG202


class AttendingByMode(Attending):
    def call(self, x, training=None):
        weights = tf.nn.softmax(self.scores(x))
        if training:
            weights = tf.nn.dropout(weights, self.rate)
        return self.scores(weights)


class AttendingByRate(Attending):
    def call(self, x, training=None):
        weights = tf.nn.softmax(self.scores(x))
        return self.scores(tf.nn.dropout(weights, rate=self.rate if training else 0.0))


class Functional(keras.Model):
    def __init__(self, width=8, **options):
        inputs = keras.Input((4,))
        x = Dense(width, activation=tf.nn.gelu)(inputs)
        x = layers.concatenate([x, inputs])
        x = Dropout(0.95)(x)  # <- REG401
        super().__init__(inputs=inputs, outputs=Dense(2)(x), **options)
"""


def test_variants(tmp_path: Path) -> None:
    """Of small models in many styles, each beside a sound twin, exactly the faulty ones are reported."""
    (tmp_path / "variants.py").write_text(VARIANTS)
    each = scan([tmp_path], {"extend_select": ["ALL"]})
    expected = marked(VARIANTS)
    assert {code for _, code in expected} == {code for _, code in found(each)}
    assert found(each) == expected
    assert not each.not_checked


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
    read = report(tmp_path, stems=f"{imports}\nstems = [register(layers.Dense(4)), register(layers.Dropout(0.5))]\n")
    (entry,) = read.not_checked
    assert "2 Keras layers" in entry.reason
    assert "`Dropout`" in entry.reason
    assert "audit" in entry.what_to_do


def test_names_of_a_star_import(tmp_path: Path) -> None:
    """Layers and models that `import *` binds are followed."""
    text = """
    from keras.layers import *
    from keras.models import *

    model = Sequential([Dense(8), Dropout(0.3), Dense(1), Dropout(0.3)])  # <- REG101
    model.compile("sgd", "mse")
    """
    each = report(tmp_path, script=text)
    assert {(finding.line, finding.column, finding.code) for finding in each.findings} == {(5, 55, "REG101")}
    assert not each.not_checked


def test_names_that_another_file_imports(tmp_path: Path) -> None:
    """Keras is followed through the file that imports it, and what is in no model is listed there, too."""
    libraries = "from tensorflow import keras\n"
    text = """
    from libraries import *

    model = keras.Sequential([keras.layers.Dense(8), keras.layers.Dropout(0.9), keras.layers.Dense(1)])  # <- REG401
    lonely = register(keras.layers.Dense(4))
    """
    each = report(tmp_path, libraries=libraries, script=text)
    assert found(each) == {(4, "REG401")}
    assert [entry.line for entry in each.not_checked] == [5]


def test_a_file_that_only_names_keras_is_complete(tmp_path: Path) -> None:
    """A file that mentions Keras and builds no layer of it has no entry."""
    assert not report(tmp_path, losses="from keras import losses\nloss = losses.Huber()\n").not_checked
