"""Deployed files: the faults that an export in train mode burns in, and files that hold no program."""

from __future__ import annotations

import warnings
import zipfile
from pathlib import Path
from typing import Any

import pytest
import torch
import torch.export.experimental
import torch.nn.functional as F
from torch import nn

from regcheck import audit
from regcheck.cli.audit import examine
from regcheck.config.options import Options
from regcheck.core.errors import CannotBuild, UsageError
from regcheck.core.finding import Severity, Verdict
from regcheck.core.report import Report
from regcheck.engine.artifacts import load
from regcheck.engine.targets import build

X = torch.randn(6, 1, 8, 8)
LINES = Path(__file__).read_text(encoding="utf-8").splitlines()


class Meter(nn.Module):
    """Right as it stands: whatever it drops, normalizes and draws follows its mode."""

    def __init__(self) -> None:
        super().__init__()
        self.conv, self.norm, self.head = nn.Conv2d(1, 4, 3), nn.BatchNorm2d(4), nn.Linear(4, 2)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = F.relu(self.norm(self.conv(x)))  # REG205
        x = F.dropout2d(x, 0.4, self.training)  # REG202
        if self.training:
            x = x + 0.2 * torch.randn_like(x)  # REG203
        return self.head(x.mean((2, 3)))


EXPECTED = {(line[-6:], number) for number, line in enumerate(LINES, 1) if line[:8].isspace() and "  # REG2" in line}


def export(model: nn.Module, path: Path) -> None:
    torch.export.save(torch.export.export(model, (X,)), path)


def trace(model: nn.Module, path: Path) -> None:
    torch.jit.save(torch.jit.trace(model, (X,), check_trace=False), path)


def script(model: nn.Module, path: Path) -> None:
    torch.jit.save(torch.jit.script(model), path)


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the model in every format, exported in each mode."""
    folder = tmp_path_factory.mktemp("deployed")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # torch deprecates TorchScript, and it is deployed all the same
        for mode in ("train", "eval"):
            for save, name in ((export, "exported.pt2"), (trace, "traced.pt"), (script, "scripted.pt")):
                save(Meter().train(mode == "train"), folder / f"{mode}_{name}")
        torch.save(Meter().state_dict(), folder / "weights.pt")
        torch.save(Meter().state_dict(), folder / "old.pth", _use_new_zipfile_serialization=False)
    (folder / "compiled.so").write_bytes(b"\x7fELF")
    return folder


def report_on(path: Path) -> Report:
    return examine(str(path), [], Options())


@pytest.mark.parametrize("name", ["exported.pt2", "traced.pt"])
def test_faults_burnt_in_by_an_export_in_train_mode_are_confirmed(files: Path, name: str) -> None:
    """Dropout, batch statistics and draws of train mode are each proven on the file, at the lines it records."""
    report = report_on(files / f"train_{name}")
    assert {(each.code, each.line) for each in report.findings} == EXPECTED
    assert {each.evidence.verdict for each in report.findings} == {Verdict.CONFIRMED}
    assert {each.path and Path(each.path).name for each in report.findings} == {Path(__file__).name}
    assert report.not_checked == () and report.exit_code == 1


@pytest.mark.parametrize("name", ["exported.pt2", "traced.pt"])
def test_a_file_exported_after_eval_is_clean(files: Path, name: str) -> None:
    """The same model, exported for predictions, is clean and covered as a whole."""
    report = report_on(files / f"eval_{name}")
    assert (report.findings, report.not_checked, report.exit_code) == ((), (), 0)
    (coverage,) = report.coverage
    assert coverage.subject == "Meter" and coverage.traced == coverage.modules


def test_a_script_saved_in_train_mode_follows_its_mode(files: Path) -> None:
    """`torch.jit.script` keeps the mode as a switch, so the file is clean in either mode; it records no inputs."""
    for mode in ("train", "eval"):
        report = audit(build(str(files / f"{mode}_scripted.pt")), X)
        assert (report.findings, report.not_checked) == ((), ())
    report = report_on(files / "eval_scripted.pt")
    assert report.exit_code == 3 and "pass inputs" in report.not_checked[0].what_to_do


def test_an_exported_program_is_audited_as_it_is() -> None:
    """`audit` takes the program itself and runs it on the example that it was exported with."""
    program = torch.export.export(nn.Sequential(nn.Linear(4, 4), nn.Dropout(0.5), nn.Linear(4, 2)), (X[0, 0, :, :4],))
    for report in (audit(program), audit(program, torch.randn(8, 4))):
        (finding,) = report.findings
        assert (finding.code, finding.evidence.verdict) == ("REG202", Verdict.CONFIRMED)


def test_a_target_may_be_a_program_in_a_module(tmp_path: Path) -> None:
    """`file.py:program` names an exported program like a model."""
    source = (
        "import torch\nlayers = torch.nn.Linear(4, 4), torch.nn.Dropout(0.5), torch.nn.Linear(4, 2)\n"
        "program = torch.export.export(torch.nn.Sequential(*layers), (torch.ones(3, 4),))\n"
    )
    (tmp_path / "deployed_program.py").write_text(source, encoding="utf-8")
    report = examine(f"{tmp_path}/deployed_program.py:program", [], Options())
    assert [each.code for each in report.findings] == ["REG202"] and report.not_checked == ()


def test_a_finding_without_a_line_names_the_file_and_the_op(files: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A program of torch's own layers alone records no line of the user's."""
    monkeypatch.chdir(files)
    export(nn.Sequential(nn.Conv2d(1, 2, 3), nn.Dropout(0.3), nn.Conv2d(2, 1, 3)), files / "layers.pt2")
    found = {each.code: each for each in examine("layers.pt2", [], Options()).findings}
    assert found["REG202"].where in ("<layers.pt2 at 1>", "<layers.pt2>")  # torch 2.7 does not record the layer
    assert "`F.dropout(p=0.3)`" in found["REG202"].message


def test_one_sample_suffices_to_prove_batch_statistics() -> None:
    """A program for one sample has no batch mates: its running statistics would give another prediction."""
    model = nn.Sequential(nn.Conv2d(1, 4, 3), nn.BatchNorm2d(4), nn.ReLU(), nn.Flatten(), nn.Linear(144, 2))
    (finding,) = audit(torch.export.export(model.train(), (X[:1],))).findings
    assert (finding.code, finding.evidence.verdict) == ("REG205", Verdict.CONFIRMED)
    ways = "with its running statistics in this call the prediction changes", "in 12 batches with other samples"
    assert any(each in finding.evidence.because for each in ways)  # torch 2.7 exports a program for any batch
    assert audit(torch.export.export(model.eval(), (X[:1],))).findings == ()


class Policy(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.mean = nn.Linear(4, 2)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        action: torch.Tensor = torch.distributions.Normal(self.mean(x), 0.1, validate_args=False).rsample()
        return action


def test_a_policy_that_samples_its_action_is_advice() -> None:
    """The line of a traced draw shows that it samples on purpose."""
    report = audit(torch.export.export(Policy().eval(), (X[0, 0, :, :4],)))
    assert [(each.code, each.severity) for each in report.findings] == [("REG203", Severity.INFO)]
    assert report.exit_code == 0


@pytest.mark.parametrize(
    ("name", "reason"),
    [
        ("weights.pt", "a pickle"),
        ("old.pth", "a pickle"),
        ("compiled.so", "machine code"),
    ],
)
def test_a_file_without_a_program_is_not_checked(files: Path, name: str, reason: str) -> None:
    """Weights and machine code are refused with what to do, and a named target that was not checked fails."""
    report = report_on(files / name)
    (missed,) = report.not_checked
    assert reason in missed.reason and missed.what_to_do.startswith("audit the ")
    assert report.exit_code == 3


class Step(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.layer = nn.Linear(4, 2)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.layer(x).sum()


@pytest.mark.filterwarnings("ignore:.*LeafSpec:FutureWarning")  # torch uses what it deprecates
def test_a_training_step_is_not_checked() -> None:
    """The joint graph of a forward and its backward is what nobody deploys."""
    joint = torch.export.experimental._export_forward_backward(torch.export.export(Step(), (X[0, 0, :, :4],)))
    (missed,) = audit(joint).not_checked
    assert "training step" in missed.reason


def test_machine_code_is_not_checked(tmp_path: Path) -> None:
    """A package that AOTInductor compiled has no ops that could be followed."""
    with zipfile.ZipFile(tmp_path / "net.pt2", "w") as package:
        package.writestr("net/archive_format", "pt2")
        package.writestr("net/data/aotinductor/model/model.wrapper.so", b"\x7fELF")
    with pytest.raises(CannotBuild, match="AOTInductor"):
        load(str(tmp_path / "net.pt2"))


class Bomb:
    """Writes a file when it is unpickled."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> Any:
        return Path.touch, (self.path,)


@pytest.mark.parametrize("suffix", [".pt", ".pt2", ".ckpt"])
def test_nothing_is_unpickled(tmp_path: Path, suffix: str) -> None:
    """A file that runs code when it is unpickled is refused, and its code does not run."""
    torch.save({"weights": Bomb(tmp_path / "ran")}, tmp_path / f"net{suffix}")
    with pytest.raises(CannotBuild, match="pickle"):
        load(str(tmp_path / f"net{suffix}"))
    assert not (tmp_path / "ran").exists()


def test_pickles_inside_an_exported_program_are_refused(files: Path, tmp_path: Path) -> None:
    """A program whose example would run code when unpickled is not loaded."""
    program = torch.export.export(nn.Linear(4, 2), (X[0, 0, :, :4],))
    program._example_inputs = ((X[0, 0, :, :4],), {"harm": Bomb(tmp_path / "ran")})
    torch.export.save(program, tmp_path / "net.pt2")
    with pytest.raises(CannotBuild, match="cannot be loaded"):
        load(str(tmp_path / "net.pt2"))
    assert not (tmp_path / "ran").exists()


def test_a_missing_file_is_wrong_usage(tmp_path: Path) -> None:
    """A path that does not exist is the user's mistake."""
    with pytest.raises(UsageError, match="there is no file"):
        load(str(tmp_path / "net.pt2"))
