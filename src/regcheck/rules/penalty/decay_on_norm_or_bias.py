"""Weight decay on biases and norm scales.

## What it finds

An optimizer that decays a model's biases, or the scales and shifts of its norms, in one group with its weights. The
rule ignores groups without weights, because their decay is a choice. The owner of a parameter determines its kind: a
norm's scale and shift, or any other module's `bias`. A parameter without a known owner, or a frozen one, does not
count. In source, only parameters that the model certainly has count.

## Why it matters

Decay limits how strongly a weight amplifies its input. A bias amplifies nothing, and a norm's scale sets the size of a
signal that the norm has just made the same for all inputs. Both are few, so their decay regularizes little; it pulls
the scales to zero, and the signal with them.

## How it is confirmed

The optimizer takes one real step on copies of those parameters, in float64, with gradients of zero; then the same step
without decay. All must end smaller by the decay. The figure is the smallest relative shrinkage among them. An optimizer
that exempts them by itself refutes the suspicion. A copy that is zero, which nothing can shrink, is set to one first.
The comparison is exact: no chance is involved.

## How it is fixed

The fix makes two parameter groups of `model.parameters()`: parameters of two and more dimensions decay; biases and norm
scales, which have one, do not. It is unsafe: it changes how the model trains, and the order of the parameters in the
optimizer, so that a saved state of the optimizer no longer fits.

## When to keep the code

If the recipe to reproduce decays everything, as many published ones do. The difference is mostly small.

## References

He et al., "Bag of tricks for image classification with convolutional neural networks", CVPR 2019, section 3.1: no bias
decay.
"""

from __future__ import annotations

import ast
from collections.abc import Iterator, Sequence

from regcheck.core.finding import Evidence, Severity, Suspicion, Verdict
from regcheck.core.measurements import percent
from regcheck.core.measurements.shrinkage import Shrinkage
from regcheck.core.patch import Code, Patch, is_plain, keyword
from regcheck.core.rule import Example, Probe
from regcheck.core.starting_points import Trait
from regcheck.core.usage import BIAS, NORM_SCALE, Usage

CODE = "REG302"
SEVERITY = Severity.INFO
SINCE = "1.0"
BEGINS_AT = (Trait.DECAYS,)


def check(usage: Usage) -> Iterator[Suspicion]:
    for stepped in usage.optimizers():
        optimizer = stepped.optimizer
        mixed = [group for group in optimizer.groups if group.is_mixed]
        if mixed:
            kinds = {kind for group in mixed for kind in group.parameter_kinds}
            numbers = [index for index, group in enumerate(optimizer.groups) if group.is_mixed]
            what = " and ".join(kind for kind in (NORM_SCALE, BIAS) if kind in kinds)
            most = max(mixed, key=lambda group: group.weight_decay or 0.0)
            yield Suspicion(
                stepped,
                f"{optimizer.with_decay(most)} decays {what} as well as weights{among(numbers, len(optimizer.groups))}",
                fix=f"put {what} into their own parameter group with `{most.key}=0.0`",
                tentative=optimizer.update_rule is None,
            )


def among(numbers: Sequence[int], groups: int) -> str:
    """Which of several parameter groups are meant, by their indices; empty for the only group."""
    if groups == 1:
        return ""
    return f" in parameter group{'s' if len(numbers) > 1 else ''} {', '.join(map(str, numbers))}"


def fix(code: Code) -> Patch | None:
    """Two parameter groups in place of `model.parameters()`: matrices and kernels decay, vectors and scalars do not."""
    for call in code.calls:
        if not code.name_of(call.func).startswith("torch.optim."):
            continue
        params = keyword(call, "params")
        parameters = params.value if params else call.args[0] if call.args else None
        if not isinstance(parameters, ast.Call) or parameters.args or parameters.keywords or not is_plain(call):
            continue
        method = parameters.func
        if not isinstance(method, ast.Attribute) or not isinstance(method.value, (ast.Name, ast.Attribute)):
            continue
        if method.attr == "parameters":
            each = f"p for p in {code.text_of(parameters)} if p.ndim"
            groups = f'[{{"params": [{each} > 1]}}, {{"params": [{each} < 2], "weight_decay": 0.0}}]'
            edit = code.replaced(parameters, groups)
            return Patch("exempt biases and norm scales from the decay, in a group of their own", False, (edit,))
    return None


def confirm(suspicion: Suspicion, probe: Probe) -> Evidence:
    step = probe.measure(Shrinkage, suspicion.event)
    targets = f"the norm scales ({step.norm_scales}) and biases ({step.biases})"
    if step.is_decay:
        because = f"one real step at zero gradient shrinks {targets} by at least {percent(step.smallest)}"
        return probe.evidence(Verdict.CONFIRMED, because, step)
    if step.is_nothing:
        return probe.evidence(Verdict.REFUTED, f"the decay leaves {targets} unchanged in one real step", step)
    return probe.evidence(Verdict.UNMEASURED, f"the decay shrinks only some of {targets} in one real step", step)


BAD = (
    Example(
        """\
import torch
from torch import nn

model = nn.Sequential(nn.Linear(16, 32), nn.LayerNorm(32), nn.ReLU(), nn.Linear(32, 4))
optimizer = torch.optim.AdamW(model.parameters(), lr=1e-3, weight_decay=5e-2)  # <-
model(torch.randn(8, 16)).square().mean().backward()
optimizer.step()
""",
        fixed="""\
import torch
from torch import nn

model = nn.Sequential(nn.Linear(16, 32), nn.LayerNorm(32), nn.ReLU(), nn.Linear(32, 4))
optimizer = torch.optim.AdamW([{"params": [p for p in model.parameters() if p.ndim > 1]}, {"params": [p for p in model.parameters() if p.ndim < 2], "weight_decay": 0.0}], lr=1e-3, weight_decay=5e-2)
model(torch.randn(8, 16)).square().mean().backward()
optimizer.step()
""",  # noqa: E501, the fix is one expression
    ),
    Example(
        """\
import torch
from torch import nn


class Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.conv = nn.Conv2d(3, 8, 3, bias=False)
        self.norm = nn.BatchNorm2d(8)
        self.head = nn.Linear(8, 4)

    def forward(self, x):
        return self.head(torch.relu(self.norm(self.conv(x))).mean((2, 3)))


def train(model, x):
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1, momentum=0.9, weight_decay=1e-4)  # <-
    for _ in range(3):
        optimizer.zero_grad()
        model(x).square().mean().backward()
        optimizer.step()


train(Net(), torch.randn(4, 3, 8, 8))
""",
        fixed="""\
import torch
from torch import nn


class Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.conv = nn.Conv2d(3, 8, 3, bias=False)
        self.norm = nn.BatchNorm2d(8)
        self.head = nn.Linear(8, 4)

    def forward(self, x):
        return self.head(torch.relu(self.norm(self.conv(x))).mean((2, 3)))


def train(model, x):
    optimizer = torch.optim.SGD([{"params": [p for p in model.parameters() if p.ndim > 1]}, {"params": [p for p in model.parameters() if p.ndim < 2], "weight_decay": 0.0}], lr=0.1, momentum=0.9, weight_decay=1e-4)
    for _ in range(3):
        optimizer.zero_grad()
        model(x).square().mean().backward()
        optimizer.step()


train(Net(), torch.randn(4, 3, 8, 8))
""",  # noqa: E501, the fix is one expression
    ),
)

GOOD = (
    Example("""\
import torch
from torch import nn

model = nn.Sequential(nn.Linear(16, 32), nn.LayerNorm(32), nn.ReLU(), nn.Linear(32, 4))
weights = [each for each in model.parameters() if each.dim() > 1]
others = [each for each in model.parameters() if each.dim() < 2]
groups = [{"params": weights, "weight_decay": 5e-2}, {"params": others, "weight_decay": 0.0}]
optimizer = torch.optim.AdamW(groups, lr=1e-3)
model(torch.randn(8, 16)).square().mean().backward()
optimizer.step()
"""),
    Example("""\
import torch
from torch import nn

model = nn.Sequential(nn.Linear(16, 32), nn.BatchNorm1d(32), nn.ReLU(), nn.Linear(32, 4))
optimizer = torch.optim.SGD(model.parameters(), lr=0.1, momentum=0.9)
model(torch.randn(8, 16)).square().mean().backward()
optimizer.step()
"""),
)
