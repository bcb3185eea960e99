"""ONNX files: what their graphs hold of train mode, in each version of the standard, and its proof by onnxruntime."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import pytest
import torch

import regcheck
from regcheck.cli.audit import examine
from regcheck.cli.inputs import parse_input
from regcheck.config.options import Options
from regcheck.core.errors import UsageError
from regcheck.core.finding import Severity, Verdict
from regcheck.core.report import Report

onnx = pytest.importorskip("onnx", reason="needs the extra `onnx`")
parser = pytest.importorskip("onnx.parser", reason="needs the extra `onnx`")

UNPROVEN = Options(confirm=False)
NORM = (
    "<float[4] w = {1, 2, 1, 1}, float[4] b = {0, 0, 1, 0}, float[4] mean = {1, 1, 1, 0}, float[4] var = {1, 2, 1, 1}>"
)


def model_of(body: str, opset: int = 17, more: str = "", functions: str = "", shape: str = "8,4") -> Any:
    """The model of a graph from `x` to `y`; `more` declares initializers."""
    domains = f'"" : {opset}, "own" : 1, "com.microsoft" : 1'
    head = f'<ir_version: 8, opset_import: [{domains}], producer_name: "pytorch">'
    return parser.parse_model(f"{head} g (float[{shape}] x) => (float[{shape}] y) {more} {{ {body} }} {functions}")


def report_on(model: Any, folder: Path, options: Options = UNPROVEN, *inputs: str) -> Report:
    onnx.save(model, folder / "net.onnx")
    return examine(str(folder / "net.onnx"), [parse_input(each) for each in inputs], options)


RATE = "<float r = {0.5}, bool t = {1}>"
BRANCH = "g1 () => (float[8,4] z) { z = Dropout(x, r, t) }"
OTHER = "g2 () => (float[8,4] z) { z = Relu(x) }"

FAULTY = {
    "switch in an initializer": ("y = Dropout(x, r, t)", 17, RATE, ""),
    "switch in a constant": ("t = Constant<value = bool {1}>() y = Dropout(x, , t)", 13, "", ""),
    "switch through casts": ("s = Cast<to = 9>(i) u = Identity(s) y = Dropout(x, , u)", 12, "<int64 i = {1}>", ""),
    "switch negated": ("u = Not(t) y = Dropout(x, , u)", 17, "<bool t = {0}>", ""),
    "opset 6 drops by default": ("y = Dropout<ratio = 0.4>(x)", 6, "", ""),
    "in the branch that runs": (f"y = If(t) <then_branch = {BRANCH}, else_branch = {OTHER}>", 17, RATE, ""),
    "in a branch that may run": (
        f"s = ReduceMax<keepdims = 0>(x) c = Cast<to = 9>(s) y = If(c) <then_branch = {OTHER}, else_branch = {BRANCH}>",
        17,
        RATE,
        "",
    ),
    "in a function": (
        "y = own.Block(x)",
        17,
        "",
        '<domain: "own", opset_import: ["" : 17]> Block (a) => (c) '
        "{ t = Constant<value = bool {1}>() b = Relu(a) c = Dropout(b, , t) }",
    ),
    "fused by onnxruntime": (
        "y = com.microsoft.BiasDropout(x, w, , r, t)",
        17,
        RATE[:-1] + ", float[4] w = {1,1,1,1}>",
        "",
    ),
}
SOUND = {
    "switch off": ("y = Dropout(x, r, t)", 17, "<float r = {0.5}, bool t = {0}>", ""),
    "no switch": ("y = Dropout(x, r)", 17, "<float r = {0.5}>", ""),
    "rate of zero": ("y = Dropout(x, r, t)", 17, "<float r = {0}, bool t = {1}>", ""),
    "constant switch off": ("t = Constant<value = bool {0}>() y = Dropout(x, , t)", 13, "", ""),
    "opset 6 in test mode": ("y = Dropout<ratio = 0.4, is_test = 1>(x)", 6, "", ""),
    "opset 7 never drops": ("y = Dropout<ratio = 0.4>(x)", 7, "", ""),
    "opset 10 never drops": ("y = Dropout<ratio = 0.4>(x)", 10, "", ""),
    "in the branch that never runs": (f"y = If(t) <then_branch = {OTHER}, else_branch = {BRANCH}>", 17, RATE, ""),
    "reaches no output": ("d = Dropout(x, r, t) y = Relu(x)", 17, RATE, ""),
    "in a function, off": (
        "y = own.Block(x)",
        17,
        "",
        '<domain: "own", opset_import: ["" : 17]> Block (a) => (c) { b = Relu(a) c = Dropout(b) }',
    ),
}


@pytest.mark.parametrize("name", FAULTY)
def test_a_dropout_in_train_mode_is_found(tmp_path: Path, name: str) -> None:
    """However the standard's version and the graph say that a dropout is in train mode, it is REG202."""
    body, opset, more, functions = FAULTY[name]
    report = report_on(model_of(body, opset, more, functions), tmp_path)
    assert [each.code for each in report.findings] == ["REG202"] and report.not_checked == ()
    assert "that torch.onnx wrote holds train mode" in report.findings[0].message


@pytest.mark.parametrize("name", SOUND)
def test_a_dropout_that_does_not_drop_is_clean(tmp_path: Path, name: str) -> None:
    """The same graphs that differ in the switch, the rate, the version or the way to the output have no finding."""
    body, opset, more, functions = SOUND[name]
    report = report_on(model_of(body, opset, more, functions), tmp_path)
    assert (report.findings, report.not_checked, report.exit_code) == ((), (), 0)
    assert report.coverage[0].line.endswith("nodes read" if report.coverage[0].modules != 1 else "1 of 1 node read")


@pytest.mark.parametrize(
    ("body", "opset", "codes"),
    [
        ("y, m1, v1 = BatchNormalization<training_mode = 1>(x, w, b, mean, var)", 15, ["REG205"]),
        ("y = BatchNormalization<training_mode = 0>(x, w, b, mean, var)", 15, []),
        ("y, m1, v1, m2, v2 = BatchNormalization(x, w, b, mean, var)", 9, ["REG205"]),
        ("y = BatchNormalization(x, w, b, mean, var)", 9, []),
        ("y = BatchNormalization(x, w, b, mean, var)", 6, ["REG205"]),
        ("y = BatchNormalization<is_test = 1>(x, w, b, mean, var)", 6, []),
        ("n = RandomNormalLike(x) y = Add(x, n)", 17, ["REG203"]),
        ("n = RandomUniform<shape = [8, 4]>() y = Add(x, n)", 17, ["REG203"]),
        ("p = Sigmoid(x) n = Bernoulli(p) y = Mul(x, n)", 17, ["REG203"]),
        ("n = RandomNormalLike(x) y = Relu(x)", 17, []),
        ("n = RandomNormalLike(x) z = Mul(n, w) y = Relu(x)", 17, []),
    ],
)
def test_batch_norms_and_draws(tmp_path: Path, body: str, opset: int, codes: list[str]) -> None:
    """A batch norm in train mode is REG205, a draw on the way to an output is REG203, in each version's own form."""
    report = report_on(model_of(body, opset, NORM), tmp_path)
    assert [each.code for each in report.findings] == codes and report.not_checked == ()


def test_a_loop_is_read(tmp_path: Path) -> None:
    """A draw in the body of a loop reaches what the loop computes."""
    body = (
        "y = Loop(n, c, x) <body = one (int64 i, bool go, float[8,4] h) => (bool on, float[8,4] k) "
        "{ on = Identity(go) e = RandomNormalLike(h) k = Add(h, e) }>"
    )
    report = report_on(model_of(body, 17, "<int64 n = {3}, bool c = {1}>"), tmp_path, Options())
    assert [(each.code, each.evidence.verdict) for each in report.findings] == [("REG203", Verdict.CONFIRMED)]


@pytest.mark.parametrize(
    ("body", "reason"),
    [
        ("s = ReduceMax<keepdims = 0>(x) t = Cast<to = 9>(s) y = Dropout(x, , t)", "`t` decides it at run time"),
        ("y = own.Noise(x)", "own.Noise, which the ONNX standard does not define"),
    ],
)
def test_what_a_file_does_not_decide_is_not_checked(tmp_path: Path, body: str, reason: str) -> None:
    """A mode that is computed, and a node of a set that nobody documents, may drop."""
    (missed,) = report_on(model_of(body), tmp_path).not_checked
    assert reason in missed.reason and missed.what_to_do


class TestProof:
    """Runs of onnxruntime prove findings, as those of a model do."""

    pytestmark = pytest.mark.filterwarnings("error")

    @pytest.fixture(autouse=True)
    def _runtime(self) -> None:
        pytest.importorskip("onnxruntime", reason="needs the extra `onnx`")

    def test_a_dropout_that_stays_is_confirmed(self, tmp_path: Path) -> None:
        """A dropout whose mask is used stays when onnxruntime optimizes; switched off, runs agree."""
        body = "a = Relu(x) d, m = Dropout(a, r, t) k = Cast<to = 1>(m) y = Add(d, k)"
        (finding,) = report_on(model_of(body, 17, RATE), tmp_path, Options()).findings
        assert (finding.evidence.verdict, finding.severity) == (Verdict.CONFIRMED, Severity.ERROR)
        assert "between eval runs" in finding.evidence.because and "identical" in finding.evidence.because
        assert finding.where == f"<{tmp_path}/net.onnx at d>"

    def test_a_dropout_that_the_optimizer_removes_is_advice(self, tmp_path: Path) -> None:
        """It drops as the standard says, and not as onnxruntime runs it by default: the evidence says both."""
        model = model_of("a = Relu(x) d = Dropout(a, r, t) y = Neg(d)", 17, RATE)
        assert report_on(model, tmp_path, Options()).exit_code == 0
        (finding,) = report_on(model, tmp_path, Options(extend_select=("REG202",))).findings
        assert (finding.evidence.verdict, finding.severity) == (Verdict.CONFIRMED, Severity.INFO)
        assert "onnxruntime's optimizer removes it by default" in finding.evidence.because

    def test_batch_statistics_are_confirmed(self, tmp_path: Path) -> None:
        """One sample is predicted with different mates, and again with running statistics."""
        body = "z, m1, v1 = BatchNormalization<training_mode = 1>(x, w, b, mean, var) y = Tanh(z)"
        (finding,) = report_on(model_of(body, 17, NORM), tmp_path, Options()).findings
        assert (finding.code, finding.evidence.verdict) == ("REG205", Verdict.CONFIRMED)
        assert "12 batches with other samples" in finding.evidence.because

    def test_one_sample_is_compared_with_running_statistics(self, tmp_path: Path) -> None:
        """A file for one sample has no batch mates."""
        body = "y, m1, v1 = BatchNormalization<training_mode = 1>(x, w, b, mean, var)"
        (finding,) = report_on(model_of(body, 17, NORM, shape="1,4,6"), tmp_path, Options()).findings
        assert finding.evidence.verdict is Verdict.CONFIRMED
        assert "with its running statistics" in finding.evidence.because

    def test_each_suspect_is_measured_alone(self, tmp_path: Path) -> None:
        """A draw that a product with zero takes out is refuted beside another that changes the predictions."""
        body = "n = RandomNormalLike(x) z = Mul(n, zero) m = RandomUniformLike(x) a = Add(x, z) y = Add(a, m)"
        report = report_on(model_of(body, 17, "<float[1,1] zero = {0}>"), tmp_path, Options())
        assert [each.module.split(" at ")[1] for each in report.findings] == ["m"]
        assert [each.module for each in report.refuted] == ["n"]

    def test_open_sizes_and_given_inputs(self, tmp_path: Path) -> None:
        """An axis without a size gets one; `--input` replaces the drawn input, by place or by name."""
        model = model_of("n = RandomNormalLike(x) y = Add(x, n)", shape="N,4")
        for inputs in ((), ("3x4",), ("x:float32[5,4]",)):
            (finding,) = report_on(model, tmp_path, Options(), *inputs).findings
            assert finding.evidence.verdict is Verdict.CONFIRMED
        with pytest.raises(UsageError, match=r"the inputs of .* are x, and not z"):
            report_on(model, tmp_path, Options(), "z:float32[5,4]")

    def test_what_onnxruntime_refuses_is_unproven(self, tmp_path: Path) -> None:
        """A graph of a version that onnxruntime no longer runs keeps its finding, and the reason."""
        (finding,) = report_on(model_of("y = Dropout<ratio = 0.4>(x)", 6), tmp_path, Options()).findings
        assert finding.evidence.verdict is Verdict.UNMEASURED
        assert "onnxruntime cannot run it" in finding.evidence.because

    def test_weights_in_another_file_are_found(self, tmp_path: Path) -> None:
        """Runs read weights that the exporter stored beside the file."""
        model = model_of(
            "h = MatMul(x, k) n = RandomNormalLike(h) y = Add(h, n)", 17, "<float[4,4] k = {" + "1," * 15 + "2}>"
        )
        onnx.save(model, tmp_path / "net.onnx", save_as_external_data=True, location="net.data", size_threshold=0)
        (finding,) = examine(str(tmp_path / "net.onnx"), [], Options()).findings
        assert finding.evidence.verdict is Verdict.CONFIRMED


def test_a_finding_is_at_the_line_that_the_exporter_recorded(tmp_path: Path) -> None:
    """The innermost line of the user's in a node's stack trace, where an ignore comment applies."""
    source = tmp_path / "net.py"
    source.write_text("x = 1\nx = drop(x)  # regcheck: ignore[REG202] Monte-Carlo dropout\nx = noise(x)\n", "utf-8")
    model = model_of("d = Dropout(x, r, t) n = RandomNormalLike(d) y = Add(d, n)", 17, RATE)
    for node, line in zip(model.graph.node, (2, 3), strict=False):
        entry = node.metadata_props.add()
        entry.key = "pkg.torch.onnx.stack_trace"
        inner = (
            '  File "/opt/lib/site-packages/torch/nn/modules/dropout.py", line 73, in forward\n    return F.dropout(x)'
        )
        entry.value = f'File "{source}", line {line}, in forward\n    x = f(x)\n{inner}'
    (finding,) = report_on(model, tmp_path).findings
    assert (finding.code, finding.path, finding.line) == ("REG203", str(source), 3)


def test_a_missing_package_says_what_to_install(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Without onnx a file is not checked; without onnxruntime its findings are unproven."""
    model = model_of("n = RandomNormalLike(x) y = Add(x, n)")
    monkeypatch.setitem(sys.modules, "onnxruntime", None)
    (finding,) = report_on(model, tmp_path, Options()).findings
    assert finding.evidence.verdict is Verdict.UNMEASURED and "regcheck[onnx]" in finding.evidence.because
    for name in ("onnx", "regcheck.tracing.onnx_graph", "regcheck.probe.onnx_probe"):
        monkeypatch.setitem(sys.modules, name, None)
    report = examine(str(tmp_path / "net.onnx"), [], Options())
    assert report.exit_code == 3 and "regcheck[onnx]" in report.not_checked[0].what_to_do


def test_a_damaged_file_is_not_checked(tmp_path: Path) -> None:
    """A file that holds no graph is none, whatever it is called; a missing one is the user's mistake."""
    for content in (b"\x08\x0a", b"not a graph", b""):
        (tmp_path / "net.onnx").write_bytes(content)
        report = examine(str(tmp_path / "net.onnx"), [], UNPROVEN)
        assert report.exit_code == 3 and "ONNX" in report.not_checked[0].reason
    with pytest.raises(UsageError, match="there is no file"):
        examine(str(tmp_path / "gone.onnx"), [], UNPROVEN)


def test_a_model_in_memory_is_checked_like_its_file(tmp_path: Path) -> None:
    """`audit` takes an ONNX model, leaves it as it is, and reports what the file's audit reports."""
    for body, codes in (("y = Dropout(x, r, t)", ["REG202"]), ("y = Dropout(x, r)", [])):
        model = model_of(body, 17, RATE)
        before = model.SerializeToString(deterministic=True)
        assert [each.code for each in regcheck.audit(model, options=UNPROVEN).unproven] == codes
        assert [each.code for each in report_on(model, tmp_path).unproven] == codes
        assert model.SerializeToString(deterministic=True) == before


def test_inputs_and_optimizers_of_a_model_in_memory() -> None:
    """Inputs that an ONNX model does not have, and an optimizer, are refused."""
    model = model_of("y = Relu(x)")
    with pytest.raises(UsageError, match="the inputs of g are x"):
        regcheck.audit(model, z=torch.ones(8, 4))
    with pytest.raises(UsageError, match="no parameters"):
        regcheck.audit(model, optimizer=torch.optim.SGD([torch.ones(1, requires_grad=True)], lr=0.1))
