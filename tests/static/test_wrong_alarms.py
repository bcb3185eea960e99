"""Right code that a plain linter takes for wrong: every one of these sources is silent."""

from __future__ import annotations

from pathlib import Path
from textwrap import dedent, indent

import pytest

from regcheck.engine.scan import scan

HEADER = """\
import functools
import random
import torch
import torch.nn.functional as F
from torch import nn, optim
"""


def model(init: str, forward: str, arguments: str = "", call: str = "x", methods: str = "", more: str = "") -> str:
    """A model class with these bodies, and what follows it."""
    return (
        HEADER
        + f"class Net(nn.Module):\n    def __init__(self{arguments}):\n        super().__init__()\n"
        + indent(dedent(init).strip(), " " * 8)
        + f"\n    def forward(self, {call}):\n"
        + indent(dedent(forward).strip(), " " * 8)
        + "\n"
        + indent(dedent(methods).strip(), " " * 4)
        + "\n"
        + dedent(more)
    )


TRAINED = """
net = Net()
loss = F.cross_entropy(net(torch.randn(4, 16)), torch.zeros(4))
loss.backward()
"""
LINEAR = "self.fc = nn.Linear(16, 16)"
CONV = "self.conv = nn.Conv2d(3, 8, 3)\nself.fc = nn.Linear(8, 10)"

STRANGERS = {
    name: HEADER + f"from elsewhere import Base\nfrom abc import ABC\nclass Net({base}):\n    def __init__(self):\n"
    f"        {start}\n        self.fc = {layer}\n    def {run}(self, x):\n        return self.fc(F.dropout(x, 0.5))\n"
    for name, base, start, layer, run in (
        ("a stranger's base without layers of torch", "Base", "super().__init__()", "Base()", "forward"),
        ("a stranger's base that is not built", "Base", "pass", "nn.Linear(4, 4)", "forward"),
        ("a stranger's base without a forward", "Base", "super().__init__()", "nn.Linear(4, 4)", "run"),
        ("a base of the standard library", "ABC", "super().__init__()", "nn.Linear(4, 4)", "forward"),
    )
}

GATED = {
    "one-line if": model(LINEAR, "if self.training: x = F.dropout(x, 0.5)\nreturn self.fc(x)"),
    "elif arm": model(
        LINEAR,
        """
        if x is None:
            return x
        elif self.training:
            x = F.dropout(x, 0.5)
        return self.fc(x)
        """,
    ),
    "else arm": model(LINEAR, "if not self.training:\n    pass\nelse:\n    x = F.dropout(x)\nreturn self.fc(x)"),
    "early return in eval": model(
        LINEAR, "x = self.fc(x)\nif not self.training:\n    return x\nreturn self.fc(F.dropout(x, 0.3))"
    ),
    "conjunction far above": model(
        "self.fc = nn.Linear(16, 16)\nself.p = p",
        """
        if self.p > 0 and self.training and x.dim() > 1:
            for _ in range(3):
                if x.shape[0] > 2:
                    x = F.dropout(x, self.p)
        return self.fc(x)
        """,
        ", p",
    ),
    "gate in a local": model(LINEAR, "rate = 0.5 if self.training else 0.0\nreturn self.fc(F.dropout(x, rate, True))"),
    "gate in a local flag": model(LINEAR, "on = self.training\nreturn self.fc(F.dropout(x, 0.5, on))"),
    "gate in arithmetic": model(
        "self.fc = nn.Linear(16, 16)\nself.p = p",
        "return F.scaled_dot_product_attention(self.fc(x), x, x, dropout_p=self.p * self.training)",
        ", p",
    ),
    "gated attention of other packages": HEADER
    + """
from flash_attn import flash_attn_func, flash_attn_with_kvcache
from torch.nn.attention.flex_attention import flex_attention
from xformers.ops import memory_efficient_attention
flexible = torch.compile(flex_attention)
class Net(nn.Module):
    def __init__(self, p=0.1):
        super().__init__()
        self.fc = nn.Linear(16, 16)
        self.p = p
    def forward(self, x, cache):
        x = flash_attn_func(self.fc(x), x, x, self.p if self.training else 0.0)
        x = flash_attn_func(x, x, x, softmax_scale=0.5) + flash_attn_with_kvcache(x, cache, cache)
        x = memory_efficient_attention(x, x, x, p=0.0 if not self.training else self.p)
        return flexible(x, x, x) + flex_attention(x, x, x)
""",
    "a rate that is a switch as well": model(
        "self.fc = nn.Linear(16, 16)\nself.drop = nn.Dropout(dropout)",
        "return self.fc(self.drop(x))",
        ", dropout=False",
    ),
    "gate by and": model(
        "self.fc = nn.Linear(16, 16)\nself.p = p",
        "return F.scaled_dot_product_attention(self.fc(x), x, x, dropout_p=(self.training and self.p) or 0.0)",
        ", p=0.1",
    ),
    "noise times float(training)": model(
        LINEAR, "x = x + torch.randn_like(x) * float(self.training)\nreturn self.fc(x)"
    ),
    "helper function with training": model(
        LINEAR,
        "return self.fc(drop(x, 0.5, self.training))",
        more="""
        def drop(x, p, training):
            if p == 0. or not training:
                return x
            return x * torch.bernoulli(torch.full_like(x, 1 - p))
        """,
    ),
    "helper method with rate": model(
        "self.fc = nn.Linear(16, 16)\nself.p = p",
        "return self.attend(self.fc(x), self.p if self.training else 0.0)",
        ", p=0.2",
        methods="""
        def attend(self, x, dropout_p):
            return F.scaled_dot_product_attention(x, x, x, dropout_p=dropout_p)
        """,
    ),
    "mode of a child module": model(
        "self.fc = nn.Linear(16, 16)\nself.drop = nn.Dropout(0.5)",
        "return self.fc(F.dropout(x, self.drop.p, self.drop.training))",
    ),
    "partial": model(
        LINEAR, "drop = functools.partial(F.dropout, p=0.5, training=self.training)\nreturn self.fc(drop(x))"
    ),
    "lambda": model(LINEAR, "drop = lambda t: F.dropout(t, training=self.training)\nreturn self.fc(drop(x))"),
    "home-made flag": model(
        "self.fc = nn.Linear(16, 16)\nself.is_training = flag",
        "if self.is_training:\n    x = F.dropout(x, 0.5)\nreturn self.fc(x)",
        ", flag",
    ),
    "rate fed by the caller": model(LINEAR, 'return self.fc(nn.Dropout(p=feed["p"])(x))', call="x, feed"),
    "training is an argument": model(LINEAR, "return self.fc(F.dropout(x, 0.5, training))", call="x, training=True"),
    "rate is zero": model(LINEAR, "return self.fc(F.dropout(x, 0.0))"),
    "rate is zero by default": model(
        "self.fc = nn.Linear(16, 16)\nself.p = p",
        "return F.scaled_dot_product_attention(self.fc(x), x, x, dropout_p=self.p)",
        ", p=0.0",
    ),
    "unknown attention rate, from a caller": model(
        LINEAR,
        "return self.attend(x)",
        methods="    def attend(self, x, dropout_p=None):\n"
        "        return F.scaled_dot_product_attention(self.fc(x), x, x, dropout_p=dropout_p)\n",
    ),
    "rate set to zero by a method": model(
        "self.fc = nn.Linear(16, 16)\nself.p = 0.5",
        "return self.fc(F.dropout(x, self.p))",
        methods="    def freeze(self):\n        self.p = 0.0\n",
    ),
    "rate set from outside": model(
        "self.fc = nn.Linear(16, 16)\nself.p = 0.5", "return self.fc(F.dropout(x, self.p))", more="Net().p = 0.0\n"
    ),
    "rate set from outside on something that is called almost self": model(
        "self.fc = nn.Linear(16, 16)\nself.p = 0.5",
        "return self.fc(F.dropout(x, self.p))",
        more="myself = Net()\nmyself.p = 0.0\n",
    ),
    "alpha dropout is off unless asked": model(LINEAR, "return self.fc(F.alpha_dropout(x, 0.5))"),
    "result never used": model(LINEAR, "y = torch.rand_like(x)\nreturn self.fc(x)"),
    "seeded draw": model(LINEAR, "g = torch.Generator()\nreturn self.fc(x + torch.randn(4, 16, generator=g))"),
    "drop path of rate zero": model(
        "self.fc = nn.Linear(16, 16)\nself.rate = rate",
        "if self.rate == 0. or not self.training:\n    return self.fc(x)\nreturn self.fc(x) * torch.rand(4, 1)",
        ", rate",
    ),
    "shape of a draw": model(LINEAR, "n = torch.rand(3).shape[0]\nreturn self.fc(x) * n"),
    "augmentation": model("self.p = 0.5", "return x + torch.randn_like(x)"),
    "sampling loss": model(
        LINEAR,
        "return self.contrast_loss(self.fc(x))",
        methods="    def contrast_loss(self, x):\n        return (x - x[torch.randperm(4)]).mean()\n",
    ),
    "a rate that whoever holds the model changes": model(
        LINEAR + "\nself.rate = rate",
        "return F.scaled_dot_product_attention(self.fc(x), x, x, dropout_p=self.rate)",
        arguments=", rate=0.1",
        more="""
        def predict(args, net, x):
            args.rate = 0.2
            net.rate = 0.0
            return net(x)
        """,
    ),
    "a part that is read is not the part that was drawn": model(
        LINEAR,
        """
        both = self.fc(x)
        both[:, :8] = torch.randn(4, 8)
        self.seen = both[:, :8].abs().mean()
        return both[:, 8:]
        """,
    ),
    "a part of what another branch wrote to": model(
        LINEAR,
        """
        both = self.fc(x)
        if x.shape[0] > 1:
            both[:, :8] = F.dropout(both[:, 8:])
        both = both.view(-1, 2, 8).contiguous()
        first, second = both.unbind(1)
        return second
        """,
    ),
    "what was drawn is written over": model(
        LINEAR,
        """
        x, y = self.fc(x), torch.rand(4, 16)
        y[:] = x
        z = torch.rand_like(x)
        z[..., :] = y
        return z
        """,
    ),
    "a part of what a block was given": model(
        "self.one = Half()\nself.two = Half()\nself.fc = nn.Linear(8, 8)",
        """
        clean, noisy = x.clone(), x.clone()
        noisy[:, :4] = torch.rand(4, 4)
        return self.fc(self.one(clean) + self.two(noisy))
        """,
        more="""
class Half(nn.Module):
    def forward(self, x):
        return x[:, 4:]
""",
    ),
}

PLACED = {
    "before the last linear": model(
        "self.a = nn.Linear(16, 8)\nself.drop = nn.Dropout()\nself.b = nn.Linear(8, 4)",
        "return self.b(self.drop(self.a(x)))",
        more=TRAINED,
    ),
    "inside a block": model(
        "self.a = nn.Linear(16, 16)\nself.drop = nn.Dropout()",
        "return self.drop(self.a(x))",
        more="""
        class Whole(nn.Module):
            def __init__(self):
                super().__init__()
                self.net = Net()
                self.head = nn.Linear(16, 4)
            def forward(self, x):
                return self.head(self.net(x))
        loss = F.cross_entropy(Whole()(torch.randn(4, 16)), torch.zeros(4))
        """,
    ),
    "a class no one uses as a model": model(
        "self.a = nn.Linear(16, 16)\nself.drop = nn.Dropout()", "return self.drop(self.a(x))"
    ),
    "output feeds another model": model(
        "self.a = nn.Linear(16, 16)\nself.drop = nn.Dropout()",
        "return self.drop(self.a(x))",
        more="backbone, head = Net(), nn.Linear(16, 4)\nloss = F.cross_entropy(head(backbone(torch.ones(4, 16))), 0)\n",
    ),
    "rate zero at the output": model(
        "self.a = nn.Linear(16, 16)\nself.drop = nn.Dropout(0)", "return self.drop(self.a(x))", more=TRAINED
    ),
    "pool, flatten, dropout, linear": model(
        CONV + "\nself.drop = nn.Dropout()", "return self.fc(self.drop(self.conv(x).mean((2, 3))))", more=TRAINED
    ),
    "pooled to 1×1, then 1×1 conv": model(
        "self.f = nn.Sequential(nn.Conv2d(3, 8, 3), nn.AdaptiveAvgPool2d(1), nn.Dropout(), nn.Conv2d(8, 4, 1))",
        "return self.f(x)",
        more=TRAINED,
    ),
    "pooled to 1×1, then pooled again": model(
        "self.c = nn.Conv2d(3, 8, 3)\nself.d = nn.Dropout()\nself.e = nn.Conv2d(8, 4, 1)",
        "x = F.adaptive_avg_pool2d(self.c(x), 1)\nreturn F.adaptive_avg_pool2d(self.e(self.d(x)), 1)",
    ),
    "pooled by its own size": model(
        "self.c = nn.Conv2d(3, 8, 3)\nself.d = nn.Dropout()\nself.e = nn.Conv2d(8, 4, 1)",
        "x = F.avg_pool2d(self.c(x), x.size(2))\nreturn F.avg_pool2d(self.e(self.d(x)), 2)",
    ),
    "spatial dropout": model(
        "self.f = nn.Sequential(nn.Conv2d(3, 8, 3), nn.Dropout2d(), nn.Conv2d(8, 8, 3))", "return self.f(x)"
    ),
    "tokens of a patch embedding": model(
        "self.patch = nn.Conv2d(3, 8, 16, 16)\nself.pos = nn.Parameter(torch.zeros(1, 4, 8))\n"
        "self.drop = nn.Dropout()\nself.fc = nn.Linear(8, 8)",
        "x = self.patch(x).flatten(2).transpose(1, 2) + self.pos\nreturn self.fc(self.drop(x))",
    ),
    "8×8 conv used as a linear layer": model(
        "self.f = nn.Sequential(nn.Conv2d(3, 8, 8), nn.ReLU(), nn.Dropout(), nn.Conv2d(8, 4, 1))", "return self.f(x)"
    ),
    "dropout after a transposed conv of a vector": model(
        "self.c = nn.Conv2d(8, 8, 1)\nself.d = nn.Dropout()\nself.up = nn.ConvTranspose2d(8, 8, 4)",
        "return self.up(self.d(self.c(x[:, :, None, None])))",
    ),
    "conv rate unknown and varying": model(
        "self.c = nn.Conv2d(3, 8, 3)\nself.e = nn.Conv2d(8, 8, 3)",
        "return self.e(F.dropout(self.c(x), p, self.training))",
        call="x, p",
    ),
}

DECAY = "net = nn.Linear(4, 4)\n"
OPTIMIZED = {
    "AdamW": HEADER + DECAY + "optim.AdamW(net.parameters(), weight_decay=0.1)\n",
    "SGD": HEADER + DECAY + "optim.SGD(net.parameters(), lr=0.1, weight_decay=0.1)\n",
    "decoupled flag": HEADER + DECAY + "optim.Adam(net.parameters(), weight_decay=0.1, decoupled_weight_decay=True)\n",
    "decoupled by keywords": HEADER
    + DECAY
    + "optim.Adam(net.parameters(), weight_decay=0.1, **dict(decoupled_weight_decay=True))\n",
    "unknown keywords": HEADER + DECAY + "def f(**more):\n    optim.Adam(net.parameters(), weight_decay=0.1, **more)\n",
    "zero decay": HEADER + DECAY + "optim.Adam(net.parameters(), weight_decay=0.0)\noptim.NAdam(net.parameters())\n",
    "decay of the command line": HEADER
    + "import argparse\nargs = argparse.ArgumentParser().parse_args()\n"
    + DECAY
    + "optim.Adam(net.parameters(), weight_decay=args.wd)\n",
    "zero decay in every group": HEADER
    + DECAY
    + "optim.Adam([{'params': net.parameters(), 'weight_decay': 0.0}], weight_decay=0.1)\n",
    "another library's Adam": "import torch\nfrom apex.optimizers import Adam\nAdam(None, weight_decay=0.1)\n",
    "an Adam of one's own": "import torch\nclass Adam:\n    pass\nAdam(None, weight_decay=0.1)\n",
    "another library's F": "import torch\nimport haiku as F\nfrom torch import nn\n"
    "class Net(nn.Module):\n    def forward(self, x):\n        return F.dropout(x, 0.5)\n",
    "a method called dropout": model(
        LINEAR, "return self.dropout(self.fc(x))", methods="    def dropout(self, x):\n        return x\n"
    ),
    "not a module": HEADER + "class Net:\n    def forward(self, x):\n        return F.dropout(x, 0.5)\n",
}

DROPPING = model(
    "self.fc = nn.Linear(16, 4)\nself.drop = nn.Dropout(0.5)",
    "return self.fc(self.drop(x))",
    more="x = torch.randn(4, 16)\n",
)
PLAIN = model("self.fc = nn.Linear(16, 4)", "return self.fc(x)", more="x = torch.randn(4, 16)\n")
USED = {
    "eval before": DROPPING + "net = Net().eval()\nwith torch.no_grad():\n    print(net(x))\n",
    "train(False) before": DROPPING + "net = Net()\nnet.train(False)\nwith torch.no_grad():\n    print(net(x))\n",
    "no mode-dependent layer": PLAIN + "net = Net()\nwith torch.no_grad():\n    print(net(x))\n",
    "gradients on": DROPPING + "net = Net()\nprint(net(x))\n",
    "set_grad_enabled of a phase": DROPPING
    + "net = Net()\nfor phase in ['train', 'val']:\n    net.train() if phase == 'train' else net.eval()\n"
    "    with torch.set_grad_enabled(phase == 'train'):\n        y = net(x).sum()\n",
    "mode set by the caller": DROPPING
    + "def predict(net):\n    with torch.no_grad():\n        return net(x)\nnet = Net().eval()\npredict(net).sum()\n",
    "mode set in the callee": DROPPING
    + "def ready(net):\n    net.eval()\n    return net\nnet = ready(Net())\nwith torch.no_grad():\n    print(net(x))\n",
    "mode set elsewhere": "from elsewhere import prepare\n"
    + DROPPING
    + "net = Net()\nprepare(net)\nwith torch.no_grad():\n    print(net(x))\n",
    "mode owned by a framework": "import ignite\n"
    + DROPPING
    + "net = Net()\nengine = ignite.engine(net)\nwith torch.no_grad():\n    print(net(x))\n",
    "no known caller": DROPPING + "def predict(net):\n    with torch.no_grad():\n        return net(x)\n",
    "model of another file": "import torch\nfrom nets import build\n"
    "net = build()\nwith torch.no_grad():\n    print(net(1))\n",
    "result thrown away": DROPPING + "net = Net()\nwith torch.no_grad():\n    net(x)\n    _ = net(x)\n",
    "only the shape is asked for": DROPPING + "net = Net()\nwith torch.no_grad():\n    n = net(x).shape[1]\nprint(n)\n",
    "recalibration": DROPPING + "net = Net()\ntorch.optim.swa_utils.update_bn([x], net)\n",
    "Monte-Carlo dropout": DROPPING
    + "net = Net()\nnet.train()\nwith torch.no_grad():\n    print(torch.stack([net(x) for _ in range(9)]).std(0))\n",
    "teacher inside a training step": "import copy\n"
    + DROPPING
    + """
student = Net()
teacher = copy.deepcopy(student)
optimizer = optim.SGD(student.parameters(), lr=0.1)
def step(x):
    with torch.no_grad():
        target = teacher(x)
    F.mse_loss(student(x), target).backward()
    optimizer.step()
step(x)
""",
    "generator inside a training step": DROPPING
    + """
def train():
    generator, critic = Net(), Net()
    optimizer = optim.SGD(critic.parameters(), lr=0.1)
    for _ in range(10):
        with torch.no_grad():
            fake = generator(x)
        critic(fake).mean().backward()
        optimizer.step()
train()
""",
    "partial eval": DROPPING + "net = Net()\nnet.drop.eval()\nwith torch.no_grad():\n    print(net(x))\n",
    "frozen by a loop over modules": DROPPING
    + "net = Net()\nfor each in net.modules():\n    each.eval()\nwith torch.no_grad():\n    print(net(x))\n",
    "frozen by apply": DROPPING
    + "net = Net()\nnet.apply(lambda each: each.eval())\nwith torch.no_grad():\n    print(net(x))\n",
    "a mode that may be either": DROPPING
    + "import sys\nnet = Net()\nif len(sys.argv) > 1:\n    net.eval()\nwith torch.no_grad():\n    print(net(x))\n",
    "train() per batch": DROPPING
    + """
def fit(net, batches):
    optimizer = optim.SGD(net.parameters(), lr=0.1)
    for x in batches:
        net.train()
        net(x).sum().backward()
        optimizer.step()
        net.eval()
        with torch.no_grad():
            print(net(x))
fit(Net(), [x, x])
""",
    "an unknown context that sets the mode": "from tools import evaluating\n"
    + DROPPING
    + "net = Net()\nwith evaluating(net), torch.no_grad():\n    print(net(x))\n",
    "an unknown decorator that sets the mode": "from tools import in_eval_mode\n"
    + DROPPING
    + "@in_eval_mode\ndef predict(net):\n    with torch.no_grad():\n        return net(x)\nprint(predict(Net()))\n",
    "a lone layer": HEADER + "drop = nn.Dropout()\nwith torch.no_grad():\n    print(drop(torch.ones(4)))\n",
    "a trainer that sets the mode": DROPPING
    + """
class Trainer:
    def __init__(self, model):
        self.model = model
        self.model.eval()
    @torch.no_grad()
    def predict(self, x):
        return self.model(x)
print(Trainer(Net()).predict(x))
""",
    "a target network in one step of helpers": DROPPING
    + """
class Agent:
    def __init__(self, engine):
        self.engine, target = engine, Net()
        self.target = target
        self.net, self.optimizer = engine.prepare(Net(), None)
    @torch.no_grad()
    def returns(self, reward, x):
        return reward + 0.9 * self.target(x).max(1).values
    def error(self, reward, x):
        return F.mse_loss(self.net(x).max(1).values, self.returns(reward, x))
    def learn(self, reward, x):
        self.descend(self.error(reward, x))
    def descend(self, loss):
        self.engine.backward(loss)
        self.optimizer.step()
from elsewhere import engine
Agent(engine).learn(1.0, x)
""",
    "a target network in the steps of a loop": DROPPING
    + """
class Agent:
    def __init__(self, engine):
        self.engine, target = engine, Net()
        self.target = target
        self.net, self.optimizer = engine.prepare(Net(), None)
    @torch.no_grad()
    def returns(self, reward, x):
        return reward + 0.9 * self.target(x).max(1).values
    def error(self, reward, x):
        return F.mse_loss(self.net(x).max(1).values, self.returns(reward, x))
    def learn(self, reward, x):
        self.descend(self.error(reward, x))
    def descend(self, loss):
        self.engine.backward(loss)
        self.optimizer.step()

from elsewhere import engine
agent = Agent(engine)
for reward in torch.load("rewards.pt"):
    agent.learn(reward, x)
""",
}


@pytest.mark.parametrize(
    "source",
    [
        pytest.param(source, id=name)
        for group in (STRANGERS, GATED, PLACED, OPTIMIZED, USED)
        for name, source in group.items()
    ],
)
def test_right_code_is_silent(tmp_path: Path, source: str) -> None:
    """Nothing is reported of code that is right, or whose fault could not be told from the source."""
    path = tmp_path / "right.py"
    path.write_text(source)
    report = scan([path])
    assert [(each.code, each.line) for each in report.findings] == []
    assert report.not_checked == ()


def test_a_test_s_own_smoke_call_is_silent(tmp_path: Path) -> None:
    """A model called in train mode by a test itself is no prediction."""
    path = tmp_path / "test_net.py"
    path.write_text(DROPPING + "def test_shape():\n    with torch.no_grad():\n        assert Net()(x).sum() > 0\n")
    assert scan([path]).findings == ()
