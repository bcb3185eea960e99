"""A mask that drops in train mode without rescaling.

## What it finds

A hand-written mask that zeroes activations in train mode only, so that train mode passes on more or less than eval mode
does on average. The mask may be drawn by `rand`, `bernoulli`, `randperm`, a distribution or a dropout of ones, and
multiplied, chosen with `where`, filled in or assigned. The scale that makes up for it, 1 / (1 - p) in train mode or
1 - p in eval mode, may stand on the mask, the activations or the product. It is missing, or it is another number.

The rule ignores masked inputs and embeddings (augmentation, masked modelling, word dropout), masks that the model
returns (its loss is about what is masked), values that something else replaces, random numbers of codebooks, and masks
of whole samples or positions anywhere but on a residual branch: there they usually drop a condition or a token on
purpose. A scan reports only what the numbers in the source prove: where a rate is not known, any scale
counts as the right one.

A drawn number by which a module skips its only residual branch is such a mask, too. Layers of several branches that are
skipped as a whole (LayerDrop) are not.

## Why it matters

In eval mode nothing is masked, so everything after it is larger by 1 / (1 - p) than in training. The following layers
receive values that they were never trained on.

## How it is confirmed

In train mode the measurement follows the draw to the activations that it drops, and applies the same call to ones: the
result must consist of zeros and one other value. Multiplied by every number that scales before or after in train mode,
and divided by those of eval mode, that value is the scale; an exact two-sided binomial test must reject that units
survive with probability 1 divided by the scale. A gap of less than 2 % of the activation is advice.

## How it is fixed

The masked values are divided by the keep probability where the mask is applied: `x * (torch.rand_like(x) > p)` becomes
`x * (torch.rand_like(x) > p) / (1 - p)`. The probability must stand in the comparison, in `torch.full` under
`bernoulli`, or in the sum that `floor` rounds, and no more than one expression may use the mask. It is unsafe:
predictions stay as they are, but training changes. Train again.

## When to keep the code

If masked values are absent on purpose rather than noise, as in masked modelling of hidden features.

## References

Srivastava et al., "Dropout: a simple way to prevent neural networks from overfitting", JMLR 15 (2014), section 10.
Huang et al., "Deep networks with stochastic depth", ECCV 2016, equation 5 (scaling in eval mode instead).
"""

from __future__ import annotations

import ast
import itertools
import math
from collections import Counter
from collections.abc import Callable, Iterator

from regcheck.core.finding import Evidence, Severity, Suspicion, Verdict
from regcheck.core.graph import Flow, Gate, Graph, Kind, Mode, Op
from regcheck.core.measurements import percent
from regcheck.core.measurements.handmade_mask import HandmadeMask
from regcheck.core.patch import Code, Patch, mentions
from regcheck.core.rule import Example, Probe
from regcheck.core.starting_points import Trait
from regcheck.torch_api.drawn_masks import CUTS, FILLS, SCALES, DrawnMask, Drop, is_scaling, scale_of
from regcheck.torch_api.number_draws import NUMBER_DRAWS

CODE = "REG403"
SEVERITY = Severity.WARNING
SINCE = "1.0"
BEGINS_AT = (Kind.RANDOM, Trait.DROPS)

MATERIAL = 0.02
"""A gap of less than 2 % of the activation is advice."""

HIDDEN = {Kind.LINEAR, Kind.CONV, Kind.ATTENTION, Kind.RECURRENT, Kind.MATMUL}
NOT_HIDDEN = {Kind.INPUT, Kind.EMBEDDING, Kind.OPAQUE}
FIXED = {Kind.CONSTANT, Kind.PARAMETER}
UNCHANGED = {Kind.IDENTITY, Kind.RESHAPE, Kind.SCALE}
SINGLE = {Kind.ACTIVATION, Kind.SIGMOID, Kind.SOFTMAX, Kind.NORM, Kind.BATCH_NORM, Kind.POOL, Kind.JOIN, Kind.DROPOUT}
MIXES = {Kind.COMBINE, Kind.CONCAT}
ADDS = {"add", "radd", "sub", "rsub"}
INTEGERS = {"randint", "randint_like"}
"""Draws that select by index where values are filled in, and are masks of zeros and ones where they multiply."""


def check(graph: Graph) -> Iterator[Suspicion]:
    flow = graph.train
    for draw in (*graph.randoms(active_in=Mode.TRAIN), *graph.dropouts(active_in=Mode.TRAIN)):
        if graph.gate(draw) is not Gate.MODE or draw.site.function in NUMBER_DRAWS:  # a run records no such draw
            continue
        mask = DrawnMask(flow, draw)
        if not mask.is_fair or is_returned(flow, mask):
            continue
        balanced = [is_balanced(graph, mask, drop) for drop in mask.drops() if drops_activations(flow, mask, drop)]
        if False in balanced or (None in balanced and not graph.assumed):
            if chooses_elsewhere(flow, draw):
                continue
            yield Suspicion(
                draw,
                f"`{draw.call}` drops activations in train mode without scaling the rest by 1 / (1 - p)",
                fix="divide by the keep probability, 1 - p, or use `torch.nn.functional.dropout`",
            )
        elif skips_branch(graph, mask):
            yield Suspicion(
                draw,
                f"`{draw.call}` skips a residual branch in train mode, and nothing scales the branch by 1 / (1 - p)",
                fix="divide the branch by the probability that it runs, or multiply it by that in eval mode",
            )


def chooses_elsewhere(flow: Flow, draw: Op) -> bool:
    """Whether the line that draws chooses between two activations at another step: zero is a state's first value."""
    others = [op for op in flow if op.module == draw.module and op.place == draw.place and op is not draw]
    return any(chooses(flow, DrawnMask(flow, each)) for each in others if each.site.function == draw.site.function)


def chooses(flow: Flow, mask: DrawnMask) -> bool:
    dropping = {drop.op.id for drop in mask.drops()}
    return any(
        op.site.function == "where"
        and op.operands[0] in mask.masks
        and op.id not in dropping
        and all(isinstance(each, str) for each in op.operands[1:])
        for op in flow
        if len(op.operands) == 3
    )


def is_returned(flow: Flow, mask: DrawnMask) -> bool:
    """Whether the mask is an output: a loss on what is masked tells what the mask is for."""
    return any(
        flow.outputs_reached(op, lambda each: unchanged(each) or each.kind is Kind.JOIN) for op in mask.masks.values()
    )


def skips_branch(graph: Graph, mask: DrawnMask) -> bool:
    """Whether one drawn number decides whether the only residual branch of a module runs, and nothing scales it."""
    flow, module = graph.train, mask.draw.module
    is_number = math.prod(mask.draw.shape) == 1 if mask.draw.shape is not None else {*mask.draw.operands} <= {1.0}
    ends = {user.id for op in mask.masks.values() for user in flow.users_of(op)}
    if mask.draw.kind is not Kind.RANDOM or not is_number or not ends <= mask.masks.keys():
        return False
    mine, other = (Counter(scale_key(op) for op in scalings(each, module)) for each in (flow, graph.eval))
    sums = [op for op in graph.eval if op.module == module and is_residual(graph.eval, op)]
    if mine - other or other - mine or len(sums) != 1 or residual_before(flow, mask):
        return False
    return not graph.assumed or any(op.module == module and is_choice(flow, op) for op in flow)


def residual_before(flow: Flow, mask: DrawnMask) -> bool:
    """Whether the module's residual sum comes before the draw, which then cannot decide about it."""
    earlier = itertools.takewhile(lambda op: op.id != mask.draw.id, flow)
    return any(op.module == mask.draw.module and is_residual(flow, op) for op in earlier)


def is_residual(flow: Flow, op: Op) -> bool:
    """Whether an op adds to some values what the layers of a branch compute from them."""
    if op.site.function not in ("add", "radd") or len(op.inputs) != 2:
        return False
    one, other = flow.inputs_of(op)

    def leads(values: Op, branch: Op) -> bool:
        within = f"{op.module}.".lstrip(".")
        inside = flow.behind(branch, lambda each: each.id != values.id and f"{each.module}.".startswith(within))
        return is_hidden(flow, branch) and values in inside

    return leads(one, other) or leads(other, one)


def is_choice(flow: Flow, op: Op) -> bool:
    """Whether a branch of the code leaves values either as they are, or with a residual branch added."""
    inputs = flow.inputs_of(op) if op.kind is Kind.JOIN else ()
    return any(is_residual(flow, each) and not {*each.inputs}.isdisjoint(op.inputs) for each in inputs)


def drops_activations(flow: Flow, mask: DrawnMask, drop: Drop) -> bool:
    """Whether hidden activations are dropped: features one by one anywhere, whole samples on a residual branch."""
    functions = {op.site.function for op in mask.masks.values()}
    if drop.op.site.function in FILLS:
        is_mask = not (CUTS - INTEGERS).isdisjoint(functions) or mask.draw.site.function == "randperm"
    else:
        is_mask = not CUTS.isdisjoint(functions)
    if not is_mask:
        return False
    if not is_hidden(flow, drop.values):
        return False
    ends = [drop.op, *flow.ahead(drop.op, unchanged)[0]]
    sums = [user for each in ends for user in flow.users_of(each) if user.site.function in ADDS]
    others = [op for each in sums for op in flow.behind(each, unchanged) if op is not drop.op]
    if any(op.id in mask.masks or not mask.masks.keys().isdisjoint(op.inputs) for op in others):
        return False  # what is dropped is replaced
    of_branch = bool(sums) and mask.draw.site.function not in INTEGERS  # a random number of branches, as codebooks
    return of_branch or is_by_feature(flow, mask, drop)


def is_hidden(flow: Flow, values: Op) -> bool:
    """Whether layers compute the values, which are neither the input nor an embedding."""
    nearest = {op.kind for op in sources(flow, values, passes)} - FIXED
    if nearest & NOT_HIDDEN:
        return False
    if nearest & MIXES:
        nearest = {op.kind for op in sources(flow, values, lambda op: passes(op) or op.kind in MIXES)} - FIXED
        return bool(nearest & HIDDEN) and Kind.INPUT not in nearest and Kind.OPAQUE not in nearest
    return bool(nearest & HIDDEN)


def sources(flow: Flow, op: Op, through: Callable[[Op], bool]) -> list[Op]:
    return flow.behind(op, through) if through(op) else [op]


def is_by_feature(flow: Flow, mask: DrawnMask, drop: Drop) -> bool:
    """Whether the mask differs from feature to feature, and not from sample to sample or position to position alone."""
    over_time = any(op.kind is Kind.CONV for op in sources(flow, drop.values, passes))
    shape, drawn = drop.values.shape, mask.draw.shape
    if drop.op.site.function in FILLS and mask.draw.site.function == "randperm":
        axis = indexed_axis(drop)
        return axis is not None and axis > 0 and (shape is None or axis in feature_axes(len(shape), over_time))
    if shape is not None and drawn is not None:
        drawn = drawn if len(drawn) == len(shape) else drop.mask.shape or drawn
        drawn = (1,) * (len(shape) - len(drawn)) + drawn
        return any(drawn[axis] == shape[axis] > 1 for axis in feature_axes(len(shape), over_time))
    sizes = mask.sizes()
    if sizes == (...,):
        return True
    return len(sizes) > 1 and any(sizes[axis] != 1 for axis in feature_axes(len(sizes), over_time))


def feature_axes(rank: int, over_time: bool) -> tuple[int, ...]:
    """The axes that may hold features: the last of rows and sequences, the second of maps."""
    if rank > 3:
        return (1,)
    return (rank - 1, 1) if over_time and rank == 3 else (rank - 1,)


def indexed_axis(drop: Drop) -> int | None:
    """The axis along which a mask of indices selects."""
    operands = drop.op.operands[1:-1]
    if drop.op.site.function == "index_fill":
        return int(operands[0]) if isinstance(operands[0], float) else None
    return operands.index(drop.mask.id) if drop.mask.id in operands else None


def is_balanced(graph: Graph, mask: DrawnMask, drop: Drop) -> bool | None:
    """Whether train mode passes on as much as eval mode does on average; None if some scale is not known."""
    flow = graph.train
    around = [*behind_and_self(flow, drop.values), *flow.ahead(drop.op, passes)[0]]
    mine, other = (Counter(scale_key(op) for op in scalings(each, mask.draw.module)) for each in (flow, graph.eval))
    only_here, only_in_eval = mine - other, other - mine
    own = [op for op in around if is_scaling(op) and scale_key(op) in only_here]
    later = [op for op in flow.ahead(drop.op, lambda op: op.module == mask.draw.module)[0] if op not in around]
    by_mask = [op for op in later if op.site.function in SCALES and mask.masks.keys() & {*op.inputs}]
    elsewhere = [op for op in later if is_scaling(op) and scale_key(op) in only_here and op.id not in mask.masks]
    if by_mask or elsewhere:
        return None
    factors = mask.factors(drop)
    numbers = [*map(scale_of, own), *(number and 1 / number for _, _, number in only_in_eval.elements())]
    if factors is None:
        is_scaled = mask.draw.kind is Kind.DROPOUT or any(op.site.function in SCALES for op in mask.masks.values())
        return None if numbers or is_scaled else False
    if 0 not in factors:
        return True
    constants = [each for each in numbers if each is not None]
    if len(constants) < len(numbers):
        return None
    return abs(1 - math.fsum(factors) / len(factors) * math.prod(constants)) <= MATERIAL


def behind_and_self(flow: Flow, op: Op) -> list[Op]:
    """An op and those before it that pass on its values, scaled or not."""
    ops: dict[str, Op] = {}
    todo = [op]
    while todo:
        each = todo.pop()
        if each.id not in ops and passes(each):
            ops[each.id] = each
            todo.extend(flow.inputs_of(each))
    return [*ops.values()]


def scalings(flow: Flow, module: str) -> Iterator[Op]:
    """The ops of a module, and of those around it, that scale by a number."""
    return (op for op in flow if is_scaling(op) and f"{module}.".startswith(f"{op.module}.".lstrip(".")))


def scale_key(op: Op) -> tuple[str, str, float | None]:
    return op.module, op.site.function, scale_of(op)


def unchanged(op: Op) -> bool:
    return op.kind in UNCHANGED


def passes(op: Op) -> bool:
    return op.kind in UNCHANGED or op.kind in SINGLE or is_scaling(op)


def fix(code: Code) -> Patch | None:
    """Divide by the keep probability, where a mask that one expression uses is applied."""
    function = next((each for each in code.around if isinstance(each, _FUNCTIONS)), None)
    if not code.calls or not isinstance(function, ast.FunctionDef):
        return None
    mask = MaskInSource(code, function)
    filled = [each for each in code.calls if isinstance(each.func, ast.Attribute) and each.func.attr == "bernoulli_"]
    if not mask.follow([*code.calls, *filled][-1]):
        return None
    applied, keep = mask.applied(), mask.keep()
    if applied is None or not keep:
        return None
    if isinstance(applied, ast.Compare):
        edit = code.replaced(applied, f"({code.text_of(applied)}) / {keep}")
    else:
        edit = code.inserted_after(applied, f" / {keep}")
    return Patch(f"divide by `{keep}`, the keep probability; train again", False, (edit,))


class MaskInSource:
    """A mask in the code of a function, from its draw to the expression that applies it.

    Attributes:
        node: the expression whose value is the mask.
        number: the number that the mask's probability of a one is computed from.
        is_complement: whether that probability is 1 minus the number.
    """

    node: ast.expr
    number: ast.expr
    is_complement: bool

    def __init__(self, code: Code, function: ast.FunctionDef) -> None:
        self.code = code
        self.function = function
        self.parents = {child: node for node in ast.walk(function) for child in ast.iter_child_nodes(node)}

    def follow(self, draw: ast.Call) -> bool:
        """Follow the draw through comparisons, casts and a name; whether a probability is in the code."""
        name, parent = self.code.name_of(draw.func), self.parents[draw]
        self.node, self.is_complement = draw, False
        if name == "torch.bernoulli" and len(draw.args) == 1:
            filled = self.value_of(draw.args[0])
            if not isinstance(filled, ast.Call) or len(filled.args) < 2:
                return False
            if self.code.name_of(filled.func) not in ("torch.full", "torch.full_like"):
                return False
            self.number = filled.args[1]
        elif isinstance(draw.func, ast.Attribute) and draw.func.attr == "bernoulli_" and len(draw.args) == 1:
            self.number = draw.args[0]
        elif name not in ("torch.rand", "torch.rand_like"):
            return False
        elif isinstance(parent, ast.Compare) and isinstance(parent.ops[0], _ORDERS) and len(parent.ops) == 1:
            self.number = parent.comparators[0] if parent.left is draw else parent.left
            self.is_complement = (parent.left is draw) == isinstance(parent.ops[0], (ast.Gt, ast.GtE))
            self.node = parent
        elif isinstance(parent, ast.BinOp) and isinstance(parent.op, ast.Add):
            self.number = parent.left if parent.right is draw else parent.right
            self.node = parent
            if not self.is_floored():
                return False
        else:
            return False
        self.climb(_CASTS)
        return all(map(self.is_constant, ast.walk(self.number)))

    def climb(self, methods: frozenset[str]) -> None:
        """Follow the value through methods, inversions and the one use of a name."""
        while True:
            parent = self.parents[self.node]
            call = self.parents.get(parent)
            if isinstance(parent, ast.Attribute) and parent.attr in methods and isinstance(call, ast.Call):
                self.node = call
            elif isinstance(parent, ast.UnaryOp) and isinstance(parent.op, ast.Invert):
                self.node, self.is_complement = parent, not self.is_complement
            elif isinstance(parent, ast.Assign) and (read := self.only_read(parent.targets)) is not None:
                self.node = read
            else:
                return

    def is_floored(self) -> bool:
        """Follow a sum to the `floor` that makes a mask of it; whether there is one."""
        self.climb(frozenset())
        parent = self.parents[self.node]
        if isinstance(parent, ast.Attribute) and parent.attr == "floor":
            self.climb(frozenset({"floor"}))
            return True
        if isinstance(parent, ast.Call) and self.code.name_of(parent.func) == "torch.floor":
            self.node = parent
            return True
        return False

    def only_read(self, targets: list[ast.expr]) -> ast.Name | None:
        """The one expression that reads a name, if nothing but this assignment binds it."""
        if len(targets) != 1 or not isinstance(targets[0], ast.Name):
            return None
        others = [each for each in mentions([self.function], targets[0].id) if each is not targets[0]]
        return others[0] if len(others) == 1 and isinstance(others[0].ctx, ast.Load) else None

    def value_of(self, node: ast.expr) -> ast.expr:
        """An expression, or the one that the name it is stands for."""
        if isinstance(node, ast.Name):
            for each in ast.walk(self.function):
                if isinstance(each, ast.Assign) and self.only_read(each.targets) is node:
                    return each.value
        return node

    def is_constant(self, node: ast.AST) -> bool:
        """Whether a part of a number has one value wherever it stands in the function."""
        if isinstance(node, ast.Name):
            bound = [each for each in mentions([self.function], node.id) if not isinstance(each.ctx, ast.Load)]
            return len(bound) + any(each.arg == node.id for each in _arguments(self.function)) <= 1
        return isinstance(node, (ast.Constant, ast.Attribute, ast.BinOp, ast.operator, ast.expr_context))

    def applied(self) -> ast.expr | None:
        """The expression that is masked values, to be scaled; a mask after `*=`; None for other uses."""
        mask, parent = self.node, self.parents[self.node]
        if isinstance(parent, ast.AugAssign):
            fits = isinstance(parent.op, ast.Mult) and isinstance(mask, (ast.Name, ast.Call, ast.Compare))
            return mask if fits else None
        if isinstance(parent, ast.BinOp):
            return parent if isinstance(parent.op, ast.Mult) and self.may_be_divided(parent) else None
        if not isinstance(parent, ast.Call) or mask not in parent.args or parent.keywords:
            return None
        function = self.code.name_of(parent.func)
        method = parent.func.attr if isinstance(parent.func, ast.Attribute) and not function else ""
        if (
            method == "masked_fill"
            and len(parent.args) == 2
            and parent.args[0] is mask
            and is_number(parent.args[1], 0)
        ):
            self.is_complement = not self.is_complement
        elif function == "torch.where" and len(parent.args) == 3 and parent.args[0] is mask:
            if not is_number(parent.args[2], 0):
                return None
        elif not (method == "mul" or function == "torch.mul"):
            return None
        return parent if self.may_be_divided(parent) else None

    def may_be_divided(self, product: ast.expr) -> bool:
        """Whether `/ number` behind an expression divides the whole of it, and nothing else."""
        parent = self.parents[product]
        if isinstance(parent, ast.BinOp):
            return isinstance(parent.op, (ast.Add, ast.Sub)) or (
                isinstance(parent.op, ast.Mult) and parent.left is product
            )
        if isinstance(parent, ast.Call):
            return parent.func is not product
        return isinstance(parent, (ast.Assign, ast.AnnAssign, ast.Return))

    def keep(self) -> str:
        """The probability to keep a value, as the code would write it."""
        number = self.number
        if not self.is_complement:
            return self.in_brackets(number)
        if isinstance(number, ast.BinOp) and isinstance(number.op, ast.Sub) and is_number(number.left, 1):
            return self.in_brackets(number.right)
        return f"(1 - {self.in_brackets(number)})"

    def in_brackets(self, number: ast.expr) -> str:
        text = self.code.text_of(number)
        return f"({text})" if isinstance(number, ast.BinOp) else text


def _arguments(function: ast.FunctionDef) -> list[ast.arg]:
    return [each for each in ast.walk(function.args) if isinstance(each, ast.arg)]


def is_number(node: ast.expr, value: int) -> bool:
    return isinstance(node, ast.Constant) and node.value == value


_FUNCTIONS = (ast.FunctionDef, ast.AsyncFunctionDef, ast.Lambda)
_ORDERS = (ast.Lt, ast.LtE, ast.Gt, ast.GtE)
_CASTS = frozenset("float double half bfloat16 int long bool to type type_as".split())


def confirm(suspicion: Suspicion, probe: Probe) -> Evidence:
    mask = probe.measure(HandmadeMask, suspicion.op)
    if mask.nonzero == mask.units:
        return probe.evidence(Verdict.UNMEASURED, "no unit is dropped in any run", mask)
    because = f"train mode passes on {percent(mask.mean)} of the activation that eval mode does, on average"
    because += f"; reference dropout at the same rate passes on {percent(mask.reference_mean)}"
    verdict = Verdict.CONFIRMED if mask.p_value <= probe.alpha else Verdict.REFUTED
    lowers_to = Severity.INFO if abs(1 - mask.mean) < MATERIAL else None
    return probe.evidence(verdict, because, mask, material_from=MATERIAL, lowers_to=lowers_to)


BAD = (
    Example(
        """\
import torch
from torch import nn


class Classifier(nn.Module):
    def __init__(self, rate=0.3):
        super().__init__()
        self.rate = rate
        self.hidden = nn.Linear(16, 64)
        self.head = nn.Linear(64, 4)

    def forward(self, x):
        x = torch.relu(self.hidden(x))
        if self.training:
            x = x * (torch.rand_like(x) > self.rate)  # <-
        return self.head(x)


model = Classifier()
inputs = (torch.randn(32, 16),)
""",
        fixed="""\
import torch
from torch import nn


class Classifier(nn.Module):
    def __init__(self, rate=0.3):
        super().__init__()
        self.rate = rate
        self.hidden = nn.Linear(16, 64)
        self.head = nn.Linear(64, 4)

    def forward(self, x):
        x = torch.relu(self.hidden(x))
        if self.training:
            x = x * (torch.rand_like(x) > self.rate) / (1 - self.rate)
        return self.head(x)


model = Classifier()
inputs = (torch.randn(32, 16),)
""",
    ),
    Example(
        """\
import torch
from torch import nn


class DropPath(nn.Module):
    def __init__(self, rate):
        super().__init__()
        self.rate = rate

    def forward(self, x):
        if not self.training:
            return x
        keep = torch.full((x.shape[0], 1), 1 - self.rate)
        return x * torch.bernoulli(keep)  # <-


class Block(nn.Module):
    def __init__(self):
        super().__init__()
        self.body = nn.Linear(16, 16)
        self.path = DropPath(0.2)
        self.head = nn.Linear(16, 4)

    def forward(self, x):
        return self.head(x + self.path(torch.relu(self.body(x))))


model = Block()
inputs = (torch.randn(64, 16),)
""",
        fixed="""\
import torch
from torch import nn


class DropPath(nn.Module):
    def __init__(self, rate):
        super().__init__()
        self.rate = rate

    def forward(self, x):
        if not self.training:
            return x
        keep = torch.full((x.shape[0], 1), 1 - self.rate)
        return x * torch.bernoulli(keep) / (1 - self.rate)


class Block(nn.Module):
    def __init__(self):
        super().__init__()
        self.body = nn.Linear(16, 16)
        self.path = DropPath(0.2)
        self.head = nn.Linear(16, 4)

    def forward(self, x):
        return self.head(x + self.path(torch.relu(self.body(x))))


model = Block()
inputs = (torch.randn(64, 16),)
""",
    ),
)

GOOD = (
    Example("""\
import torch
from torch import nn


class Classifier(nn.Module):
    def __init__(self, rate=0.3):
        super().__init__()
        self.rate = rate
        self.hidden = nn.Linear(16, 64)
        self.head = nn.Linear(64, 4)

    def forward(self, x):
        x = torch.relu(self.hidden(x))
        if self.training:
            x = x * (torch.rand_like(x) > self.rate) / (1 - self.rate)
        return self.head(x)


model = Classifier()
inputs = (torch.randn(32, 16),)
"""),
    Example("""\
import torch
from torch import nn


class DropPath(nn.Module):
    def __init__(self, rate):
        super().__init__()
        self.rate = rate

    def forward(self, x):
        if not self.training:
            return x
        keep = 1 - self.rate
        mask = torch.floor(keep + torch.rand((x.shape[0], 1)))
        return x.div(keep) * mask


class Block(nn.Module):
    def __init__(self):
        super().__init__()
        self.body = nn.Linear(16, 16)
        self.path = DropPath(0.2)
        self.head = nn.Linear(16, 4)

    def forward(self, x):
        return self.head(x + self.path(torch.relu(self.body(x))))


model = Block()
inputs = (torch.randn(64, 16),)
"""),
)
