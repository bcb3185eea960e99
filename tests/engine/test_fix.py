"""Mending: what is changed, how little of it, what is left alone, and what is never written."""

from __future__ import annotations

import ast
import stat
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from regcheck.config.options import Options
from regcheck.core.errors import UsageError
from regcheck.core.patch import Patch
from regcheck.engine import scan as scan_module
from regcheck.engine.fix import fix_paths
from regcheck.engine.scan import scan
from regcheck.plugins import catalogue
from regcheck.rules import load
from regcheck.static.fixes.context import File
from regcheck.static.fixes.patches import apply_patches

HEAD = """\
import torch
import torch.nn.functional as F
from torch import nn


class Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.first = nn.Linear(4, 4)
        self.last = nn.Linear(4, 4)
        self.p = 0.1

    def forward(self, x, q, k, v):
        x = self.first(x)
"""
TAIL = "        return self.last(x)\n"


def fixed(path: Path, text: str, *, unsafe: bool = False) -> str:
    """The text as it is after mending; it is not written."""
    path.write_bytes(text.encode())
    result = fix_paths([path], Options(), unsafe=unsafe)
    assert result.refused == {}
    assert path.read_bytes() == text.encode()
    after = result.after.get(str(path), text.encode())
    assert (after == text.encode()) == (result.fixed == 0)
    return after.decode()


@pytest.mark.parametrize(
    ("before", "after"),
    [
        ("x = F.dropout(x)", "x = F.dropout(x, training=self.training)"),
        ("x = F.dropout(x, 0.5)  # noqa", "x = F.dropout(x, 0.5, training=self.training)  # noqa"),
        ("x = F.dropout(x, p=(0.5),)", "x = F.dropout(x, p=(0.5), training=self.training,)"),
        ("x = F . dropout2d ( x )", "x = F . dropout2d ( x, training=self.training )"),
        ("é = 'é'; x = F.dropout(x)", "é = 'é'; x = F.dropout(x, training=self.training)"),
        ("x = F.relu(F.dropout(x))", "x = F.relu(F.dropout(x, training=self.training))"),
        (
            "x = F.dropout(\n            x,\n            0.5,  # high\n        )",
            "x = F.dropout(\n            x,\n            0.5,  # high\n            training=self.training,\n        )",
        ),
        (
            "x = F.dropout(\n            x,\n            0.5  # high\n        )",
            "x = F.dropout(\n            x,\n            0.5,  # high\n            training=self.training,\n        )",
        ),
        (
            "x = F.dropout(\n            x, 0.5\n        )",
            "x = F.dropout(\n            x, 0.5, training=self.training\n        )",
        ),
        (
            "x = F.scaled_dot_product_attention(q, k, v, dropout_p=self.p)",
            "x = F.scaled_dot_product_attention(q, k, v, dropout_p=self.p if self.training else 0.0)",
        ),
        (
            "x = F.scaled_dot_product_attention(q, k, v, None, 0.1)",
            "x = F.scaled_dot_product_attention(q, k, v, None, 0.1 if self.training else 0.0)",
        ),
    ],
)
def test_a_safe_fix_changes_the_call_and_nothing_else(tmp_path: Path, before: str, after: str) -> None:
    """`--fix` gates the dropout in the call's own layout, and every other byte stays."""
    body = f"        {before}\n"
    assert fixed(tmp_path / "net.py", HEAD + body + TAIL) == HEAD + f"        {after}\n" + TAIL


@pytest.mark.parametrize(
    ("before", "after"),
    [
        ("x = F.dropout(x, 0.5, True)", "x = F.dropout(x, 0.5, self.training)"),
        ("x = F.dropout(x, training=True)", "x = F.dropout(x, training=self.training)"),
    ],
)
def test_what_may_be_meant_is_changed_only_when_asked_for(tmp_path: Path, before: str, after: str) -> None:
    """`training=True` may be deliberate: it takes `--unsafe-fixes`."""
    text = f"{HEAD}        {before}\n{TAIL}"
    assert fixed(tmp_path / "net.py", text) == text
    assert fixed(tmp_path / "net.py", text, unsafe=True) == f"{HEAD}        {after}\n{TAIL}"


def test_a_layer_built_in_forward_moves_to_init(tmp_path: Path) -> None:
    """`nn.Dropout(p)(x)` becomes a registered layer under a name that is free."""
    text = HEAD.replace("self.p = 0.1", "self.dropout = None") + f"        x = nn.Dropout(0.3)(x)\n{TAIL}"
    after = fixed(tmp_path / "net.py", text, unsafe=True)
    assert "        self.dropout = None\n        self.dropout2 = nn.Dropout(0.3)\n\n    def forward" in after
    assert "        x = self.dropout2(x)\n" in after


ADAM = "model = nn.Linear(4, 4)\n"
IMPORTS = "from torch import nn\nfrom torch.optim "


@pytest.mark.parametrize(
    ("before", "after"),
    [
        ("import torch\nfrom torch import nn\n{0}a = torch.optim.Adam({1})\n", "torch.optim.AdamW("),
        ("import torch.optim as o\nfrom torch import nn\n{0}a = o.Adam({1})\n", "o.AdamW("),
        (f"{IMPORTS}import Adam\n{{0}}a = Adam({{1}})\n", "import AdamW\n"),
        (f"{IMPORTS}import SGD, Adam as A\n{{0}}a = A({{1}})\n", "import SGD, AdamW as A\n"),
        (f"{IMPORTS}import Adam\n{{0}}a = Adam({{1}})\nb = Adam(model.parameters())\n", "Adam, AdamW\n"),
        (f"{IMPORTS}import (\n  Adam,\n)\n{{0}}a = Adam({{1}})\nb = Adam({{1}})\n", "  Adam, AdamW,\n"),
        ("from torch import nn, optim\n{0}a = optim.NAdam({1})\n", "weight_decay=0.1, decoupled_weight_decay=True)"),
    ],
)  # fmt: skip
def test_adam_becomes_adamw_however_it_was_imported(tmp_path: Path, before: str, after: str) -> None:
    """The class is renamed where it is used and where it is imported, and the result finds its names."""
    text = before.format(ADAM, "model.parameters(), weight_decay=0.1")
    changed = fixed(tmp_path / "train.py", text, unsafe=True)
    assert after in changed
    exec(compile(changed, "train.py", "exec"), {})
    assert fixed(tmp_path / "train.py", text) == text


def test_dropout_on_maps_becomes_spatial(tmp_path: Path) -> None:
    """The layer is changed where it is built, to the rank of the class's convolutions."""
    for rule in load():
        if rule.name == "elementwise-dropout-after-conv":
            for example in rule.bad:
                after = fixed(tmp_path / "net.py", example.source, unsafe=True)
                assert after == example.source.replace("nn.Dropout(0.25)", "nn.Dropout2d(0.25)")


EVALUATE = """\
import torch
from torch import nn


def evaluate(model, batches):
    {0}hits = 0
    with torch.no_grad():
        for x, y in batches:
            hits += (model(x).argmax(1) == y).sum().item()
    return hits


def main():
    model = nn.Sequential(nn.Linear(16, 32), nn.Dropout(0.5), nn.Linear(32, 4))
    print(evaluate(model, [(torch.randn(32, 16), torch.zeros(32))]))


main()
"""


@pytest.mark.parametrize(
    ("before", "after"),
    [
        ("", "    hits = 0\n    was_training = model.training\n    model.eval()\n    with torch.no_grad():\n"),
        ("", "y).sum().item()\n    model.train(was_training)\n    return hits\n"),
        ("model.eval\n    ", "    model.eval()\n    hits = 0\n    with torch.no_grad():\n"),
    ],
)
def test_eval_is_called_before_predicting(tmp_path: Path, before: str, after: str) -> None:
    """The block that predicts runs in eval mode, and restores it; a forgotten pair of parentheses is completed."""
    assert after in fixed(tmp_path / "evaluate.py", EVALUATE.format(before), unsafe=True)


TRAINED = """\
import torch
from torch import nn


{0}

def fit(model, optimizer, batches):
    for x, y in batches:
        optimizer.zero_grad()
        nn.functional.cross_entropy(model(x), y).backward()
        optimizer.step()


net = nn.Sequential(nn.Linear(16, 32), nn.Dropout(0.5), nn.Linear(32, 4))
data = [(torch.randn(32, 16), torch.zeros(32, dtype=torch.long))]
for epoch in range(3):
    fit(net, torch.optim.SGD(net.parameters(), lr=0.1), data)
    print(evaluate(net, data))
"""


@pytest.mark.parametrize(
    ("before", "after"),
    [
        (
            "def evaluate(model, batches):\n    hits = 0; n = 0\n    for x, y in batches:  # é\n"
            "        with torch.no_grad():\n            hits += (model(x).argmax(1) == y).sum()\n    return hits\n",
            "def evaluate(model, batches):\n    hits = 0; n = 0\n    was_training = model.training\n    model.eval()\n"
            "    for x, y in batches:  # é\n        with torch.no_grad():\n"
            "            hits += (model(x).argmax(1) == y).sum()\n    model.train(was_training)\n    return hits\n",
        ),
        (
            "@torch.no_grad()\ndef evaluate(model, batches, was_training=0):\n    hits = was_training\n"
            "    for x, y in batches:\n        hits += (model(x).argmax(1) == y).sum().item()\n    return hits\n",
            "@torch.no_grad()\ndef evaluate(model, batches, was_training=0):\n    hits = was_training\n"
            "    was_training_2 = model.training\n    model.eval()\n"
            "    for x, y in batches:\n        hits += (model(x).argmax(1) == y).sum().item()\n"
            "    model.train(was_training_2)\n    return hits\n",
        ),
    ],
)
def test_the_mode_is_restored_where_training_goes_on(tmp_path: Path, before: str, after: str) -> None:
    """A function that predicts with its caller's model switches the mode once, and training goes on in train mode."""
    changed = fixed(tmp_path / "train.py", TRAINED.format(before), unsafe=True)
    assert changed == TRAINED.format(after)


@pytest.mark.parametrize(
    "text",
    [
        HEAD.replace("nn.Module", "Unknown") + f"        x = F.dropout(x)\n{TAIL}",
        f"{HEAD}        x = F.dropout(x, **self.how)\n{TAIL}",
        f"{HEAD}        x = drop(x)\n{TAIL}\n\ndef drop(x):\n    return F.dropout(x)\n",
        HEAD.replace("forward(self", "forward(this").replace("self.first(x)", "this.first(x)")
        + f"        x = F.dropout(x)\n{TAIL}".replace("self", "this"),
        f"{HEAD}        if not self.training:\n            x = F.dropout(x)\n{TAIL}",
        f"{HEAD}        x = torch.rand(4) + x\n{TAIL}",
        f"{HEAD}        x = nn.Dropout(self.p)(x)\n{TAIL}",
        f"from torch import nn\nfrom torch.optim.adam import Adam\n{ADAM}Adam(model.parameters(), weight_decay=1)\n",
        f"{IMPORTS}import Adam\nAdamW = 1\n{ADAM}Adam(model.parameters(), weight_decay=1)\n",
    ],
)  # fmt: skip
def test_what_is_not_sure_is_not_offered(tmp_path: Path, text: str) -> None:
    """Where the code around does not settle the fix, there is none, or none without `--unsafe-fixes`."""
    unsafe = "if not self.training" not in text
    assert fixed(tmp_path / "net.py", text, unsafe=unsafe) == text


gaps = st.sampled_from(["", " ", "\n  ", "  # note, (é)\n\t", "\n\n      ", "\\\n"])
arguments = st.sampled_from(
    ["x", "(x)", "p=0.5", "p=(\n 0.5)", "inplace=False", "p=len('),(')", "p={1: '#'}[1]", "*[x]"]
)


@st.composite
def calls(draw: st.DrawFn) -> str:
    """A call in any layout: blanks, line breaks and comments between its parts, a trailing comma or none."""
    parts = draw(st.lists(arguments, max_size=3))
    text = f"F{draw(gaps)}.{draw(gaps)}dropout{draw(gaps)}("
    for index, part in enumerate(parts):
        text += draw(gaps) + part + draw(gaps)
        if index < len(parts) - 1 or draw(st.booleans()):
            text += ","
    text += draw(gaps)
    return f"(\n{text})\n)"


def parses(text: str) -> bool:
    try:
        ast.parse(text)
    except SyntaxError:
        return False
    return True


@settings(max_examples=300, deadline=None)
@given(
    calls().filter(parses),
    st.sampled_from(["\n", "\r\n", "\r"]),
    st.sampled_from(["", "\f", "s = 'é€\f'; ", "s = '''\n\x0b\x1c'''; "]),
    st.sampled_from(["utf-8", "utf-8-sig", "cp1252"]),
    st.sampled_from(["", "# end é"]),
)
def test_an_argument_is_added_in_any_layout(call: str, newline: str, before: str, encoding: str, end: str) -> None:
    """The result is the same call with one more argument, and without what was inserted the very bytes of before."""
    coding = "# coding: cp1252\n" if encoding == "cp1252" else ""
    text = f"{coding}{before}y = {call}\n{end}".replace("\n", newline)
    content = text.encode(encoding)
    file = File("net.py", text)
    (node,) = [
        each
        for each in ast.walk(file.tree)
        if isinstance(each, ast.Call) and isinstance(each.func, ast.Attribute) and each.func.attr == "dropout"
    ]
    spot = file.at(node.lineno, len(file.lines[node.lineno - 1][: node.col_offset].decode()) + 1)
    patch = Patch("", True, spot.with_argument(spot.calls[-1], "training=self.training"))
    after, done = apply_patches(content, {None: [patch]}, "net.py")
    assert done == [patch]
    node.keywords.append(ast.keyword("training", ast.parse("self.training", mode="eval").body))
    assert ast.dump(ast.parse(after)) == ast.dump(file.tree)
    rest = iter(after)
    assert all(byte in rest for byte in content)
    assert len(after) == len(content) + sum(len(each.text) for each in patch.edits)


@pytest.mark.parametrize("newline", ["\n", "\r\n", "\r"])
@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "latin-1"])
def test_line_ends_and_encodings_survive(tmp_path: Path, newline: str, encoding: str) -> None:
    """A file is written back with its byte-order mark, its declared encoding and its line ends, also in new lines."""
    coding = "# coding: latin-1\n" if encoding == "latin-1" else ""
    name = "é" if encoding == "latin-1" else "é€"
    text = f"{coding}s = '{name}'\n{HEAD}        x = F.dropout(\n            x,\n            0.5,\n        )\n{TAIL}"
    path = tmp_path / "net.py"
    path.write_bytes(text.replace("\n", newline).encode(encoding))
    result = fix_paths([path], Options())
    result.write()
    expected = text.replace("0.5,\n", "0.5,\n            training=self.training,\n").replace("\n", newline)
    assert path.read_bytes() == expected.encode(encoding)


def test_a_file_keeps_its_mode_and_a_link_stays_a_link(tmp_path: Path) -> None:
    """Writing replaces the content only, and leaves nothing else behind."""
    path, link = tmp_path / "net.py", tmp_path / "link.py"
    path.write_text(f"{HEAD}        x = F.dropout(x)\n{TAIL}")
    path.chmod(0o751)
    link.symlink_to(path)
    fix_paths([link], Options()).write()
    assert "training=self.training" in path.read_text()
    assert stat.S_IMODE(path.stat().st_mode) == 0o751
    assert link.is_symlink()
    assert sorted(each.name for each in tmp_path.iterdir()) == ["link.py", "net.py"]


def test_a_file_that_changed_meanwhile_is_not_overwritten(tmp_path: Path) -> None:
    """What somebody wrote after the scan is kept, and the user is told."""
    path = tmp_path / "net.py"
    path.write_text(f"{HEAD}        x = F.dropout(x)\n{TAIL}")
    result = fix_paths([path], Options())
    path.write_text("precious = 1\n")
    with pytest.raises(UsageError, match="has changed since it was examined"):
        result.write()
    assert path.read_text() == "precious = 1\n"


@pytest.mark.parametrize("broken", ["(", "x", "not python"])
def test_a_fix_that_does_not_help_is_not_made(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, broken: str) -> None:
    """A change after which the file does not parse, or the finding remains, is thrown away and said."""
    rules = [
        replace(rule, fix=lambda code: Patch("", True, (code.replaced(code.calls[-1].args[0], broken),)))
        for rule in catalogue()
    ]
    monkeypatch.setattr(scan_module, "catalogue", lambda: rules)
    path = tmp_path / "net.py"
    path.write_text(f"{HEAD}        x = F.dropout(x)\n{TAIL}")
    result = fix_paths([path], Options())
    assert (result.after, result.fixed) == ({}, 0)
    assert list(result.refused) == [str(path)]
    assert [each.code for each in result.report.findings] == ["REG202"]


def test_a_fix_that_does_not_help_does_not_keep_others_from_it(tmp_path: Path) -> None:
    """Where one fix of a file would cause another finding, the others are made, and a note names its rule."""
    path = tmp_path / "net.py"
    text = (HEAD + "        x = F.dropout(x)\n        logits = self.classifier(x)\n{}        return logits\n").replace(
        "self.p = 0.1", "self.classifier, self.drop = nn.Linear(4, 9), nn.Dropout()"
    )
    lost = text.format("        F.dropout(logits, 0.1, self.training)\n        F.dropout(x)\n")
    path.write_text(lost)
    result = fix_paths([path], Options())
    assert result.after[str(path)].decode() == lost.replace(
        "x = F.dropout(x)", "x = F.dropout(x, training=self.training)"
    )
    assert (result.fixed, [why[:8] for why in result.refused.values()]) == (1, ["REG405: "])
    assert sorted(each.code for each in result.report.findings) == ["REG405", "REG405"]


def test_what_a_fix_leaves_is_what_a_scan_finds(tmp_path: Path) -> None:
    """After mending every rule's bad examples, the report says what a fresh scan of the written files says."""
    for rule in load():
        for number, example in enumerate(rule.bad):
            (tmp_path / f"{rule.name.replace('-', '_')}{number}.py").write_text(example.source)
    before = scan([tmp_path])
    result = fix_paths([tmp_path], Options(), unsafe=True)
    result.write()
    after = scan([tmp_path])
    assert result.fixed == len(before.findings) - len(after.findings) >= 8
    assert result.report == after
    assert not any(each.patch for each in after.findings)
