"""Keras 3 on torch: audits of models, and watched programs."""

from __future__ import annotations

import importlib.util
import inspect
import os
import sys
from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
import torch

import regcheck
from regcheck.core.report import Report
from regcheck.keras_api import forward, layer_tree

pytestmark = [
    pytest.mark.skipif(importlib.util.find_spec("keras") is None, reason="Keras is not installed"),
    pytest.mark.filterwarnings("ignore::DeprecationWarning"),  # of Keras and its dependencies
]

Model = Any
Layers = Any


@pytest.fixture(scope="module")
def keras() -> ModuleType:
    os.environ["KERAS_BACKEND"] = "torch"
    return importlib.import_module("keras")


@pytest.fixture
def layers(keras: Any) -> Any:
    keras.utils.set_random_seed(0)
    return keras.layers


def codes(report: Report) -> set[str]:
    assert not report.not_checked, report.not_checked
    return {each.code for each in report.findings if each.severity.value != "info"}


def photos(layers: Layers, drop: Any, last: Any) -> Model:
    """A classifier of photos: `drop` runs on a map, `last` on what comes before or after the head."""
    keras = sys.modules["keras"]
    return keras.Sequential(
        [
            layers.Input((16, 16, 3)),
            layers.Conv2D(8, 3, activation="relu"),
            drop,
            layers.Conv2D(8, 3, activation="relu"),
            layers.GlobalAveragePooling2D(),
            *last,
        ]
    )


def on_maps(layers: Layers, word: str) -> Model:
    return photos(layers, getattr(layers, word)(0.3), [layers.Dense(3)])


def on_series(layers: Layers, word: str) -> Model:
    keras = sys.modules["keras"]
    series = keras.Input((40, 4))
    hidden = layers.Conv1D(16, 5, activation="relu", padding="same")(series)
    hidden = getattr(layers, word)(0.4, seed=1)(hidden)
    hidden = layers.Conv1D(16, 5, activation="relu")(hidden)
    return keras.Model(series, layers.Dense(1)(layers.GlobalMaxPooling1D()(hidden)))


def at_the_end(layers: Layers, word: str) -> Model:
    head, drop = layers.Dense(3), layers.Dropout(0.4)
    return photos(layers, layers.SpatialDropout2D(0.2), [head, drop] if word == "after" else [drop, head])


def of_logits(layers: Layers, word: str) -> Model:
    keras = sys.modules["keras"]

    class Scores(keras.Model):  # type: ignore[misc, name-defined, unused-ignore]
        def __init__(self) -> None:
            super().__init__()
            self.body = [layers.Dense(16, activation="gelu"), layers.LayerNormalization()]
            self.drop = layers.Dropout(0.3)
            self.head = layers.Dense(4)

        def call(self, x: Any, training: Any = None) -> Any:
            for layer in self.body:
                x = layer(x)
            if word == "after":
                return self.drop(self.head(x), training=training)
            return self.head(self.drop(x, training=training))

    model = Scores()
    model(torch.randn(4, 6))
    return model


def before_a_norm(layers: Layers, word: str) -> Model:
    keras = sys.modules["keras"]
    return keras.Sequential(
        [
            layers.Input((12,)),
            layers.Dense(32, activation="relu"),
            layers.Dropout(0.75),
            layers.Dense(32),
            getattr(layers, word)(),
            layers.Dense(2),
        ]
    )


def at_a_rate(layers: Layers, word: str) -> Model:
    keras = sys.modules["keras"]
    features = keras.Input((10,))
    hidden = layers.Dropout({"keep": 0.9, "drop": 0.1}[word])(layers.Dense(64, activation="tanh")(features))
    return keras.Model(features, layers.Dense(1)(hidden))


def of_self_normalizing_units(layers: Layers, word: str) -> Model:
    keras = sys.modules["keras"]
    features = keras.Input((10,))
    hidden = layers.AlphaDropout({"keep": 0.9, "drop": 0.1}[word])(layers.Dense(64, activation="selu")(features))
    return keras.Model(features, layers.Dense(1)(hidden))


def asked_for(layers: Layers, word: str) -> Model:
    keras = sys.modules["keras"]
    features = keras.Input((10,))
    hidden = layers.Dense(64, activation="relu")(features)
    hidden = layers.Dropout(0.2)(hidden, training={"always": True, "never": None}[word])
    return keras.Model(features, layers.Dense(3, activation="softmax")(hidden))


def in_a_block(layers: Layers, word: str) -> Model:
    """A layer of the user's own inside of a functional model."""
    keras = sys.modules["keras"]

    class Block(layers.Layer):  # type: ignore[misc, name-defined, unused-ignore]
        def __init__(self) -> None:
            super().__init__()
            self.dense = layers.Dense(8)
            self.drop = layers.Dropout(0.3)

        def call(self, x: Any, training: Any = None) -> Any:
            return x + self.drop(self.dense(x), training=True if word == "always" else training)

    features = keras.Input((8,))
    return keras.Model(features, layers.Dense(3)(Block()(features)))


AUDITS = [
    (on_maps, "Dropout", "SpatialDropout2D", "REG102"),
    (on_series, "Dropout", "SpatialDropout1D", "REG102"),
    (at_the_end, "after", "before", "REG101"),
    (of_logits, "after", "before", "REG101"),
    (before_a_norm, "BatchNormalization", "LayerNormalization", "REG103"),
    (at_a_rate, "keep", "drop", "REG401"),
    (of_self_normalizing_units, "keep", "drop", "REG401"),
    (asked_for, "always", "never", "REG202"),
    (in_a_block, "always", "never", "REG202"),
]


@pytest.mark.parametrize(("build", "faulty", "sound", "code"), AUDITS, ids=[each[0].__name__ for each in AUDITS])
def test_audit_separates_twins(
    layers: Layers, build: Callable[[Layers, str], Model], faulty: str, sound: str, code: str
) -> None:
    """An audit without inputs confirms the fault of a Keras model, and reports nothing of its sound twin."""
    report = regcheck.audit(build(layers, faulty))
    assert codes(report) == {code}, report
    assert {each.evidence.verdict.value for each in report.findings if each.code == code} == {"confirmed"}
    assert codes(regcheck.audit(build(layers, sound))) == set()


SOUND = {
    "augments": lambda layers: [layers.Input((16, 16, 3)), layers.RandomFlip(), layers.Flatten(), layers.Dense(2)],
    "noise": lambda layers: [layers.Input((8,)), layers.GaussianNoise(0.3), layers.Dense(8), layers.Dense(2)],
    "gaussian": lambda layers: [layers.Input((8,)), layers.Dense(8), layers.GaussianDropout(0.3), layers.Dense(2)],
    "recurrent": lambda layers: [
        layers.Input((6, 4)),
        layers.LSTM(8, dropout=0.2, recurrent_dropout=0.2, return_sequences=True),
        layers.Bidirectional(layers.GRU(4, dropout=0.2)),
        layers.Dense(2),
    ],
    "flattened": lambda layers: [
        layers.Input((8, 8, 3)),
        layers.Conv2D(4, 3),
        layers.Flatten(),
        layers.Dropout(0.5),
        layers.Dense(2),
    ],
    "words": lambda layers: [
        layers.Input((12,), dtype="int32"),
        layers.Embedding(50, 16),
        layers.Dropout(0.2),
        layers.GlobalAveragePooling1D(),
        layers.Dense(2),
    ],
}


@pytest.mark.parametrize("name", SOUND)
def test_audit_is_silent_about_sound_models(keras: Any, layers: Layers, name: str) -> None:
    """Layers that act in training alone, and dropout of features, are no findings, and all layers are traced."""
    report = regcheck.audit(keras.Sequential(SOUND[name](layers)))
    assert codes(report) == set()
    assert not report.coverage[0].never_called or name == "recurrent"  # fused calls bypass the cells


def test_subclassed_model_reports_the_line(layers: Layers) -> None:
    """A finding in a subclassed model is placed where `call` runs the layer."""
    (found,) = regcheck.audit(of_logits(layers, "after")).findings
    assert (found.path or "").endswith("tests/test_keras.py")
    assert found.module == "drop"


def test_deep_model_is_copied(keras: Any, layers: Layers) -> None:
    """A functional model of many layers, which Keras links to one chain, is traced whole."""
    hidden = features = keras.Input((4,))
    for _ in range(200):
        hidden = layers.Activation("relu")(hidden)
    report = regcheck.audit(keras.Model(features, layers.Dense(2)(hidden)))
    assert codes(report) == set()
    assert report.coverage[0].traced == report.coverage[0].modules == 202


def test_stochastic_depth_is_no_dropout_before_a_norm(keras: Any, layers: Layers) -> None:
    """Noise of one draw for each sample is not examined as dropout of features."""
    features = keras.Input((8, 8, 4))
    branch = layers.Dropout(0.7, noise_shape=(None, 1, 1, 1))(layers.Conv2D(4, 3, padding="same")(features))
    hidden = layers.BatchNormalization()(layers.Conv2D(4, 1)(layers.Add()([features, branch])))
    report = regcheck.audit(keras.Model(features, layers.Dense(2)(layers.Flatten()(hidden))))
    assert codes(report) == set()
    assert not report.refuted


def test_unbuilt_model_without_inputs_is_not_checked(keras: Any, layers: Layers) -> None:
    """A model whose input shape nobody knows is said to be not checked."""
    report = regcheck.audit(keras.Sequential([layers.Dense(3), layers.Dropout(0.3)]))
    assert [each.reason for each in report.not_checked] == ["no inputs could be guessed"]


def test_unbuilt_model_is_built_on_a_copy(keras: Any, layers: Layers) -> None:
    """Inputs suffice to audit an unbuilt model, whose original stays unbuilt."""
    model = keras.Sequential([layers.Dense(3), layers.Dropout(0.3)])
    assert codes(regcheck.audit(model, torch.randn(8, 5))) == {"REG101"}
    assert not model.built


def flags(model: Model) -> list[bool]:
    return [each.training for _, each in layer_tree.named_parts(model)]


def test_audit_leaves_keras_as_it_is(keras: Any, layers: Layers) -> None:
    """Weights, seeds, modes and Keras' own functions are as before."""
    model = on_series(layers, "Dropout")
    random = sys.modules["keras.src.backend.torch.random"]
    before = [each.numpy().copy() for each in model.variables], flags(model)
    functions = random.dropout, random.torch_seed_generator
    regcheck.audit(model)
    assert all((each.numpy() == old).all() for each, old in zip(model.variables, before[0], strict=True))
    assert flags(model) == before[1]
    assert (random.dropout, random.torch_seed_generator) == functions


@pytest.mark.parametrize("noise", [None, (4, 1, 6), (4, 5, 1), (4, 1, 1)])
def test_replaced_dropout_draws_the_same_noise(keras: Any, noise: Any) -> None:
    """The dropout that replaces Keras' keeps the expectation, and shares its noise along the same axes."""
    torch.manual_seed(0)
    x = torch.ones(4, 5, 6)
    kept = torch.stack([forward._dropout(x, 0.5, noise) for _ in range(400)])
    assert abs(kept.mean().item() - 1) < 0.1
    assert set(kept.unique().tolist()) == {0.0, 2.0}
    shared = [size > 1 and bool((kept == kept.narrow(at + 1, 0, 1)).all()) for at, size in enumerate(x.shape)]
    assert shared == [noise is not None and size == 1 for size in noise or x.shape]


def test_batch_norm_is_the_same_in_one_call(keras: Any, layers: Layers) -> None:
    """Batch norm as one call of torch gives the values that Keras computes."""
    norm = layers.BatchNormalization(axis=1)
    x = torch.randn(8, 3, 5)
    expected = norm(x, training=True)
    norm.train()
    torch.testing.assert_close(forward.run(norm, (x,), {}), expected)


def test_paths_follow_the_tree_of_keras(keras: Any, layers: Layers) -> None:
    """Layers are named as attributes where they are some, else as Keras names them."""
    model = of_logits(layers, "before")
    paths = [path for path, _ in layer_tree.named_parts(model)]
    assert paths[:3] == ["", "drop", "head"]
    assert len(paths) == 5


def classifier(layers: Layers, rate: float = 0.5) -> Model:
    keras = sys.modules["keras"]
    return keras.Sequential(
        [layers.Input((8,)), layers.Dense(32, activation="relu"), layers.Dropout(rate), layers.Dense(3)]
    )


X = torch.randn(48, 8, generator=torch.Generator().manual_seed(0))
Y = X[:, :3].argmax(1)


def accuracy(model: Model, training: bool | None) -> float:
    right = 0
    with torch.no_grad():
        for part in range(0, 48, 16):
            scores = model(X[part : part + 16], training=training)
            right += int((scores.argmax(1) == Y[part : part + 16]).sum())
    return right / 48


def torch_loop(layers: Layers, word: Any) -> None:
    """A loop with an optimizer of torch; `word` is the mode of the training step."""
    model = classifier(layers)
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-3)
    for _ in range(2):
        loss = torch.nn.functional.cross_entropy(model(X, training=word), Y)
        optimizer.zero_grad()
        loss.backward()  # type: ignore[no-untyped-call, unused-ignore]
        optimizer.step()
    accuracy(model, False)


def keras_loop(layers: Layers, word: Any) -> None:
    """A loop with an optimizer and a loss of Keras; `word` is the mode of the training step."""
    keras = sys.modules["keras"]
    model, optimizer = classifier(layers), keras.optimizers.AdamW(1e-3)
    loss_of = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    for _ in range(2):
        loss = loss_of(Y, model(X, training=word))
        model.zero_grad()
        loss.backward()
        weights = model.trainable_weights
        with torch.no_grad():
            optimizer.apply([each.value.grad for each in weights], weights)


def evaluation(layers: Layers, word: Any) -> None:
    """Training by `fit`, and a hand-written evaluation in the mode `word`."""
    model = classifier(layers)
    fit(model)
    accuracy(model, word)


def fit(model: Model) -> None:
    keras = sys.modules["keras"]
    model.compile(optimizer="adam", loss=keras.losses.SparseCategoricalCrossentropy(from_logits=True))
    features, labels = X.numpy(), Y.numpy()
    model.fit(features, labels, epochs=1, verbose=0, validation_data=(features, labels))
    model.evaluate(features, labels, verbose=0)
    model.predict(features, verbose=0).argmax(1)


def subclassed_fit(layers: Layers, word: Any) -> None:
    """`fit` of a subclass whose `call` takes the argument `training`, or does not."""
    keras = sys.modules["keras"]

    class Net(keras.Model):  # type: ignore[misc, name-defined, unused-ignore]
        def __init__(self) -> None:
            super().__init__()
            self.body = layers.Dense(16)
            self.drop = layers.Dropout(0.5)
            self.head = layers.Dense(3)

        def call(self, x: Any) -> Any:
            return self.head(self.drop(self.body(x)))

    class Informed(Net):
        def call(self, x: Any, training: Any = None) -> Any:
            return self.head(self.drop(self.body(x), training=training))

    fit(Informed() if word else Net())


def transfer(layers: Layers, word: Any) -> None:
    """`fit` of a head on a frozen base, whose batch norm keeps its statistics."""
    keras = sys.modules["keras"]
    base = keras.Sequential([layers.Input((8,)), layers.Dense(8), layers.BatchNormalization(), layers.Dropout(0.5)])
    base.trainable = False
    features = keras.Input((8,))
    fit(keras.Model(features, layers.Dense(3)(layers.Dropout(0.2)(base(features, training=word)))))


def monte_carlo(layers: Layers, word: Any) -> None:
    """Many random passes of one batch, for their spread."""
    model = classifier(layers)
    fit(model)
    passes = torch.stack([model(X, training=word).softmax(-1).detach() for _ in range(8)])
    passes.mean(0).argmax(-1)


PROGRAMS = [
    (torch_loop, True, set()),
    (torch_loop, False, {"REG206"}),
    (torch_loop, None, {"REG206"}),
    (keras_loop, True, set()),
    (keras_loop, None, {"REG206"}),
    (evaluation, True, {"REG201"}),
    (evaluation, False, set()),
    (evaluation, None, set()),
    (subclassed_fit, True, set()),
    (subclassed_fit, False, {"REG206"}),
    (transfer, False, set()),
    (monte_carlo, True, set()),
]


@pytest.mark.parametrize(("program", "word", "expected"), PROGRAMS, ids=[f"{p.__name__}-{w}" for p, w, _ in PROGRAMS])
def test_watch_reads_the_mode_of_each_call(
    layers: Layers,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    program: Callable[[Layers, Any], None],
    word: Any,
    expected: set[str],
) -> None:
    """The argument `training` of a call is the mode: sound loops are silent, and the others are found."""
    monkeypatch.chdir(tmp_path)
    path = tmp_path / "program.py"  # code in a file of tests predicts nothing
    path.write_text("\n".join(map(inspect.getsource, (classifier, accuracy, fit, program))), encoding="utf-8")
    names = {**globals(), "__name__": "program"}
    with regcheck.watch({"devices": ["cpu"]}) as seen:
        exec(compile(path.read_text(encoding="utf-8"), str(path), "exec"), names)
        names[program.__name__](layers, word)
    assert codes(seen.report) == expected
    assert {each.path for each in seen.report.findings} <= {"program.py"}
