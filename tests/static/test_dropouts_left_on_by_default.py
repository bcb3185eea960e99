"""REG202 in source: rates that the top of a file parses, and arguments whose default is to train."""

from __future__ import annotations

from pathlib import Path

from ..faulty_and_right import found_and_marked

HEADER = """\
import argparse
import torch
import torch.nn.functional as F
from torch import nn
from data import loader, x_test, rows


def fit(net, loader, **options):
    optimizer = torch.optim.SGD(net.parameters(), lr=0.1)
    net.train()
    for x, y in loader:
        loss = F.mse_loss(net(x, **options), y)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()


class Layers(nn.Module):
    def __init__(self):
        super().__init__()
        self.first, self.last = nn.Linear(8, 64), nn.Linear(64, 1)


"""

OPTIONS = {
    "an option": """
parser = argparse.ArgumentParser()
parser.add_argument("--rate", type=float, default=0.3)
options = parser.parse_args()

class Net(Layers):
    def forward(self, x):
        &x = F.dropout(self.first(x), options.rate)  # <-
        #x = F.dropout(self.first(x), options.rate, self.training)
        return self.last(x)
""",
    "an option of a group": """
parser = argparse.ArgumentParser(description="fit")
model_options = parser.add_argument_group("model")
model_options.add_argument("--p-drop", default=0.1, type=float)
parser.add_argument("--epochs", default=3, type=int)
args, _ = parser.parse_known_args()

class Net(Layers):
    def forward(self, x):
        &return self.last(F.dropout(self.first(x), p=args.p_drop))  # <-
        #return self.last(F.dropout(self.first(x), p=args.p_drop, training=self.training))
""",
    "the defaults in a notebook": """
parser = argparse.ArgumentParser()
parser.add_argument("-d", "--dropout", type=float, default=0.5)
args = parser.parse_args(args=[])

class Net(Layers):
    def forward(self, x):
        h = torch.relu(self.first(x))
        &h = F.dropout(h, args.dropout)  # <-
        #h = F.dropout(h, args.dropout) if self.training else h
        return self.last(h)
""",
    "an option that is zero by default": """
parser = argparse.ArgumentParser()
&parser.add_argument("--rate", type=float, default=0.3)
#parser.add_argument("--rate", type=float, default=0.0)
options = parser.parse_args()

class Net(Layers):
    def forward(self, x):
        return self.last(F.dropout(self.first(x), options.rate))  # <-
""",
}

ARGUMENTS = {
    "by position in a script": """
class Net(Layers):
    def forward(self, x, train=True):
        h = F.dropout(torch.relu(self.first(x)), 0.5, training=train)  # <-
        return self.last(h)

net = Net()
fit(net, loader, train=True)
net.eval()
with torch.no_grad():
    &print(net(x_test).mean())
    #print(net(x_test, False).mean())
""",
    "by name in a trainer": """
class Net(Layers):
    def forward(self, x, *, is_training=True):
        h = F.dropout(self.first(x), p=0.2, training=is_training)  # <-
        return self.last(h)

class Trainer:
    def __init__(self):
        self.net = Net()

    def fit(self):
        fit(self.net, loader, is_training=True)

    @torch.no_grad()
    def predict(self):
        self.net.eval()
        &return [self.net(x) for x in rows]
        #return [self.net(x, is_training=False) for x in rows]

trainer = Trainer()
trainer.fit()
print(trainer.predict())
""",
    "the other way round": """
class Policy(Layers):
    def forward(self, x, deterministic=False):
        h = self.first(x)
        h = F.dropout(h, 0.1, training=not deterministic)  # <-
        return self.last(h)

def act(policy, state):
    with torch.inference_mode():
        &return policy(state)
        #return policy(state, deterministic=True)

def main():
    policy = Policy()
    fit(policy, loader)
    policy.eval()
    print(act(policy, x_test))

main()
""",
    "handed on to a block": """
class Block(Layers):
    def forward(self, x, training):
        return self.last(F.dropout(self.first(x), 0.3, training))  # <-

class Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.block = Block()

    &def forward(self, x, training=True):
    #def forward(self, x, training=False):
        return self.block(x, training)

def main():
    net = Net()
    fit(net, loader, training=True)
    net.eval()
    with torch.no_grad():
        for x in rows:
            print(net(x))

main()
""",
}

SOUND = {
    "several draws of one input": """
class Net(Layers):
    def forward(self, x, train=True):
        return self.last(F.dropout(self.first(x), 0.5, training=train))

net = Net()
fit(net, loader)
net.eval()
with torch.no_grad():
    draws = torch.stack([net(x_test) for _ in range(30)])
print(draws.std(0))
""",
    "a teacher in train mode": """
class Net(Layers):
    def forward(self, x, train=True):
        return self.last(F.dropout(self.first(x), 0.5, training=train))

teacher, net = Net(), Net()
optimizer = torch.optim.SGD(net.parameters(), lr=0.1)
for x, _ in loader:
    with torch.no_grad():
        goal = teacher(x)
    F.mse_loss(net(x), goal).backward()
    optimizer.step()
""",
    "no prediction in the program": """
class Net(Layers):
    def forward(self, x, train=True):
        return self.last(F.dropout(self.first(x), 0.5, training=train))

fit(Net(), loader)
""",
    "an option that the program sets": """
parser = argparse.ArgumentParser()
parser.add_argument("--never", type=float, default=0.3)
options = parser.parse_args()

class Net(Layers):
    def forward(self, x):
        return self.last(F.dropout(self.first(x), options.never, training=self.training))
""",
}


def test_dropouts_that_a_default_leaves_on_are_found(tmp_path: Path) -> None:
    """A parsed rate counts with its default, and an argument that predictions leave out with its own."""
    found, expected = found_and_marked(tmp_path, "REG202", HEADER, OPTIONS | ARGUMENTS, SOUND)
    assert found == expected
