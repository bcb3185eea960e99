"""Random hostile models: what makes a model hard to copy, to run or to leave alone, in any combination.

Each is drawn from a seed. A model is a small network, sound or with a dropout planted that ignores the mode, into which
some traits are built: what it keeps, what its forward changes, and where it raises.
"""

from __future__ import annotations

import asyncio
import collections
import functools
import io
import itertools
import logging
import os
import queue
import random
import sys
import threading
import warnings
import weakref
from typing import ClassVar

import numpy
import torch
import torch.nn.functional as F
from torch import nn
from torch.nn.utils import parametrizations, prune

WIDTH = 6
COUNTS = {"calls": 0}
CALLS = 0


class Stats:
    """A plain object that counts; the class counts, too."""

    total = 0
    __slots__ = ("__dict__", "calls", "seen")

    def __init__(self):
        self.calls, self.seen = 0, []


class Itself:
    """Its copy is itself."""

    def __init__(self):
        self.calls = 0

    def __deepcopy__(self, memo):
        self.calls += 1
        return self


class Refusing:
    """Raises when it is to be copied."""

    def __init__(self, error):
        self.error, self.calls = error, 0

    def __deepcopy__(self, memo):
        raise self.error("not to be copied")

    def __reduce_ex__(self, protocol):
        raise self.error("not to be pickled")


class Finalized:
    """Notices when an object of it is let go of, or a copy of that."""

    gone: ClassVar[list] = []

    def __init__(self, name):
        self.name = name

    def __del__(self):
        Finalized.gone.append(self.name)


class Mute(Exception):
    """Has nothing to say."""

    def __str__(self):
        raise ValueError("no words")


class Net(nn.Module):
    """The network: two layers with a dropout between them, which follows the mode or does not."""

    calls = 0
    cache: ClassVar[dict] = {}

    def __init__(self, faulty):
        super().__init__()
        self.a, self.b = nn.Linear(WIDTH, WIDTH), nn.Linear(WIDTH, 2)
        self.faulty, self.acts = faulty, []

    def forward(self, x):
        for act in self.acts:
            getattr(self, act)(x)
        y = self.a(x)
        return self.b(self.drops(y))

    def drops(self, y):
        if self.faulty:
            return F.dropout(y, 0.5)  # planted
        return F.dropout(y, 0.5, self.training)

    # What a forward does beside computing.

    def counts(self, x):
        global CALLS
        CALLS += 1
        COUNTS["calls"] += 1
        type(self).calls += 1
        type(self).cache[CALLS] = x
        Stats.total += 1

    def uses_stats(self, x):
        self.stats.calls += 1
        self.stats.seen.append(1)
        self.stats.last = x

    def uses_array(self, x):
        self.array[0] += 1
        self.bytes[0] += 1
        self.deque.append(1)

    def uses_dice(self, x):
        self.last = (self.dice.random(), self.rng.random(), self.state.rand(), next(self.count))

    def uses_generator(self, x):
        self.noise = torch.rand(2, generator=self.generator)

    def uses_lock(self, x):
        with self.lock, self.rlock:
            self.queue.put(1)

    def uses_closure(self, x):
        self.last = self.closure(x)

    def uses_marks(self, x):
        for each in self.parameters():
            each.calls = getattr(each, "calls", 0) + 1

    def writes_weights(self, x):
        with torch.no_grad():
            self.a.weight.mul_(1.001)
        self.b.bias.grad = torch.ones(2, dtype=torch.float32)

    def writes_view(self, x):
        self.view.add_(0.0001)

    def changes_flags(self, x):
        self.a.eval()
        self.b.bias.requires_grad_(False)

    def changes_parts(self, x):
        self.extra = nn.Linear(1, 1)
        self.register_buffer("mean", x.mean(0))
        self.a.register_forward_hook(lambda module, args, output: None)

    def changes_world(self, x):
        torch.set_default_dtype(torch.float64)
        torch.set_grad_enabled(False)
        torch.manual_seed(1)
        random.seed(1)
        numpy.random.seed(1)
        os.environ["REGCHECK_HOSTILE"] = "1"
        logging.getLogger("hostile").setLevel(10)
        warnings.simplefilter("default")
        torch.backends.cudnn.benchmark = True

    def moves(self, x):
        os.chdir("/")
        sys.path.append("/nowhere")
        torch.use_deterministic_algorithms(True, warn_only=True)

    def speaks(self, x):
        print("running")
        sys.stderr.write("running\n")
        logging.getLogger("hostile").error("running")
        warnings.warn("running", stacklevel=2)

    def writes_file(self, x):
        self.file.write("x")
        self.text.write("x")

    def starts_thread(self, x):
        thread = threading.Thread(target=self.b, args=(x[:, :WIDTH],))
        thread.start()
        thread.join()

    def removes_hook(self, x):
        self.handle.remove()

    def cycles(self, x):
        self.log = [*getattr(self, "log", ()), {"me": [self]}]


def with_stats(net):
    net.stats = Stats()
    net.acts.append("uses_stats")


def with_arrays(net):
    net.array, net.bytes, net.deque = numpy.zeros(3), bytearray(2), collections.deque([1], 5)
    net.acts.append("uses_array")


def with_dice(net):
    net.dice, net.rng, net.state = random.Random(3), numpy.random.default_rng(3), numpy.random.RandomState(3)
    net.count = itertools.count()
    net.acts.append("uses_dice")


def with_generator(net):
    net.generator = torch.Generator().manual_seed(5)
    net.acts.append("uses_generator")


def with_locks(net):
    net.lock, net.rlock, net.queue = threading.Lock(), threading.RLock(), queue.Queue()
    net.condition, net.event = threading.Condition(), threading.Event()
    net.acts.append("uses_lock")


def with_closure(net):
    seen, number = [], 0

    def closure(x):
        nonlocal number
        number += 1
        seen.append(number)
        return net.a(x)

    net.closure, net.bound, net.part = closure, net.forward, functools.partial(closure, 1)
    net.acts.append("uses_closure")


def with_hook(net):
    outputs, stats = [], Stats()

    def hook(module, args, output):
        outputs.append(output)
        stats.calls += 1

    net.handle = net.a.register_forward_hook(hook)
    net.b.register_forward_pre_hook(lambda module, args: outputs.append(net.a.weight))


def with_hook_that_goes(net):
    with_hook(net)
    net.acts.append("removes_hook")


def with_weight_norm(net):
    net.a = nn.utils.weight_norm(net.a)


def with_spectral_norm(net):
    net.a = nn.utils.spectral_norm(net.a)


def with_pruning(net):
    prune.l1_unstructured(net.a, "weight", 2)


def with_parametrization(net):
    parametrizations.weight_norm(net.a)


def with_kept_output(net):
    net.kept = net.a(torch.randn(2, WIDTH))


def with_tied_weights(net):
    net.c = nn.Linear(WIDTH, WIDTH)
    net.c.weight = net.a.weight
    net.inner = [net.c, {"again": net.a}]


def with_view(net):
    net.register_buffer("view", net.a.weight.data[:2])
    net.acts.append("writes_view")


def with_itself(net):
    net.itself = Itself()


def with_refusing(net):
    net.refusing = Refusing(TypeError)


def with_exiting(net):
    net.refusing = Refusing(SystemExit)


def with_finalizer(net):
    net.finalized = Finalized(net.seed)


def with_iterators(net):
    net.iterator, net.lazy, net.pairs = iter([1, 2, 3]), (each for each in range(3)), enumerate("ab")


def with_files(net):
    net.file, net.text = open(os.devnull, "w", encoding="utf-8"), io.StringIO("begun")  # noqa: SIM115
    net.acts.append("writes_file")


def with_weak_references(net):
    net.reference, net.table = weakref.ref(net.a), weakref.WeakKeyDictionary({net.a: [1]})
    net.method = weakref.WeakMethod(net.forward)


def with_memo(net):
    net.memo = functools.lru_cache(maxsize=None)(net.a.extra_repr)


def with_script(net):
    net.script = torch.jit.script(nn.Linear(2, 2))


def with_thread(net):
    net.thread = threading.Thread(target=print)
    net.local = threading.local()
    net.local.value = [1]


def act(name):
    def add(net):
        net.acts.append(name)

    add.__name__ = name
    return add


KEEPING = [value for name, value in sorted(globals().items()) if name.startswith("with_")]
DOING = [
    act(name)
    for name in (
        "counts uses_marks writes_weights changes_flags changes_parts changes_world moves speaks starts_thread cycles"
    ).split()
]
TRAITS = [*KEEPING, *DOING]
WEIGHING = (with_weight_norm, with_spectral_norm, with_pruning, with_parametrization, with_tied_weights)

ERRORS = (RuntimeError, SystemExit, Mute, asyncio.CancelledError, GeneratorExit, RecursionError, StopIteration)
STAGES = "forward hook train eval named_modules getattr state_dict repr".split()
"""Where a model may raise."""


def raising(net, stage, error, turn):
    """Let a model and its copies raise at a stage, from some turn on."""
    turns = itertools.count(1)  # the class keeps it, so that copies count on

    def fails(*args, **kwargs):
        if next(turns) >= turn:
            raise error("as planned") if error is not Mute else Mute
        return

    def method(name):
        def called(self, *args, **kwargs):
            fails()
            return getattr(Net, name)(self, *args, **kwargs)

        return called

    members = {
        "forward": {"forward": method("forward")},
        "train": {"train": method("train")},
        "eval": {"eval": method("eval")},
        "named_modules": {"named_modules": method("named_modules")},
        "state_dict": {"state_dict": method("state_dict")},
        "repr": {"__repr__": method("__repr__")},
        "getattr": {"__getattr__": lambda self, name: fails() or Net.__getattr__(self, name)},
        "hook": {},
    }[stage]
    if stage == "hook":
        net.a.register_forward_hook(fails)
    net.__class__ = type("Net", (Net,), {**members, "__module__": __name__})


class Hostile:
    """One model of a seed: whether it is faulty, its traits, where it raises, whether a backward pass is pending."""

    def __init__(self, seed):
        dice = random.Random(seed)
        self.seed, self.faulty = seed, dice.random() < 0.5
        traits = dice.sample(TRAITS, dice.choice([1, 1, 2, 3, 4]))
        weighing = [each for each in traits if each in WEIGHING]  # a weight is replaced once
        self.traits = [each for each in traits if each not in weighing[1:]]
        self.raises = dice.random() < 0.3
        self.stage, self.error = dice.choice(STAGES), dice.choice(ERRORS)
        self.turn = dice.choice([1, 1, 2, 3, 5, 9, 20])
        self.pending, self.training = dice.random() < 0.5, dice.random() < 0.5

    def __repr__(self):
        traits = ", ".join(each.__name__ for each in self.traits)
        fails = f", raises {self.error.__name__} in {self.stage} from turn {self.turn}" * self.raises
        return f"seed {self.seed}: {'faulty' if self.faulty else 'sound'}, {traits}{fails}"

    def built(self):
        """The model, its input, and the loss of a call whose backward pass is pending, if there is one."""
        with torch.random.fork_rng(), warnings.catch_warnings():
            warnings.simplefilter("ignore")
            torch.manual_seed(self.seed)
            net, x = Net(self.faulty), torch.randn(16, WIDTH)
            net.seed = self.seed
            for trait in self.traits:
                trait(net)
            acts, net.acts = net.acts, []
            net.train(self.training)
            loss = net(x).pow(2).mean() if self.pending else None
            net.acts = acts
        if self.raises:
            raising(net, self.stage, self.error, self.turn)
        return net, x, loss
