"""Programs that predict or train in the wrong mode, in styles that hide it: parts, decorators, managers, counters."""

from __future__ import annotations

from pathlib import Path

from tests.faulty_and_right import found_and_marked

HEADER = """\
import functools
from contextlib import ExitStack, contextmanager

import torch
from torch import nn
from torch.nn import functional as F


class Reef(nn.Module):
    def __init__(self):
        super().__init__()
        self.encoder = nn.Sequential(nn.Linear(12, 24), nn.ReLU(), nn.Dropout(0.2), nn.Linear(24, 4))
        self.decoder = nn.Linear(4, 12)

    def forward(self, x):
        return self.decoder(self.encoder(x))

    def codes(self, x):
        return self.encoder(x)


def fit(model, batches):
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    model.train()
    for x in batches:
        optimizer.zero_grad()
        F.mse_loss(model(x), x).backward()
        optimizer.step()


class Timer:
    def __init__(self, function):
        self.function = function

    def __call__(self, *args):
        return self.function(*args)


def in_eval(training):
    def decorate(function):
        @functools.wraps(function)
        def wrapper(model, *args):
            was = model.training
            model.train(training)
            try:
                return function(model, *args)
            finally:
                model.train(was)
        return wrapper
    return decorate


"""

PREDICTING = {
    "a part, after training the whole": """\
def main(batches):
    reef = Reef()
    fit(reef, batches)
    embed(reef, batches)


def embed(reef, batches):
#    reef.eval()
    with torch.no_grad():
        return torch.cat([reef.encoder(x) for x in batches])  # <-
""",
    "a part, with loaded weights": """\
def main(batches):
    reef = Reef()
    reef.load_state_dict(torch.load("reef.pt"))
#    reef.eval()
    with torch.inference_mode():
        torch.save([reef.encoder(x) for x in batches], "codes.pt")  # <-


main([torch.randn(4, 12)])
""",
    "a part that only its own eval() reaches": """\
def main(batches):
    reef = Reef()
    fit(reef, batches)
&    reef.decoder.eval()
#    reef.encoder.eval()
    report(reef, batches)


@torch.no_grad()
def report(reef, batches):
    print([reef.encoder(x).argmax(1) for x in batches])  # <-
""",
    "a decorator with an argument, of the program's own": """\
&@in_eval(True)
#@in_eval(False)
@torch.no_grad()
def error(model, batches):
    return sum(F.l1_loss(model(x), x).item() for x in batches)  # <-


def main(batches):
    reef = Reef()
    fit(reef, batches)
    print(error(reef, batches))
""",
    "a class as a decorator": """\
@Timer
@torch.no_grad()
def error(model, batches):
#    model.eval()
    return sum(F.l1_loss(model(x), x).item() for x in batches)  # <-


def main(batches):
    reef = Reef()
    fit(reef, batches)
    print(error(reef, batches))
""",
    "one line for both, train mode for both": """\
class Runner:
    def __init__(self, model):
        self.model = model
        self.optimizer = torch.optim.SGD(model.parameters(), lr=0.1)

    def epoch(self, batches, learns):
&        self.model.train()
#        self.model.train(learns)
        total = 0.0
        for x in batches:
            with torch.set_grad_enabled(learns):
                loss = F.mse_loss(self.model(x), x)  # <-
            if learns:
                self.optimizer.zero_grad()
                loss.backward()
                self.optimizer.step()
            total += loss.item()
        return total


def main(batches):
    runner = Runner(Reef())
    for _ in range(9):
        print(runner.epoch(batches, True), runner.epoch(batches, False))
""",
    "map()": """\
def main(batches):
    reef = Reef()
    fit(reef, batches)
    report(reef, batches)


def report(reef, batches):
#    reef.eval()
    with torch.no_grad():
        print(torch.cat(list(map(lambda x: reef(x).argmax(1), batches))))  # <-
""",
    "gradients switched off by a function": """\
def quiet():
    torch.set_grad_enabled(False)


def main(batches):
    quiet()
    reef = Reef()
    reef.load_state_dict(torch.load("reef.pt"))
#    reef.eval()
    torch.save([reef(x) for x in batches], "scores.pt")  # <-


main([torch.randn(4, 12)])
""",
    "the method by its name": """\
def main(batches):
    reef = Reef()
    fit(reef, batches)
#    getattr(reef, "eval")()
    score(reef, batches)


def score(reef, batches):
    with torch.no_grad():
        print(sum((reef(x) - x).abs().mean() for x in batches))  # <-
""",
}

SOUND_PREDICTIONS = {
    "targets of the training step by a part": """\
class Pair(nn.Module):
    def __init__(self):
        super().__init__()
        self.student, self.teacher = Reef(), Reef()

    def forward(self, x):
        return self.student(x)

    def loss(self, x):
        with torch.no_grad():
            goal = self.teacher(x)
        return F.mse_loss(self(x), goal)


def main(batches):
    pair = Pair()
    optimizer = torch.optim.SGD(pair.student.parameters(), lr=0.1)
    for x in batches:
        optimizer.zero_grad()
        pair.loss(x).backward()
        optimizer.step()
""",
    "actions by a part between updates": """\
class Agent(nn.Module):
    def __init__(self):
        super().__init__()
        self.body, self.policy = Reef(), nn.Sequential(nn.Linear(12, 8), nn.Dropout(0.1), nn.Linear(8, 3))
        self.value = nn.Linear(12, 1)

    def forward(self, seen):
        h = self.body(seen)
        return self.policy(h), self.value(h)

    @torch.no_grad()
    def act(self, seen):
        return torch.distributions.Categorical(logits=self.policy(self.body(seen))).sample()


def main(env):
    agent = Agent()
    optimizer = torch.optim.Adam(agent.parameters())
    for _ in range(99):
        memory = []
        for _ in range(64):
            seen = env.seen()
            memory.append((seen, *env.step(agent.act(seen))))
        for seen, action, gain in memory:
            logits, value = agent(seen)
            loss = F.cross_entropy(logits, action) + (value - gain).square().mean()
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
""",
    "unknown code is to set the mode back": """\
def main(batches):
    reef = Reef()
    fit(reef, batches)
    with ExitStack() as stack:
        reef.eval()
        stack.callback(reef.train)
        with torch.no_grad():
            print(sum((reef(x) - x).abs().mean() for x in batches))
    fit_on(reef, batches)


def fit_on(reef, batches):
    optimizer = torch.optim.SGD(reef.parameters(), lr=0.1)
    for x in batches:
        optimizer.zero_grad()
        F.mse_loss(reef(x), x).backward()
        optimizer.step()
""",
}

TRAINING = {
    "a manager that switches gradients off, and leaves eval mode on": """\
@contextmanager
def looking(model):
    model.eval()
    with torch.no_grad():
        yield model
#    model.train()


def main(batches):
    reef = Reef()
    optimizer = torch.optim.SGD(reef.parameters(), lr=0.1)
    for _ in range(9):
        for x in batches:
            optimizer.zero_grad()
            F.mse_loss(reef(x), x).backward()  # <-
            optimizer.step()
        with looking(reef):
            print(sum(F.l1_loss(reef(x), x).item() for x in batches))
""",
    "a decorator that leaves eval mode on": """\
def looking(method):
    @functools.wraps(method)
    def wrapper(self, *args):
        self.model.eval()
        with torch.no_grad():
            result = method(self, *args)
#        self.model.train()
        return result
    return wrapper


class Loop:
    def __init__(self, model):
        self.model = model
        self.optimizer = torch.optim.SGD(model.parameters(), lr=0.1)

    @looking
    def error(self, batches):
        return sum(F.l1_loss(self.model(x), x).item() for x in batches)

    def run(self, batches):
        for _ in range(9):
            for x in batches:
                self.optimizer.zero_grad()
                F.mse_loss(self.model(x), x).backward()  # <-
                self.optimizer.step()
            print(self.error(batches))


Loop(Reef()).run([torch.randn(4, 12)] * 9)
""",
    "a counter of steps decides when to look": """\
def main(batches, every=50):
    reef, step = Reef(), 0
    optimizer = torch.optim.SGD(reef.parameters(), lr=0.1)
    for _ in range(9):
        reef.train()
        for x in batches:
            optimizer.zero_grad()
            F.mse_loss(reef(x), x).backward()  # <-
            optimizer.step()
            step += 1
            if step % every == 0:
                reef.eval()
                with torch.no_grad():
                    print(sum(F.l1_loss(reef(x), x).item() for x in batches))
#                reef.train()
""",
}

SOUND_TRAINING = {
    "a counter ends the training": """\
def main(batches, patience=5):
    reef, worse, best = Reef(), 0, float("inf")
    optimizer = torch.optim.SGD(reef.parameters(), lr=0.1)
    for _ in range(99):
        reef.train()
        for x in batches:
            optimizer.zero_grad()
            F.mse_loss(reef(x), x).backward()
            optimizer.step()
        reef.eval()
        with torch.no_grad():
            error = sum(F.l1_loss(reef(x), x).item() for x in batches)
        worse = 0 if error < best else worse
        worse += 1
        if worse >= patience:
            break
    return reef
""",
    "a decorator of a registry": """\
STEPS = {}


def register(function):
    STEPS[function.__name__] = function
    return function


@register
def look(model, batches):
    model.eval()
    with torch.no_grad():
        error = sum(F.l1_loss(model(x), x).item() for x in batches)
    model.train()
    return error


def main(batches):
    reef = Reef()
    optimizer = torch.optim.SGD(reef.parameters(), lr=0.1)
    for _ in range(9):
        for x in batches:
            optimizer.zero_grad()
            F.mse_loss(reef(x), x).backward()
            optimizer.step()
        print(look(reef, batches))
""",
}


def test_predictions_in_train_mode(tmp_path: Path) -> None:
    """Each program predicts in train mode at its marked line; its right form, and sound programs, are silent."""
    found, expected = found_and_marked(tmp_path, "REG201", HEADER, PREDICTING, SOUND_PREDICTIONS)
    assert found == expected


def test_training_in_eval_mode(tmp_path: Path) -> None:
    """Each program trains in eval mode at its marked line; its right form, and sound programs, are silent."""
    found, expected = found_and_marked(tmp_path, "REG206", HEADER, TRAINING, SOUND_TRAINING | SOUND_PREDICTIONS)
    assert found == expected
