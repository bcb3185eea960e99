"""From a class to its graph: the same words, places and sites that recording a run gives."""

from __future__ import annotations

from textwrap import dedent

import pytest

from regcheck.core.graph import Drops, Gate, Graph, Kind, Mode, Op
from regcheck.static.analyze import analyze
from regcheck.static.project.files import Source
from regcheck.static.project.names import Project

HEADER = "import torch\nimport torch.nn.functional as F\nfrom torch import nn\n"


def graphs(source: str) -> dict[str, Graph]:
    text = HEADER + dedent(source)
    reading = analyze(Project([Source("net.py", text.encode())]))
    assert reading.not_checked == ()
    return {graph.subject: graph for graph in reading.graphs}


def graph(init: str, forward: str, call: str = "x") -> Graph:
    body = "".join(f"\n        {line}" for line in init.split("\n"))
    run = "".join(f"\n        {line}" for line in forward.split("\n"))
    head = f"class Net(nn.Module):\n    def __init__(self):\n        super().__init__(){body}"
    return graphs(f"{head}\n    def forward(self, {call}):{run}\n")["Net"]


def dropouts(found: Graph, mode: Mode = Mode.TRAIN) -> list[Op]:
    return [op for op in found.flow(mode) if op.drops]


@pytest.mark.parametrize(
    ("forward", "gate", "call"),
    [
        ("return self.drop(x)", Gate.MODE, "nn.Dropout(p=0.5)"),
        ("return F.dropout(x, 0.1, self.training)", Gate.MODE, "F.dropout(p=0.1)"),
        ("return F.dropout(x, 0.1)", Gate.ALWAYS, "F.dropout(p=0.1)"),
        ("return F.dropout2d(x, training=False)", Gate.NEVER, "F.dropout2d(p=0.5)"),
        ("return F.dropout(x, 0.1, flag)", Gate.UNKNOWN, "F.dropout(p=0.1)"),
        ("return F.dropout(x, rate)", Gate.UNKNOWN, "F.dropout"),
        ("if flag:\n    x = F.dropout(x, 0.1)\nreturn x", Gate.UNKNOWN, "F.dropout(p=0.1)"),
        ("if self.training:\n    x = F.dropout(x, 0.1)\nreturn x", Gate.MODE, "F.dropout(p=0.1)"),
        ("return nn.Dropout(0.3)(x)", Gate.ALWAYS, "nn.Dropout(p=0.3)"),
        ("return nn.Dropout(0.3).train(self.training)(x)", Gate.MODE, "nn.Dropout(p=0.3)"),
        ("return nn.Dropout(0.3).eval()(x)", Gate.NEVER, "nn.Dropout(p=0.3)"),
        ("return self.attend(x, x, x)[0]", Gate.MODE, "nn.MultiheadAttention(dropout=0.2)"),
        (
            "return F.scaled_dot_product_attention(x, x, x, None, 0.1)",
            Gate.ALWAYS,
            "scaled_dot_product_attention(dropout_p=0.1)",
        ),
    ],
)
def test_the_gate_and_the_words_of_a_dropout(forward: str, gate: Gate, call: str) -> None:
    """When a dropout acts is told by comparing its site in the two flows, and messages show it as torch's users do."""
    init = "self.drop = nn.Dropout()\nself.attend = nn.MultiheadAttention(4, 2, 0.2)"
    found = graph(init, forward, "x, flag=False, rate=0.5")
    (op,) = dropouts(found)
    assert (found.gate(op), op.call) == (gate, call)


def test_a_call_has_the_same_site_in_both_modes() -> None:
    """Sites of both flows are equal, and each turn of a call in a loop has its own."""
    found = graph("self.drop = nn.Dropout(0.1)", "for _ in range(3):\n    x = self.drop(x) + 1\nreturn x")
    sites = [[op.site for op in dropouts(found, mode)] for mode in Mode]
    assert sites[0] == sites[1]
    assert [(site.module, site.function, site.occurrence) for site in sites[0]] == [
        ("drop", "dropout", n) for n in range(3)
    ]


def test_places_are_those_of_the_call_or_of_the_element() -> None:
    """A call in `forward` stands where it is made; an element of a `Sequential` where it is built."""
    found = graph("self.drop = nn.Dropout()\nself.body = nn.Sequential(nn.Dropout())", "return self.body(self.drop(x))")
    assert [(op.module, op.place and (op.place.line, op.place.column)) for op in dropouts(found)] == [
        ("drop", (10, 26)),
        ("body.0", (8, 35)),
    ]


def test_children_are_entered_and_named_by_their_path() -> None:
    """The ops of a child of the same project carry its path, and its own source's places."""
    found = graphs(
        """
        class Block(nn.Module):
            def __init__(self, rate):
                super().__init__()
                self.drop = nn.Dropout(rate)
            def forward(self, x):
                return self.drop(x)
        class Net(nn.Module):
            def __init__(self):
                super().__init__()
                self.blocks = nn.ModuleList([Block(n / 10) for n in range(3)])
            def forward(self, x):
                for block in self.blocks:
                    x = block(x)
                return x
        """
    )["Net"]
    told = [(op.module, op.rate, op.active, op.place and op.place.line) for op in dropouts(found)]
    assert told == [
        ("blocks.0.drop", 0.0, False, 10),
        ("blocks.1.drop", 0.1, True, 10),
        ("blocks.2.drop", 0.2, True, 10),
    ]


def test_branches_that_cannot_be_told_are_joined() -> None:
    """Both sides of an unknown condition are taken, and what they leave is joined; early returns are outputs."""
    found = graph(
        "self.a = nn.Linear(4, 4)\nself.b = nn.Linear(4, 4)",
        "if x.sum() > 0:\n    y = self.a(x)\nelse:\n    y = self.b(x)\nif flag:\n    return y, x\nreturn y",
        "x, flag",
    )
    flow = found.train
    (join,) = [op for op in flow if op.kind is Kind.JOIN]
    (a, b) = [op for op in flow if op.kind is Kind.LINEAR]
    assert join.inputs == (a.id, b.id)
    assert flow.outputs == (("output[0]", join.id), ("output[1]", flow.outputs[1][1]), ("output", join.id))


@pytest.mark.parametrize(
    ("forward", "outputs"),
    [
        ("return self.fc(x)", ["output"]),
        ("y = self.fc(x)\nreturn y, [x, y]", ["output[0]", "output[1][0]", "output[1][1]"]),
        ("return {'logits': self.fc(x), 'features': x}", ["logits", "features"]),
        ("return dict(logits=self.fc(x))", ["logits"]),
    ],
)
def test_outputs_are_named(forward: str, outputs: list[str]) -> None:
    """Each output of a tuple or a dict has its name."""
    assert [name for name, _ in graph("self.fc = nn.Linear(4, 4)", forward).train.outputs] == outputs


@pytest.mark.parametrize(
    ("expression", "kinds"),
    [
        ("self.fc(x)", [Kind.LINEAR]),
        ("x * 2", [Kind.SCALE]),
        ("-x / 2", [Kind.SCALE, Kind.SCALE]),
        ("x + self.fc(x)", [Kind.LINEAR, Kind.COMBINE]),
        ("x.view(2, -1).transpose(0, 1)", [Kind.RESHAPE, Kind.RESHAPE]),
        ("x[0].float()", [Kind.RESHAPE, Kind.IDENTITY]),
        ("torch.softmax(x.relu(), -1).sigmoid()", [Kind.ACTIVATION, Kind.SOFTMAX, Kind.SIGMOID]),
        ("unknown(x)", [Kind.OPAQUE]),
        ("self.missing(x)", [Kind.OPAQUE]),
        ("F.conv2d(x, self.w)", [Kind.PARAMETER, Kind.CONV]),
        ("x * 0", [Kind.CONSTANT]),
        ("torch.randn(x.shape)", [Kind.RANDOM]),
    ],
)
def test_kinds_of_ops(expression: str, kinds: list[Kind]) -> None:
    """Operators, methods and functions are ops of the same kinds; what is not known is opaque."""
    found = graph("self.fc = nn.Linear(4, 4)\nself.w = nn.Parameter(torch.zeros(4))", f"return {expression}")
    assert [op.kind for op in found.train if op.kind is not Kind.INPUT] == kinds


@pytest.mark.parametrize(
    ("layer", "window"),
    [
        ("nn.Conv2d(3, 8, 3)", True),
        ("nn.Conv2d(3, 8, kernel_size=(1, 3))", True),
        ("nn.Conv2d(3, 8, 1)", False),
        ("nn.ConvTranspose2d(3, 8, 4)", False),
        ("nn.MaxPool2d(2)", True),
        ("nn.AdaptiveAvgPool2d(1)", True),
        ("nn.Linear(3, 8)", False),
    ],
)
def test_windows(layer: str, window: bool) -> None:
    """A convolution or pooling that looks at several positions has a window."""
    found = graph(f"self.layer = {layer}", "return self.layer(x)")
    assert [op.window for op in found.train if op.kind is not Kind.INPUT] == [window]


def test_what_a_dropout_drops() -> None:
    """Elements, channels and attention weights are told apart, and learned layers from the rest."""
    found = graph(
        "self.a = nn.Dropout()\nself.b = nn.Dropout2d()\nself.c = nn.MultiheadAttention(4, 2, dropout=0.1)",
        "return self.c(self.a(x), self.b(x), x)",
    )
    assert [op.drops for op in dropouts(found)] == [Drops.ELEMENTS, Drops.CHANNELS, Drops.ATTENTION]
    assert [op.learned for op in dropouts(found)] == [False, False, True]


def test_models_that_differ_in_widths_only_are_lowered_once() -> None:
    """Sizes make no new graph; rates, layers and small numbers, such as kernel sizes, do."""
    built = ", ".join(f"Net({each})" for each in ("64, 0.1, 3", "32, 0.1, 3", "64, 0.2, 3", "64, 0.1, 1"))
    text = f"""
    class Net(nn.Module):
        def __init__(self, width, rate, kernel):
            super().__init__()
            self.conv = nn.Conv2d(8, width, kernel)
            self.drop = nn.Dropout(rate)
        def forward(self, x):
            return self.drop(self.conv(x))
    models = [{built}]
    """
    reading = analyze(Project([Source("net.py", (HEADER + dedent(text)).encode())]))
    rates = sorted(op.rate for each in reading.graphs for op in each.train if op.drops and op.rate is not None)
    assert rates == [0.1, 0.1, 0.2]


@pytest.mark.parametrize(
    ("arguments", "rate", "latent"),
    [
        ("rate=0.0", "F.dropout(x, self.rate)", True),
        ("rate=0", "F.dropout(x, p=self.rate, training=True)", True),
        ("rate=0.0", "F.scaled_dot_product_attention(x, x, x, dropout_p=self.rate)", True),
        ("rate=0.0", "nn.Dropout(self.rate)(x)", True),
        ("config=Config()", "F.dropout(x, 0.0)", False),
        ("rate=0.0", "F.dropout(x, self.rate, self.training)", False),
        ("rate=0.0", "F.dropout(x, self.rate if self.training else 0.0)", False),
        ("rate=0.0", "F.dropout(x, self.rate * self.training)", False),
        ("rate=0.0", "F.dropout(x, self.rate if flag else 0.0)", False),
        ("rate=0.0", "F.dropout(x, self.rate, flag)", False),
        ("rate=0.1", "F.dropout(x, self.rate)", False),
    ],
)
def test_a_rate_of_zero_that_is_only_a_default_is_told_from_one_that_is_meant(
    arguments: str, rate: str, latent: bool
) -> None:
    """A dropout is latent where nothing but the default of its rate keeps it from dropping in eval mode."""
    found = graphs(f"""
class Config:
    pass

class Net(nn.Module):
    def __init__(self, {arguments}):
        super().__init__()
        self.rate = {arguments.partition("=")[0]}
        self.fc = nn.Linear(4, 4)

    def forward(self, x, flag):
        return self.fc({rate})
""")["Net"]
    (op,) = dropouts(found, Mode.EVAL)
    assert (op.latent, [*found.latent_dropouts(Mode.EVAL)]) == (latent, [op] if latent else [])
