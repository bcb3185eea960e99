"""Weight decay folded into an adaptive optimizer's gradient.

## What it finds

An adaptive optimizer that adds its `weight_decay` to the gradient before it divides the gradient by its scale: `Adam`,
`NAdam`, `RAdam`, `Adamax`, `Adagrad`, `RMSprop`, `Adadelta` with `weight_decay` above zero, and any other optimizer,
hand-written or from a library, whose own steps prove it. The decay counts that the optimizer steps with, also where
the program sets it later (`param_groups`, `add_param_group`). The rule ignores `AdamW`, the
`decoupled_weight_decay=True` flag, zero decay and `SGD`. A decay below 1e-4 is advice (`info`).

A subclass counts as the class of torch that it derives from if it inherits the step: if a `step` of its own calls the
inherited one, and no method beside its constructor mentions the decay. A run also reads decays that an optimizer of
another author keeps in its groups under another name, such as `decay`, `wd` or `l2`.

In source of Keras: `kernel_regularizer=l2(…)` of a layer whose model is compiled with an adaptive optimizer, which
divides the penalty's gradient as well. The rule ignores optimizers of Keras with a `weight_decay`, which Keras applies
beside the step.

## Why it matters

Divided by the gradient's scale, the same number decays each parameter by a different amount: weights with large
gradients are hardly regularized at all. The applied regularization is not the requested one.

## How it is confirmed

The optimizer takes real steps on copies of a sample of its parameters, in float64. The last step must equal the coupled
reference and differ from the decoupled one. The figure is the spread (5th to 95th percentile over weights) of the
effective decay relative to the requested constant; if it is the same for all weights, the suspicion is refuted. If the
decay changes less than 1e-5 of the step, the finding is advice.

For an optimizer with a `step` of its own there is no reference, so only its steps in a run count; a scan does not
report its source. Its last step must equal, to rounding, one that it takes without decay on gradients with the decay
added. In addition, large gradients must lower the decay: in each pair of weights, a random draw gives one of them large
gradients and the other small ones. The measurement counts the pairs in which the first decays at most half as much as
the second; a fair coin must give a count this high with a probability below α. Methods that scale a layer's gradient as
a whole, such as LARS, do not pass. If an optimizer leaves its steps to another one, as a lookahead does, that one is
checked. One that needs a closure, cannot be copied, or computes too coarsely to decide is "not checked".

## How it is fixed

`Adam` becomes `AdamW`, in the import too, with `weight_decay=0.0` where the decay is set later; `NAdam` and `RAdam` get
`decoupled_weight_decay=True`. It is unsafe: a decoupled decay of the same number is another strength. Tune it again.

## When to keep the code

To reproduce results that were tuned with coupled decay. After a change to decoupled decay, tune the decay again.

## References

Loshchilov and Hutter, "Decoupled weight decay regularization", ICLR 2019, algorithm 2.
"""

from __future__ import annotations

from collections.abc import Iterator

from regcheck.core.finding import Evidence, Severity, Suspicion, Verdict
from regcheck.core.measurements.decay import Decay, Pairs
from regcheck.core.patch import Code, Patch, is_plain, keyword, renamed
from regcheck.core.rule import Example, Probe
from regcheck.core.starting_points import Trait
from regcheck.core.usage import Group, OptimizerInfo, Usage
from regcheck.torch_api.optimizers import COUPLED, FLAG, OPTIMIZERS, UNLISTED

CODE = "REG301"
SEVERITY = Severity.WARNING
SINCE = "1.0"
BEGINS_AT = (Trait.DECAYS,)

MATERIAL = 1e-4
"""The weight decay from which it matters how it is applied."""
MATERIAL_SHARE = 1e-5
"""The size of the decay's effect, relative to that of the step, from which it is material."""

KERAS_REMEDY = "remove the penalty, pass `weight_decay` to the optimizer, which Keras decouples, and tune it"


def check(usage: Usage) -> Iterator[Suspicion]:
    for stepped in usage.optimizers():
        group = coupled_group(stepped.optimizer)
        if group:
            yield Suspicion(
                stepped,
                f"{stepped.optimizer.with_decay(group)} adds the decay to the gradient and rescales both, so each "
                "weight decays by a different amount",
                fix=KERAS_REMEDY if group.penalty else remedy(stepped.optimizer.update_rule),
                severity=Severity.INFO if (group.weight_decay or 0.0) < MATERIAL else None,
                tentative=stepped.optimizer.update_rule is None,
            )


def coupled_group(optimizer: OptimizerInfo) -> Group | None:
    """The coupled group with the largest decay of an optimizer that is adaptive, or may be; None where none is."""
    if optimizer.update_rule is not None and optimizer.update_rule not in COUPLED:
        return None
    groups = [each for each in optimizer.groups if each.weight_decay and each.decoupled is False]
    return max(groups, key=lambda group: group.weight_decay or 0.0, default=None)


def remedy(rule: str | None) -> str:
    row = OPTIMIZERS.get(rule or "", UNLISTED)
    if row.decoupled_class:
        return f"use `torch.optim.{row.decoupled_class}` and retune the decay"
    if row.flag is not None:
        return f"pass `{FLAG}=True` and retune the decay"
    if rule is None:
        return "decay the weights outside the gradient step (`p.mul_(1 - lr * weight_decay)`) and retune the decay"
    return "use an optimizer with decoupled decay (`torch.optim.AdamW`) and retune the decay"


def fix(code: Code) -> Patch | None:
    """Decouple the decay, which then needs another value."""
    for call in code.calls:
        name = code.name_of(call.func)
        if not name.startswith("torch.optim.") or keyword(call, FLAG) or not is_plain(call):
            continue
        row = OPTIMIZERS.get(name.removeprefix("torch.optim."), UNLISTED)
        if row.decoupled_class:
            renaming = renamed(code, call.func, row.decoupled_class)
            if renaming and "weight_decay" not in code.text_of(call) and len(call.args) <= 1:
                renaming += code.with_argument(call, "weight_decay=0.0")  # a decay that is set later need not reach all
            return Patch(f"use `{row.decoupled_class}`; retune the decay", False, renaming) if renaming else None
        if row.flag is not None:
            edits = code.with_argument(call, f"{FLAG}=True")
            return Patch(f"pass `{FLAG}=True`; retune the decay", False, edits)
    return None


def confirm(suspicion: Suspicion, probe: Probe) -> Evidence:
    decay = probe.measure(Decay, suspicion.event)
    spread = f"90 % of {decay.parameters} weights decay {decay.p5:.3g} to {decay.p95:.3g} times as fast as "
    spread += f"the {decay.asked:g} asked for"
    if decay.is_uniform:
        return probe.evidence(Verdict.REFUTED, f"every weight decays by the same share of itself; {spread}", decay)
    if decay.is_nothing:
        return probe.evidence(Verdict.REFUTED, "one real step is the same without the decay", decay)
    if decay.pairs is not None:
        verdict, because = without_reference(decay, decay.pairs, probe)
        return probe.evidence(verdict, f"{because}; {spread}", decay, lowers_to=lowered(decay))
    if decay.is_coupled:
        because = f"{spread}; one real step adds the decay to the gradient (coupled)"
        return probe.evidence(Verdict.CONFIRMED, because, decay, lowers_to=lowered(decay))
    return probe.evidence(Verdict.UNMEASURED, f"one real step equals neither reference; {spread}", decay)


def lowered(decay: Decay) -> Severity | None:
    """The severity of a decay that is lost in the optimizer's steps; None for any other."""
    return Severity.INFO if decay.share < MATERIAL_SHARE else None


def without_reference(decay: Decay, pairs: Pairs, probe: Probe) -> tuple[Verdict, str]:
    """The verdict on an optimizer whose update has no reference, and what its steps show."""
    if not decay.is_coupled:
        if decay.is_near and decay.is_spread:
            return Verdict.UNMEASURED, "one real step nearly equals, but does not equal, a step on gradient plus decay"
        return Verdict.REFUTED, "one real step does not equal a step on gradient plus decay"
    lighter = (
        f"in {pairs.lighter} of {pairs.counted} pairs the weight with larger gradients decays at most half as much"
    )
    share = pairs.lighter / max(pairs.counted, 1)
    if probe.at_least(share, pairs.counted, 0.5) <= probe.alpha:
        because = f"one real step equals a step on gradient plus decay, and {lighter}"
        return Verdict.CONFIRMED if decay.is_spread else Verdict.UNMEASURED, because
    few = probe.at_least(1.0, pairs.counted, 0.5) > probe.alpha
    return Verdict.UNMEASURED if few or share > 0.5 else Verdict.REFUTED, lighter


BAD = (
    Example(
        """\
import torch
from torch import nn

model = nn.Linear(16, 4)
optimizer = torch.optim.Adam(model.parameters(), lr=1e-3, weight_decay=1e-2)  # <-
model(torch.randn(8, 16)).square().mean().backward()
optimizer.step()
""",
        fixed="""\
import torch
from torch import nn

model = nn.Linear(16, 4)
optimizer = torch.optim.AdamW(model.parameters(), lr=1e-3, weight_decay=1e-2)
model(torch.randn(8, 16)).square().mean().backward()
optimizer.step()
""",
    ),
    Example("""\
import torch
from torch import nn, optim


def train(model, x):
    optimizer = optim.RMSprop(model.parameters(), lr=1e-3, weight_decay=1e-4)  # <-
    for _ in range(3):
        optimizer.zero_grad()
        model(x).square().mean().backward()
        optimizer.step()


train(nn.Linear(16, 4), torch.randn(8, 16))
"""),
)

GOOD = (
    Example("""\
import torch
from torch import nn

model = nn.Linear(16, 4)
optimizer = torch.optim.AdamW(model.parameters(), lr=1e-3, weight_decay=1e-2)
model(torch.randn(8, 16)).square().mean().backward()
optimizer.step()
"""),
    Example("""\
import torch
from torch import nn

model = nn.Linear(16, 4)
optimizer = torch.optim.SGD(model.parameters(), lr=1e-2, momentum=0.9, weight_decay=1e-4)
model(torch.randn(8, 16)).square().mean().backward()
optimizer.step()
"""),
    Example("""\
import torch
from torch import nn

model = nn.Linear(16, 4)
optimizer = torch.optim.Adam(model.parameters(), lr=1e-3, weight_decay=1e-2, decoupled_weight_decay=True)
model(torch.randn(8, 16)).square().mean().backward()
optimizer.step()
"""),
)
