"""How much a scan makes of what it finds: nothing is an error that the code may mean, or that harms nobody today."""

from __future__ import annotations

from pathlib import Path

import pytest

from regcheck.core.finding import Severity
from regcheck.engine.scan import scan

HEADER = "from dataclasses import dataclass\nimport torch\nimport torch.nn.functional as F\nfrom torch import nn\n"
LATENT = f"""{HEADER}
class Model(nn.Module):
    def __init__(self, rate=0.0):
        super().__init__()
        self.rate = rate
        self.fc = nn.Linear(4, 4)

    def forward(self, x):
        return self.fc(F.dropout(x, self.rate))
"""
FIELD = f"""{HEADER}
@dataclass
class Config:
    width: int = 4
    dropout: float = 0.0

class Model(nn.Module):
    def __init__(self):
        super().__init__()
        self.config = Config(width=4)
        self.fc = nn.Linear(4, 4)

    def forward(self, x):
        return self.fc(F.scaled_dot_product_attention(x, x, x, dropout_p=self.config.dropout))
"""


def severities(path: Path, code: str, source: str, **options: object) -> list[tuple[int | None, Severity]]:
    path.joinpath("net.py").write_text(source)
    found = scan([path], {"select": [code], **options}).findings
    return [(each.line, each.severity) for each in found]


def test_a_dropout_whose_rate_is_zero_by_default_is_advice(tmp_path: Path) -> None:
    """It harms nobody today, so it is shown to those who ask for the rule, and fails nothing."""
    path = tmp_path / "net.py"
    path.write_text(LATENT)
    assert scan([path]).findings == ()
    for options in ({"extend-select": ["REG202"]}, {"select": ["dropout-ignores-mode"]}, {"select": ["ALL"]}):
        report = scan([path], options)
        latent = [each for each in report.findings if each.code == "REG202"]
        assert [(each.line, each.severity) for each in latent] == [(13, Severity.INFO)]
        assert report.ok


def test_a_rate_that_someone_gives_is_an_error_at_the_same_line(tmp_path: Path) -> None:
    """Of a default of zero and a rate that a program gives, the worse is told, whichever is read first."""
    for built in ("a, b = Model(), Model(0.3)", "a, b = Model(0.3), Model()"):
        assert severities(tmp_path, "REG202", f"{LATENT}\n{built}\n") == [(13, Severity.ERROR)]


def test_a_field_of_a_configuration_is_a_default_too(tmp_path: Path) -> None:
    """A configuration that a program makes without naming a rate leaves it at its default."""
    assert severities(tmp_path, "REG202", FIELD) == [(18, Severity.INFO)]


CONFIGURED = """
class Attention(nn.Module):
    def __init__(self, config{annotation}):
        super().__init__()
        self.qkv = nn.Linear(config.width, 3 * config.width)
        self.rate = {rate}

    def forward(self, x):
        q, k, v = self.qkv(x).chunk(3, -1)
        return F.scaled_dot_product_attention(q, k, v, dropout_p=self.rate)

class Block(nn.Module):
    def __init__(self, config{annotation}):
        super().__init__()
        self.attend = Attention(config)

    def forward(self, x):
        return x + self.attend(x)
"""
DATACLASS = """
@dataclass
class {name}:
    width: int = 4
    dropout: float = {default}
"""
TAKEN = "class Config(Base):\n    def __init__(self, width=4, dropout={default}, **kwargs):\n"
TAKEN += "        super().__init__(**kwargs)\n        self.width, self.depth = width, 2\n        self.width = width\n"
TAKEN += "        self.dropout = dropout\n"
ZERO, HALF = DATACLASS.format(name="Config", default=0.0), DATACLASS.format(name="Config", default=0.5)
DEMANDED = "@dataclass\nclass Config:\n    width: int\n    dropout: float\n"


@pytest.mark.parametrize(
    ("rate", "annotation", "configurations", "severity"),
    [
        ("config.dropout", "", ZERO, Severity.INFO),
        ("config.dropout", ": Config", ZERO, Severity.INFO),
        ("config.dropout", ": 'Config | None'", TAKEN.format(default=0.0), Severity.INFO),
        ("config.dropout", "", ZERO.replace("= 0.0", "= field(default=0.0)"), Severity.INFO),
        ("config.dropout", ": Other", f"from configuration import Config as Other\n{HALF}", Severity.INFO),
        ("getattr(config, 'dropout', 0.0)", "", "", Severity.INFO),
        ("config.get('dropout', 0)", "", "", Severity.INFO),
        ("config.dropout", "", "", Severity.WARNING),
        ("config.dropout", "", HALF, Severity.WARNING),
        ("config.dropout", "", DEMANDED, Severity.WARNING),
        ("config.dropout", "", TAKEN.format(default=0.1), Severity.WARNING),
        ("getattr(config, 'dropout', 0.0)", "", HALF, Severity.WARNING),
        ("config.get('dropout', 0.1)", "", "", Severity.WARNING),
        ("config.dropout", "", ZERO.replace("width", "size"), Severity.WARNING),
        ("config.dropout", "", ZERO + HALF.replace("Config", "OtherConfig"), Severity.WARNING),
        ("config.dropout", "", ZERO + "def tune(config):\n    config.dropout = 0.1\n", Severity.WARNING),
        ("config.dropout", "", f"{ZERO}\n    def __post_init__(self):\n        self.dropout = 0.1\n", Severity.WARNING),
        ("1 - config.dropout", "", ZERO, Severity.WARNING),
    ],
)
def test_a_rate_that_a_configuration_leaves_at_zero_is_advice(
    tmp_path: Path, rate: str, annotation: str, configurations: str, severity: Severity | None
) -> None:
    """Only where the configuration's class is certain, and nothing else sets it; all other rates count as before."""
    tmp_path.joinpath("configuration.py").write_text(HEADER + ZERO)
    source = HEADER + configurations + CONFIGURED.format(rate=rate, annotation=annotation)
    found = severities(tmp_path, "REG202", source)
    assert [each for _, each in found] == ([] if severity is None else [severity])


def test_a_rate_that_a_program_gives_a_configuration_is_an_error(tmp_path: Path) -> None:
    """The configuration's default of zero excuses nobody who sets another."""
    source = HEADER + ZERO + CONFIGURED.format(rate="config.dropout", annotation="")
    assert [each for _, each in severities(tmp_path, "REG202", f"{source}\nBlock(Config(dropout=0.2))\n")] == [
        Severity.ERROR
    ]


NET = f"""{HEADER}
class Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.mean, self.spread, self.head = nn.Linear(4, 4), nn.Linear(4, 4), nn.Linear(4, 4)

"""
NAMED = """\
    def {name}(self, x):
        return x + torch.randn_like(x)

    def forward(self, x):
        return self.head(self.{name}(x))
"""


@pytest.mark.parametrize(
    ("methods", "severity"),
    [
        (NAMED.format(name="reparameterize"), Severity.INFO),
        (NAMED.format(name="_sample_latents"), Severity.INFO),
        (NAMED.format(name="random_masking"), Severity.INFO),
        (NAMED.format(name="generate"), Severity.INFO),
        (NAMED.format(name="downsample"), Severity.WARNING),
        (NAMED.format(name="perturb"), Severity.WARNING),
        (
            "    def forward(self, x):\n        m = self.mean(x)\n"
            "        return self.head(m + torch.randn_like(m) * torch.exp(0.5 * self.spread(x)) * 0.7)\n",
            Severity.INFO,
        ),
        ("    def forward(self, n):\n        return self.head(torch.randn(n, 4))\n", Severity.INFO),
        ("    def forward(self, x):\n        return self.head(torch.randn(x.shape) + x)\n", Severity.WARNING),
        ("    def forward(self, x):\n        return self.head(x * (torch.rand_like(x) < 0.9))\n", Severity.WARNING),
    ],
)
def test_a_draw_that_nobody_measured_is_a_warning_at_most(tmp_path: Path, methods: str, severity: Severity) -> None:
    """A scan warns of a draw, and advises where a name, a predicted spread or a lack of inputs tells of sampling."""
    ((_, found),) = severities(tmp_path, "REG203", NET + methods)
    assert found is severity
    tmp_path.joinpath("net.py").write_text(NET + methods)
    assert len(scan([tmp_path]).findings) == (severity is Severity.WARNING)


TURNS = f"""{HEADER}
from elsewhere import engine

class Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.fc, self.drop = nn.Linear(4, 4), nn.Dropout(0.5)

    def forward(self, x):
        return self.fc(self.drop(x))

class Teaching:
    def __init__(self):
        self.teacher, (self.student, self.optimizer) = Net(), engine.prepare()

    @torch.no_grad()
    def targets(self, x):
        return self.teacher(x).softmax(1)

    def descend(self, loss):
        engine.backward(loss)
        self.optimizer.step()

    def fit(self, batches):
        for x in batches:
            LOOP

Teaching().fit(torch.load("batches.pt"))
"""


def test_a_call_that_takes_turns_with_training_steps_is_advice(tmp_path: Path) -> None:
    """What is kept for one step after the other may be a teacher's targets; what no step follows is not."""
    in_turns = "engine.keep(self.targets(x))\n            self.descend(engine.loss(self.student(x)))"
    at_last = "self.descend(F.mse_loss(self.student(x), x))\n        return self.targets(x)"
    assert severities(tmp_path, "REG201", TURNS.replace("LOOP", in_turns)) == [(22, Severity.INFO)]
    assert severities(tmp_path, "REG201", TURNS.replace("LOOP", at_last)) == [(22, Severity.ERROR)]
