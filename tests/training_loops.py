"""Training loops, each with a mode that lingers, and the same loop with the mode set right."""

from __future__ import annotations

from .faulty_and_right import form
from .runtime.conftest import PRELUDE

COMMON = """\
from torch.nn import functional as F

torch.manual_seed(0)
rows = torch.randn(6, 4, 8)
labels = torch.tensor([0, 1, 0, 1])
model = Net()
optimizer = torch.optim.SGD(model.parameters(), lr=0.01)


def update(loss):
    optimizer.zero_grad()
    loss.backward()
    optimizer.step()


def accuracy(net):
    net.eval()
    with torch.no_grad():
        return sum((net(row).argmax(1) == labels).float().mean().item() for row in rows[:2])


"""

LOOPS = {
    "validation inline, train() ahead of the epochs": """
def fit():
    &model.train()
    for epoch in range(3):
        #model.train()
        for row in rows:
            update(F.cross_entropy(model(row), labels))  # <-
        model.eval()
        with torch.no_grad():
            print(sum(model(row).argmax(1).sum().item() for row in rows))
fit()
""",
    "a script that prints every fourth step": """
for step in range(12):
    #model.train()
    update(F.cross_entropy(model(rows[step % 6]), labels))  # <-
    if step % 4 == 3:
        model.eval()
        with torch.no_grad():
            print(model(rows[0]).argmax(1))
""",
    "validation in the middle of each epoch": """
def epoch():
    model.train()
    for number, row in enumerate(rows):
        update(F.cross_entropy(model(row), labels))  # <-
        if number % 3 == 2:
            accuracy(model)
            #model.train()
for _ in range(2):
    epoch()
    accuracy(model)
""",
    "one line for training and validation, in closures": """
def main():
    def loss_of(row):
        return F.cross_entropy(model(row), labels)  # <-
    def learn():
        model.train()
        for number, row in enumerate(rows):
            update(loss_of(row))
            if number == 3:
                look()
                #model.train()
    @torch.no_grad()
    def look():
        model.eval()
        return sum(loss_of(row).item() for row in rows[:2])
    for _ in range(3):
        learn()
        look()
main()
""",
    "validation with gradients on": """
def check():
    model.eval()
    return sum(F.cross_entropy(model(row), labels).item() for row in rows[:2])
def fit():
    &model.train()
    for _ in range(3):
        #model.train()
        for row in rows:
            update(F.cross_entropy(model(row), labels))  # <-
        check()
fit()
""",
    "a helper that flips the mode ahead of the forward": """
def present(row):
    model.eval()
    with torch.no_grad():
        return model(row).argmax(1)
def loss_of(row):
    &model.train()
    guess = present(row)
    #model.train()
    scores = model(row)  # <-
    return F.cross_entropy(scores, labels) + 0.1 * F.cross_entropy(scores, guess)
for row in rows:
    update(loss_of(row))
""",
    "eval() of the module around": """
class Task(nn.Module):
    def __init__(self, net):
        super().__init__()
        self.net = net
    def step(self, row):
        return F.cross_entropy(self.net(row), labels)  # <-
task = Task(model)
def validate():
    task.eval()
    with torch.no_grad():
        return (task.net(rows[0]).argmax(1) == labels).float().mean()
for row in rows:
    #task.train()
    update(task.step(row))
    validate()
""",
    "a trainer object that validates ahead of its first step": """
class Loop:
    def validate(self):
        model.eval()
        with torch.no_grad():
            return sum(F.cross_entropy(model(row), labels).item() for row in rows[:2])
    def epoch(self):
        model.train()
        for number, row in enumerate(rows):
            if number % 5 == 0:
                self.validate()
                #model.train()
            update(F.cross_entropy(model(row), labels))  # <-
loop = Loop()
loop.epoch()
loop.epoch()
""",
    "validation after every epoch but the last": """
for epoch in range(3):
    #model.train()
    for row in rows:
        update(F.cross_entropy(model(row), labels))  # <-
    if epoch < 2:
        accuracy(model)
""",
    "train() never called": """
def run(epochs=2):
    for _ in range(epochs):
        #model.train()
        for row in rows:
            update(F.cross_entropy(model(row), labels))  # <-
        accuracy(model)
run()
""",
    "a validation handed in as a callback": """
def fit(after):
    &model.train()
    for number, row in enumerate(rows):
        #model.train()
        update(F.cross_entropy(model(row), labels))  # <-
        after(number)
fit(lambda number: accuracy(model) if number % 2 else None)
""",
    "accumulated gradients": """
def fit():
    for start in range(0, 6, 2):
        #model.train()
        for row in rows[start:start + 2]:
            (F.cross_entropy(model(row), labels) / 2).backward()  # <-
        optimizer.step()
        optimizer.zero_grad()
        accuracy(model)
fit()
""",
    "an optimizer that calls a closure": """
def fit():
    def closure():
        optimizer.zero_grad()
        loss = F.cross_entropy(model(rows[0]), labels)  # <-
        loss.backward()
        return loss
    for _ in range(3):
        #model.train()
        optimizer.step(closure)
        accuracy(model)
fit()
""",
    "eval mode set by train(False)": """
def validate(flag=False):
    model.train(flag)
    with torch.inference_mode():
        return model(rows[0]).argmax(1)
for row in rows:
    #model.train()
    update(F.cross_entropy(model(row), labels))  # <-
    validate()
""",
    "predictions written out by a generator": """
def predictions():
    model.eval()
    with torch.no_grad():
        for row in rows[:2]:
            yield model(row).argmax(1)
for row in rows:
    #model.train()
    update(F.cross_entropy(model(row), labels))  # <-
    list(predictions())
""",
    "a baseline taken ahead of the training": """
def fit():
    for row in rows:
        update(F.cross_entropy(model(row), labels))  # <-
accuracy(model)
#model.train()
fit()
""",
    "validation in a callback object": """
class Watcher:
    def after_batch(self, loop):
        if loop.seen % 2:
            print(accuracy(loop.net))
            #loop.net.train()
class Loop:
    def __init__(self, net, callbacks):
        self.net, self.callbacks, self.seen = net, callbacks, 0
    def run(self):
        self.net.train()
        for row in rows:
            update(F.cross_entropy(self.net(row), labels))  # <-
            self.seen += 1
            for each in self.callbacks:
                each.after_batch(self)
Loop(model, [Watcher()]).run()
""",
    "validation in a finally": """
def epoch(net):
    try:
        for row in rows:
            update(F.cross_entropy(net(row), labels))  # <-
    finally:
        print(accuracy(net))
for _ in range(2):
    #model.train()
    epoch(model)
""",
    "a context manager that does not restore": """
import contextlib
@contextlib.contextmanager
def evaluating(net):
    net.eval()
    with torch.no_grad():
        yield net
    #net.train()
def main():
    model.train()
    for row in rows:
        update(F.cross_entropy(model(row), labels))  # <-
        with evaluating(model) as net:
            print(net(rows[0]).argmax(1))
main()
""",
    "eval() in __enter__ and nothing in __exit__": """
class Frozen:
    def __init__(self, net):
        self.net, self.was = net, net.training
    def __enter__(self):
        self.net.eval()
        return self.net
    def __exit__(self, *error):
        &pass
        #self.net.train(self.was)
for step, row in enumerate(rows):
    logits = model(row)  # <-
    update(F.cross_entropy(logits, labels))
    if step % 2 == 0:
        with Frozen(model) as net, torch.no_grad():
            hits = (net(rows[0]).argmax(1) == labels).sum()
""",
    "early stopping asks every few steps": """
def evaluate(net):
    net.eval()
    losses = [F.cross_entropy(net(row), labels).detach().item() for row in rows[:2]]
    #net.train()
    return sum(losses)
def fit(net, patience=2):
    net.train()
    best, waited, step = float("inf"), 0, 0
    while waited < patience and step < 9:
        step += 1
        update(F.cross_entropy(net(rows[step % 6]), labels))  # <-
        if step % 3 == 0:
            loss = evaluate(net)
            waited = 0 if loss < best else waited + 1
            best = min(best, loss)
fit(model)
""",
    "a new model for each fold": """
def fold(number):
    net = Net()
    steps = torch.optim.SGD(net.parameters(), lr=0.01)
    &net.train()
    for epoch in range(2):
        #net.train()
        for index, row in enumerate(rows):
            if index != number:
                loss = F.cross_entropy(net(row), labels)  # <-
                steps.zero_grad()
                loss.backward()
                steps.step()
        print(accuracy(net))
for number in range(3):
    fold(number)
""",
    "two models of which one is left in eval mode": """
class Pair:
    def __init__(self):
        self.first, self.second = Net(), nn.Sequential(nn.Linear(2, 8), nn.Dropout(0.5), nn.Linear(8, 2))
        self.steps = torch.optim.SGD([*self.first.parameters(), *self.second.parameters()], lr=0.01)
    def learn(self, row):
        hidden = self.first(row)
        loss = F.cross_entropy(self.second(hidden), labels)  # <-
        self.steps.zero_grad()
        loss.backward()
        self.steps.step()
    def check(self):
        self.first.eval()
        self.second.eval()
        with torch.no_grad():
            print(self.second(self.first(rows[0])).argmax(1))
        self.first.train()
        #self.second.train()
pair = Pair()
for row in rows:
    pair.learn(row)
    pair.check()
""",
    "trainers within trainers": """
class Step:
    def __init__(self, outer):
        self.outer = outer
    def __call__(self, row):
        return F.cross_entropy(self.outer.outer.net(row), labels)  # <-
class Epoch:
    def __init__(self, outer):
        self.outer, self.step = outer, Step(self)
    def run(self):
        for row in rows:
            update(self.step(row))
class Trainer:
    def __init__(self, net):
        self.net, self.epoch = net, Epoch(self)
    def fit(self):
        self.net.train()
        for _ in range(2):
            self.epoch.run()
            self.score()
            #self.net.train()
    def score(self):
        return accuracy(self.net)
Trainer(model).fit()
""",
    "one line for training and validation, with gradients on": """
def epoch(net, training):
    total = 0.0
    for number, row in enumerate(rows):
        loss = F.cross_entropy(net(row), labels)  # <-
        total += loss.item()
        if training:
            update(loss)
    return total
model.train()
for _ in range(3):
    #model.train()
    epoch(model, True)
    model.eval()
    print(epoch(model, False))
""",
    "a compiled model": """
compiled = torch.compile(model, backend="eager")
def fit():
    compiled.train()
    for row in rows:
        update(F.cross_entropy(compiled(row), labels))  # <-
        compiled.eval()
        with torch.no_grad():
            print(compiled(rows[0]).argmax(1))
        #compiled.train()
fit()
""",
    "a model in DataParallel": """
wrapped = nn.DataParallel(model)
for _ in range(2):
    #wrapped.train()
    for row in rows:
        update(F.cross_entropy(wrapped(row), labels))  # <-
    accuracy(wrapped)
""",
    "autocast and a gradient scaler": """
scaler = torch.amp.GradScaler("cpu", enabled=False)
def fit(net):
    net.train()
    for number, row in enumerate(rows):
        with torch.autocast("cpu", dtype=torch.bfloat16):
            loss = F.cross_entropy(net(row), labels)  # <-
        optimizer.zero_grad(set_to_none=True)
        scaler.scale(loss).backward()
        scaler.step(optimizer)
        scaler.update()
        if number == 2:
            accuracy(net)
            #net.train()
fit(model)
""",
    "LBFGS": """
steps = torch.optim.LBFGS(model.parameters(), lr=0.01, max_iter=3)
def closure():
    steps.zero_grad()
    loss = F.cross_entropy(model(rows[0]), labels)  # <-
    loss.backward()
    return loss
for _ in range(3):
    #model.train()
    steps.step(closure)
    print(accuracy(model))
""",
    "optimizers that step within the backward pass": """
steps = {each: torch.optim.SGD([each], lr=0.01) for each in model.parameters()}
def step(parameter):
    steps[parameter].step()
    steps[parameter].zero_grad()
for parameter in steps:
    parameter.register_post_accumulate_grad_hook(step)
def fit():
    for row in rows:
        #model.train()
        F.cross_entropy(model(row), labels).backward()  # <-
        accuracy(model)
fit()
""",
    "an accelerator that owns the backward pass": """
class Accelerator:
    def prepare(self, *things):
        return things
    def backward(self, loss):
        loss.backward()
    def step(self, steps):
        steps.step()
        steps.zero_grad()
accelerator = Accelerator()
net, steps = accelerator.prepare(model, optimizer)
def main():
    net.train()
    for number, row in enumerate(rows):
        loss = F.cross_entropy(net(row), labels)  # <-
        accelerator.backward(loss)
        accelerator.step(steps)
        if number % 2:
            accuracy(net)
            #net.train()
if __name__ in ("__main__", "program"):
    main()
""",
}
"""Lines that begin with `&` stand in the faulty loop only, lines that begin with `#` in the right one only."""

RIGHT = {
    "eval mode for the rest of the training": """
model.train()
update(F.cross_entropy(model(rows[0]), labels))
model.eval()
for row in rows:
    update(F.cross_entropy(model(row), labels))
""",
    "eval mode from the start, and a validation that sets it again": """
model.eval()
for _ in range(2):
    for row in rows:
        update(F.cross_entropy(model(row), labels))
    accuracy(model)
""",
    "eval mode set ahead of each epoch": """
for _ in range(2):
    accuracy(model)
    model.train(False)
    for row in rows:
        update(F.cross_entropy(model(row), labels))
""",
    "eval mode for a step that leaves out a result of its line": """
def scores(row):
    return model(row)
model.eval()
for row in rows:
    target = scores(row).softmax(1).detach()
    update(F.cross_entropy(scores(row + 0.1), target))
""",
    "eval mode for accumulated gradients in which some results are left out": """
model.eval()
for start in (0, 2, 4):
    pieces = [model(row) for row in rows[start:start + 2]]
    for piece in pieces[:1]:
        F.cross_entropy(piece, labels).backward()
    optimizer.step()
""",
    "an attack on a model in eval mode": """
def attack(row):
    row = row.clone().requires_grad_()
    F.cross_entropy(model(row), labels).backward()
    return (row + row.grad.sign()).detach()
accuracy(model)
for row in rows:
    attack(row)
""",
}


def variant(loop: str, faulty: bool) -> str:
    return PRELUDE + COMMON + form(loop, faulty)


def marked(source: str) -> int:
    """The line of the training call."""
    (line,) = [number for number, text in enumerate(source.splitlines(), 1) if text.endswith("# <-")]
    return line
