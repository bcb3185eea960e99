"""REG102 and REG105 follow the axes of maps and features, in source and in a recorded forward alike."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from regcheck.engine.scan import scan
from regcheck.probe.factory import locate
from regcheck.rules import load
from regcheck.tracing.example_inputs import Inputs
from regcheck.tracing.strategies import trace_model

RULES = [rule for rule in load() if rule.code in ("REG102", "REG105")]

HEADER = "import torch\nimport torch.nn.functional as F\nfrom torch import nn\n"

SERIES, IMAGES, STEPS = "torch.randn(2, 3, 24)", "torch.randn(2, 3, 16, 16)", "torch.randn(4, 10, 6)"

MAPS = {
    "causal convolutions whose end is cut off, in a block with weight norm": (
        """
from torch.nn.utils.parametrizations import weight_norm
class Chomp1d(nn.Module):
    def __init__(self, size):
        super().__init__()
        self.size = size
    def forward(self, x):
        return x[:, :, :-self.size].contiguous()
class TemporalBlock(nn.Module):
    def __init__(self, ins, outs, dilation):
        super().__init__()
        self.first = weight_norm(nn.Conv1d(ins, outs, 3, padding=2 * dilation, dilation=dilation))
        self.second = weight_norm(nn.Conv1d(outs, outs, 3, padding=2 * dilation, dilation=dilation))
        self.net = nn.Sequential(
            self.first, Chomp1d(2 * dilation), nn.ReLU(),
            nn.Dropout(0.2),  # <- scan
            self.second, Chomp1d(2 * dilation), nn.ReLU(),
            nn.Dropout(0.2),  # <- scan
        )
        self.down = nn.Conv1d(ins, outs, 1) if ins != outs else None
    def forward(self, x):
        return torch.relu(self.net(x) + (x if self.down is None else self.down(x)))  # <- run
class Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.body = nn.Sequential(TemporalBlock(3, 8, 1), TemporalBlock(8, 8, 2), nn.Conv1d(8, 8, 3))
        self.head = nn.Linear(8, 2)
    def forward(self, x):
        return self.head(self.body(x)[:, :, -1])
""",
        SERIES,
    ),
    "gated halves of a parametrized convolution": (
        """
from torch.nn.utils.parametrizations import weight_norm
class Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.pair = weight_norm(nn.Conv1d(3, 16, 2, dilation=2))
        self.mix = nn.Conv1d(8, 8, 1)
        self.drop = nn.Dropout(0.2)
    def forward(self, x):
        content, gate = torch.split(self.pair(F.pad(x, (2, 0))), 8, dim=1)
        h = self.drop(torch.tanh(content) * torch.sigmoid(gate))  # <-
        return self.mix(h).mean(2)
""",
        SERIES,
    ),
    "a gated linear unit over channels": (
        """
class Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.conv, self.last = nn.Conv1d(3, 16, 3), nn.Conv1d(8, 4, 3)
    def forward(self, x):
        h = F.dropout(F.glu(self.conv(x), 1), 0.1, self.training)  # <-
        return self.last(h)
""",
        SERIES,
    ),
    "padded after the convolution, and narrowed": (
        """
class Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.conv, self.last, self.drop = nn.Conv1d(3, 8, 3), nn.Conv1d(8, 4, 3), nn.Dropout(0.3)
    def forward(self, x):
        h = F.pad(torch.relu(self.conv(x)), (2, 2))
        return self.last(self.drop(h.narrow(2, 1, 20)))  # <-
""",
        SERIES,
    ),
    "a skip connection that is cropped to size": (
        """
def cropped(skip, like):
    top = (skip.size(2) - like.size(2)) // 2
    left = (skip.size(3) - like.size(3)) // 2
    return skip[:, :, top:top + like.size(2), left:left + like.size(3)]
class Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.enter, self.deep = nn.Conv2d(3, 8, 3), nn.Conv2d(8, 8, 3)
        self.drop = nn.Dropout(0.3)
        self.out = nn.Conv2d(16, 2, 3)
    def forward(self, x):
        skip = torch.relu(self.enter(x))
        h = torch.relu(self.deep(skip))
        return self.out(self.drop(torch.cat([cropped(skip, h), h], 1)))  # <-
""",
        IMAGES,
    ),
    "enlarged by interpolation": (
        """
class Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.down, self.last, self.drop = nn.Conv2d(3, 8, 3, stride=2), nn.Conv2d(8, 2, 3), nn.Dropout(0.3)
    def forward(self, x):
        h = F.interpolate(torch.relu(self.down(x)), size=x.shape[2:], mode="bilinear")
        return self.last(self.drop(h))  # <-
""",
        IMAGES,
    ),
    "enlarged by layers in a Sequential": (
        """
class Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.net = nn.Sequential(
            nn.Conv2d(3, 8, 3), nn.UpsamplingNearest2d(scale_factor=2), nn.ReflectionPad2d(1),
            nn.Dropout(0.3),  # <- scan
            nn.Conv2d(8, 8, 3), nn.PixelShuffle(2),
            nn.Dropout(0.3),  # <- scan
            nn.Conv2d(2, 2, 3),
        )
    def forward(self, x):
        return self.net(x)  # <- run
""",
        IMAGES,
    ),
    "the larger of two maps": (
        """
class Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.one, self.other, self.last = nn.Conv2d(3, 8, 3), nn.Conv2d(3, 8, 3), nn.Conv2d(8, 2, 3)
        self.drop = nn.Dropout(0.3)
    def forward(self, x):
        first = self.drop(torch.max(self.one(x), self.other(x)))  # <-
        second = self.drop(torch.maximum(self.one(x), self.other(x)))  # <-
        return self.last(first) + self.last(second)
""",
        IMAGES,
    ),
    "height and width swapped": (
        """
class Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.first, self.last, self.drop = nn.Conv2d(3, 8, 3), nn.Conv2d(8, 2, 3), nn.Dropout(0.3)
    def forward(self, x):
        return self.last(self.drop(self.first(x).transpose(2, 3)))  # <-
""",
        IMAGES,
    ),
    "averaged over one of two axes": (
        """
class Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.first, self.last, self.drop = nn.Conv2d(3, 8, 3), nn.Conv1d(8, 2, 3), nn.Dropout(0.3)
    def forward(self, x):
        return self.last(self.drop(self.first(x).mean(2)))  # <-
""",
        IMAGES,
    ),
    "moved to the end and back": (
        """
class Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.first, self.last, self.drop = nn.Conv2d(3, 8, 3), nn.Conv2d(8, 2, 3), nn.Dropout(0.3)
        self.norm = nn.LayerNorm(8)
    def forward(self, x):
        h = self.norm(self.first(x).permute(0, 2, 3, 1)).permute(0, 3, 1, 2)
        return self.last(self.drop(h))  # <-
""",
        IMAGES,
    ),
    "no map: steps of a sequence": (
        """
class Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.conv, self.rnn, self.drop = nn.Conv1d(3, 8, 3), nn.GRU(8, 8, batch_first=True), nn.Dropout(0.3)
    def forward(self, x):
        return self.rnn(self.drop(self.conv(x).transpose(1, 2)))[0]
""",
        SERIES,
    ),
    "no map: one position": (
        """
class Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.conv, self.last = nn.Conv1d(3, 8, 3), nn.Conv1d(8, 4, 3, padding=1)
        self.drop, self.head = nn.Dropout(0.3), nn.Linear(8, 4)
    def forward(self, x):
        h = self.conv(x)
        flat = self.head(self.drop(h[:, :, -1])) + self.head(self.drop(h[..., 0])) + self.head(self.drop(h.amax(2)))
        flat = flat + self.head(self.drop(h.select(2, -1))) + self.head(self.drop(h.max(dim=2)[0]))
        i = x.shape[2] // 2
        single = self.last(self.drop(h[:, :, -1:])) + self.last(self.drop(h[:, :, i:i + 1]))
        pooled = self.last(self.drop(F.adaptive_avg_pool1d(h, 1))) + self.last(self.drop(h.mean(2, keepdim=True)))
        return flat + (single + pooled).squeeze(2)
""",
        SERIES,
    ),
    "no map: channels last, for a linear layer": (
        """
class Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.conv, self.norm = nn.Conv2d(3, 8, 7, padding=3), nn.LayerNorm(8)
        self.wide, self.back, self.drop = nn.Linear(8, 32), nn.Linear(32, 8), nn.Dropout(0.1)
        self.last = nn.Conv2d(8, 2, 3)
    def forward(self, x):
        h = self.norm(self.conv(x).permute(0, 2, 3, 1))
        h = self.back(self.drop(F.gelu(self.wide(self.drop(h)))))
        return self.last(self.drop(h).permute(0, 3, 1, 2))
""",
        IMAGES,
    ),
    "no map: channel dropout of a chomped map": (
        """
class Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.conv, self.last, self.drop = nn.Conv1d(3, 8, 3, padding=2), nn.Conv1d(8, 4, 3), nn.Dropout1d(0.3)
    def forward(self, x):
        return self.last(self.drop(self.conv(x)[:, :, :-2]))
""",
        SERIES,
    ),
    "no map: taken apart right after a slice": (
        """
class Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.conv, self.mix, self.drop = nn.Conv2d(3, 8, 4, stride=4), nn.Linear(8, 8), nn.Dropout(0.1)
    def forward(self, x):
        h = self.drop(self.conv(x))[:, :, :2]
        return self.mix(h.flatten(2).transpose(1, 2))
""",
        IMAGES,
    ),
}

FEATURES = {
    "steps of recurrent layers": (
        """
class Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.lstm, self.gru = nn.LSTM(6, 8, batch_first=True, bidirectional=True), nn.GRU(16, 16, batch_first=True)
        self.norm, self.steps, self.samples = nn.LayerNorm(16), nn.Dropout1d(0.2), nn.Dropout2d(0.2)
        self.head = nn.Linear(16, 4)
    def forward(self, x):
        states, (last, cell) = self.lstm(x)
        states = self.samples(self.norm(states))  # <-
        out = self.gru(states)[0]
        out = self.steps(out)  # <-
        return self.head(self.steps(out[:, -1]))  # <-
""",
        STEPS,
    ),
    "positions of attention with a residual": (
        """
class Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.attend = nn.MultiheadAttention(6, 2, batch_first=True)
        self.norm, self.drop, self.head = nn.LayerNorm(6), nn.Dropout1d(0.2), nn.Linear(6, 4)
    def forward(self, x):
        mixed, _ = self.attend(x, x, x)
        return self.head(self.drop(self.norm(x + mixed)).mean(1))  # <-
""",
        STEPS,
    ),
    "positions of a transformer": (
        """
class Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.body = nn.TransformerEncoderLayer(6, 2, 12, batch_first=True)
        self.drop, self.head = nn.Dropout1d(0.2), nn.Linear(6, 4)
    def forward(self, x):
        return self.head(self.drop(self.body(x)).mean(1))  # <-
""",
        STEPS,
    ),
    "a convolution's map with features last": (
        """
class Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.conv, self.drop, self.head = nn.Conv1d(10, 8, 3, padding=1), nn.Dropout1d(0.2), nn.Linear(8, 4)
    def forward(self, x):
        h = torch.relu(self.conv(x)).permute(0, 2, 1)
        return self.head(self.drop(h).mean(1))  # <-
""",
        STEPS,
    ),
    "tokens moved away and back": (
        """
class Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.rnn, self.drop, self.head = nn.GRU(6, 8, batch_first=True), nn.Dropout2d(0.2), nn.Linear(8, 4)
        self.norm = nn.BatchNorm1d(8)
    def forward(self, x):
        h = self.norm(self.rnn(x)[0].transpose(1, 2)).transpose(1, 2)
        return self.head(self.drop(h).mean(1))  # <-
""",
        STEPS,
    ),
    "a residual in a helper": (
        """
def residual(x, block):
    return x + block(x)
class Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.block, self.drop = nn.Sequential(nn.Linear(6, 6), nn.ReLU()), nn.Dropout1d(0.2)
    def forward(self, x):
        return self.block(self.drop(residual(x, self.block))).mean(1)  # <-
""",
        STEPS,
    ),
    "sound: features before steps": (
        """
class Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.rnn, self.attend = nn.GRU(6, 8, batch_first=True), nn.MultiheadAttention(8, 2, batch_first=True)
        self.drop, self.other, self.head = nn.Dropout1d(0.2), nn.Dropout2d(0.2), nn.Linear(8, 4)
    def forward(self, x):
        h, last = self.rnn(x)
        one = self.drop(h.permute(0, 2, 1)).mean(2) + self.other(h.transpose(1, 2)).mean(2)
        h = h + self.attend(h, h, h)[0]
        two = self.drop(h.swapaxes(-1, -2)).mean(2) + self.drop(last[-1].unsqueeze(-1)).squeeze(-1)
        three = self.other(h.transpose(1, 2).unsqueeze(-1)).squeeze(-1).mean(2)
        return self.head(one + two + three + self.drop(h[:, -1].unsqueeze(2))[:, :, 0])
""",
        STEPS,
    ),
    "sound: maps with residuals": (
        """
class Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.first, self.conv = nn.Conv1d(10, 8, 3, padding=2), nn.Conv1d(8, 8, 3, padding=1)
        self.drop, self.scale = nn.Dropout1d(0.2), nn.Linear(8, 8)
    def forward(self, x):
        h = self.drop(self.first(x)[:, :, :-2])
        h = h + self.drop(torch.relu(self.conv(h)))
        h = self.drop(h * torch.sigmoid(self.scale(h.mean(2))).unsqueeze(-1))
        return self.drop(F.interpolate(h, scale_factor=2)).mean(2)
""",
        STEPS,
    ),
    "sound: a map with its positions merged, and features that become a map": (
        """
class Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.conv, self.drop, self.other = nn.Conv2d(3, 8, 3), nn.Dropout1d(0.2), nn.Dropout2d(0.2)
        self.code, self.up = nn.Linear(8, 8 * 16), nn.ConvTranspose2d(8, 4, 2)
    def forward(self, x):
        code = self.drop(self.conv(x).flatten(2)).mean(2)
        h = self.other(self.code(code).view(-1, 8, 4, 4))
        return self.other(self.up(h))
""",
        IMAGES,
    ),
    "sound: words": (
        """
class Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.words, self.place = nn.Embedding(20, 8), nn.Parameter(torch.zeros(1, 10, 8))
        self.drop, self.head = nn.Dropout1d(0.2), nn.Linear(8, 4)
    def forward(self, x):
        return self.head(self.drop(self.words(x) + self.place).mean(1))
""",
        "torch.randint(20, (4, 10))",
    ),
}

CASES = {("REG102", name): case for name, case in MAPS.items()} | {
    ("REG105", name): case for name, case in FEATURES.items()
}


def marked(source: str, door: str) -> set[int]:
    """The lines with a mark; a run places an element of a `Sequential` where that is called."""
    marks = ("# <-", f"# <- {door}")
    return {number for number, line in enumerate(source.splitlines(), 1) if line.endswith(marks)}


@pytest.fixture(scope="module")
def scanned(tmp_path_factory: pytest.TempPathFactory) -> dict[str, set[tuple[str, int]]]:
    folder: Path = tmp_path_factory.mktemp("axes")
    files = {folder / f"case{number}.py": key for number, key in enumerate(CASES)}
    for path, key in files.items():
        path.write_text(HEADER + CASES[key][0], encoding="utf-8")
    report = scan([folder], options={"select": ["REG102", "REG105"]})
    found: dict[str, set[tuple[str, int]]] = {path.stem: set() for path in files}
    for each in report.findings:
        found[Path(each.path or "").stem].add((each.code, each.line or 0))
    return found


@pytest.mark.parametrize("key", CASES, ids=" ".join)
def test_a_scan_reports_exactly_the_dropped_axes(
    key: tuple[str, str], scanned: dict[str, set[tuple[str, int]]]
) -> None:
    """A scan reports the marked dropouts and no others."""
    stem = f"case{[*CASES].index(key)}"
    assert scanned[stem] == {(key[0], line) for line in marked(HEADER + CASES[key][0], "scan")}


@pytest.mark.parametrize("key", CASES, ids=" ".join)
def test_a_recorded_forward_suspects_exactly_the_dropped_axes(key: tuple[str, str], tmp_path: Path) -> None:
    """The rules suspect the same lines of the recorded model."""
    source = HEADER + CASES[key][0] + f"\nmodel, inputs = Net(), ({CASES[key][1]},)\n"
    path = tmp_path / "case.py"
    path.write_text(source, encoding="utf-8")
    namespace: dict[str, Any] = {"__name__": "case"}
    exec(compile(source, str(path), "exec"), namespace)
    graph = trace_model(namespace["model"], "model", Inputs(namespace["inputs"]), locate).graph
    assert graph is not None
    found = {(rule.code, each.place.line) for rule in RULES for each in rule.check(graph) if each.place is not None}
    assert found == {(key[0], line) for line in marked(source, "run")}
