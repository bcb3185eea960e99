"""The lines that construct the layers of live Keras models."""

from __future__ import annotations

import importlib
import importlib.util
import os
import re
import subprocess
import sys
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

import regcheck
from regcheck.tracing.keras_construction import places_of

pytestmark = [
    pytest.mark.skipif(importlib.util.find_spec("keras") is None, reason="Keras is not installed"),
    pytest.mark.filterwarnings("ignore::DeprecationWarning"),  # of Keras and its dependencies
]

MODELS = """
import keras
from keras import layers
from keras.layers import Conv1D, Dense, Dropout


def listed():
    return keras.Sequential(
        [
            layers.Input((8,)),
            layers.Dense(4),  # listed 0
            Dropout(0.2),  # listed 1
            layers.Dense(4, name="last"),  # listed 2
            Dropout(0.2),  # listed 3
        ]
    )


def added(widths=(16, 8), rate=0.3):
    model = keras.Sequential([keras.Input((8,))])
    for width in widths:
        model.add(Dense(width, activation="relu"))  # added 0 2
        model.add(Dropout(rate))  # added 1 3
    model.add(Dense(1))  # added 4
    model.add(Dropout(rate))  # added 5
    return model


def functional(rate=0.1):
    series = keras.Input((16, 3))
    hidden = block(series, 4)
    hidden = block(hidden, 8)
    return keras.Model(series, Dense(2)(Dropout(rate)(hidden)))  # functional 6 5


def block(x, filters, rate=0.1):
    x = Conv1D(filters, 3, padding="same")(x)  # functional 1 3
    return Dropout(rate)(x)  # functional 2 4


class Trainer:
    def __init__(self, deep=True):
        body = [Dense(8) for _ in range(3)]  # trainer 0 1 2
        if deep:
            body += [layers.LSTM(4, dropout=0.2)]
        else:
            body.append(layers.Dropout(0.7))  # trainer 3
        self.model = keras.Sequential([keras.Input((4,)), *body, self.head()])

    def head(self):
        return Dense(1, activation="sigmoid")  # trainer 4


def trainer():
    return Trainer(deep=False).model


def wrapped():
    series = keras.Input((16, 3))
    hidden = layers.Bidirectional(layers.GRU(4, dropout=0.2))(series)  # wrapped 1
    return keras.Model(series, Dense(5, use_bias=False)(hidden))  # wrapped 2


def twice(first):
    if first:
        return keras.Sequential([keras.Input((4,)), layers.UnitNormalization(), Dropout(0.25)])
    return keras.Sequential([keras.Input((4,)), layers.UnitNormalization(), Dropout(0.25)])


def uncertain():
    return twice(True)


def early(short=True):
    if short:
        return keras.Sequential([keras.Input((4,)), Dense(6), layers.ELU()])  # early 0 1
    return keras.Sequential([keras.Input((4,)), layers.ELU(), Dense(6)])


def of_a_list():
    kinds = [layers.ReLU, layers.Softmax]
    return keras.Sequential([keras.Input((4,)), *(kind() for kind in kinds)])
"""
BUILDERS = ("listed", "added", "functional", "trainer", "wrapped", "uncertain", "early", "of_a_list")


@pytest.fixture(scope="module")
def models(tmp_path_factory: pytest.TempPathFactory) -> ModuleType:
    """The module with the functions that build models."""
    os.environ["KERAS_BACKEND"] = "torch"
    path = tmp_path_factory.mktemp("models") / "constructed_models.py"
    path.write_text(MODELS, encoding="utf-8")
    spec = importlib.util.spec_from_file_location(path.stem, path)
    assert spec is not None
    assert spec.loader is not None
    module = sys.modules[path.stem] = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.mark.parametrize("builder", BUILDERS)
def test_each_layer_has_the_line_that_constructs_it(models: Any, builder: str) -> None:
    """Layers in lists, loops, functions, methods and wrappers get their constructor's line; uncertain ones get none."""
    model = getattr(models, builder)()
    places = places_of(model)
    expected = {
        int(index): number
        for number, line in enumerate(MODELS.splitlines(), 1)
        for match in re.finditer(rf"# {builder}((?: \d)+)$", line)
        for index in match[1].split()
    }
    found = {index: places[id(layer)].line for index, layer in enumerate(model.layers) if id(layer) in places}
    assert found == expected


PROGRAM = """
import os

os.environ["KERAS_BACKEND"] = "torch"
import keras
import numpy as np
from keras import layers


def build(drop_scores):
    ends = [layers.Dense(3), layers.Dropout(0.4)]  # <- REG101
    if not drop_scores:
        ends.reverse()
    return keras.Sequential([layers.Input((6,)), layers.Dense(16, activation="relu"), *ends])


def train(model):
    features = np.random.default_rng(0).normal(size=(64, 6)).astype("float32")
    model.compile("sgd", "mse")
    model.fit(features, features[:, :3], epochs=1, verbose=0)
    model.evaluate(features, features[:, :3], verbose=0)
    return model.predict(features, verbose=0)
"""
"""Trains a model whose dropout is the last layer, or its sound twin."""
SUITE = """
from program import build, train


def test_scores():
    assert train(build(True)).shape == (64, 3)


def test_features():
    assert train(build(False)).shape == (64, 3)
"""


def faulty_line(text: str) -> str:
    """The place of the mark in a program, as a report shows it."""
    number, line = next((number, line) for number, line in enumerate(text.splitlines(), 1) if "# <-" in line)
    return f"program.py:{number}:{line.index('layers.Dropout') + 1} REG101"


def test_watched_suite_shows_the_line_of_a_layer(tmp_path: Path) -> None:
    """A suite that trains, evaluates and predicts reports the faulty model alone, at its layer."""
    (tmp_path / "program.py").write_text(PROGRAM)
    (tmp_path / "test_program.py").write_text(SUITE)
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:randomly", "--regcheck"]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True)
    found = re.findall(r"^(\S+) warning (REG\d+)", done.stdout, re.MULTILINE)
    assert [" ".join(each) for each in found] == [faulty_line(PROGRAM)], done.stdout + done.stderr
    assert done.returncode == 1


def test_models_trained_one_after_the_other_are_whole(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A program whose models the same function of Keras trains in turn reports the faulty one, at its layer."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(str(tmp_path))
    monkeypatch.delitem(sys.modules, "constructed_models", raising=False)
    (tmp_path / "program.py").write_text(PROGRAM)
    with regcheck.watch({"devices": ["cpu"]}) as seen:
        program: Any = importlib.import_module("program")
        program.train(program.build(drop_scores=True))
        program.train(program.build(drop_scores=False))
    del sys.modules["program"]
    (found,) = seen.report.findings
    assert f"{found.path}:{found.line}:{found.column} {found.code}" == faulty_line(PROGRAM)
