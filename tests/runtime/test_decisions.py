"""The decision tables of the rules about modes, walked row by row: each program runs under a watch and is judged."""

from __future__ import annotations

import textwrap
from dataclasses import dataclass
from pathlib import Path

import pytest

from regcheck.core.finding import Severity, Verdict
from regcheck.session.session import Session

from .conftest import See

RULES = ("REG201", "REG204", "REG206", "REG208")

PARTS = """\
from torch.nn import functional as F

y = torch.zeros(4, dtype=torch.long)


def fit(model, optimizer, steps=2):
    for _ in range(steps):
        optimizer.zero_grad()
        F.cross_entropy(model(x), y).backward()
        optimizer.step()


def sgd(model):
    return torch.optim.SGD(model.parameters(), lr=0.01)


def trained():
    model = Net()
    fit(model, sgd(model))
    return model


class Pretrained(Net):
    @classmethod
    def from_pretrained(cls):
        model = cls()
        model.eval()
        return model


class Classifier(nn.Module):
    def __init__(self, backbone):
        super().__init__()
        self.backbone, self.drop, self.top = backbone, nn.Dropout(0.2), nn.Linear(2, 2)

    def forward(self, x):
        return self.top(self.drop(self.backbone(x)))


"""


OWN_CALL = """
        class Processed(nn.Module):
            def __init__(self):
                super().__init__()
                self.net = Net()
            def __call__(self, *given):
                return self.forward(*given)
            def forward(self, x):
                return self.net(x)
"""


@dataclass(frozen=True)
class Row:
    """A program; what is reported of it: codes and severities, each at the line that ends in a `# <-`."""

    program: str
    reports: tuple[str, ...] = ()
    name: str = "program.py"


ROWS = {
    # Gradients off, in no function that trains.
    "a prediction of a fresh model": Row(
        """
        def scores(model):
            with torch.no_grad():
                return model(x)  # <-
        scores(Net())
        """,
        ("REG201 error",),
    ),
    "a prediction after training": Row(
        """
        @torch.inference_mode()
        def scores(model):
            return model(x).softmax(1)  # <-
        scores(trained())
        """,
        ("REG201 error",),
    ),
    "a prediction after training in train mode by request": Row(
        """
        def scores(model):
            with torch.no_grad():
                return model(x)  # <-
        model = Net().train()
        fit(model, sgd(model))
        scores(model)
        """,
        ("REG201 error",),
    ),
    "validation forgets to switch, the next epoch follows": Row(
        """
        def validate(model):
            with torch.no_grad():
                return F.cross_entropy(model(x), y).item()  # <-
        def main(model, optimizer):
            for _ in range(2):
                fit(model, optimizer)
                validate(model)
        model = Net()
        main(model, sgd(model))
        """,
        ("REG201 error",),
    ),
    "eval of a part only": Row(
        """
        def scores(model):
            model.norm.eval()
            with torch.no_grad():
                return model(x)  # <-
        scores(Net())
        """,
        ("REG201 error",),
    ),
    "functional dropout by the model's mode": Row(
        """
        class Functional(nn.Module):
            def __init__(self):
                super().__init__()
                self.body, self.head = nn.Linear(8, 8), nn.Linear(8, 2)
            def forward(self, x):
                return self.head(F.dropout(self.body(x), 0.5, training=self.training))
        def scores(model):
            with torch.no_grad():
                return model(x)  # <-
        scores(Functional())
        """,
        ("REG201 error",),
    ),
    "in a thread": Row(
        """
        import threading
        def serve(model):
            with torch.no_grad():
                print(model(x).argmax(1))  # <-
        thread = threading.Thread(target=serve, args=(Net(),))
        thread.start()
        thread.join()
        """,
        ("REG201 error",),
    ),
    "compiled": Row(
        """
        def scores(model):
            with torch.no_grad():
                return model(x)  # <-
        scores(torch.compile(Net(), backend="eager"))
        """,
        ("REG201 error",),
    ),
    "one input again and again": Row(
        """
        def spread(model):
            with torch.no_grad():
                return torch.stack([model(x) for _ in range(8)]).std(0)  # <-
        spread(Net())
        """,
        ("REG201 info",),
    ),
    "a head put on after eval": Row(
        """
        def scores(model):
            with torch.no_grad():
                return model(x)  # <-
        model = Net().eval()
        model.head = nn.Sequential(nn.Linear(16, 16), nn.Dropout(0.5), nn.Linear(16, 2))
        scores(model)
        """,
        ("REG201 info",),
    ),
    "by a model that does without torch's own call": Row(
        OWN_CALL
        + """
        model = Processed()
        model.train()
        for _ in range(2):
            F.cross_entropy(model(x), y).backward()
            sgd(model).step()
        def predict(model):
            with torch.no_grad():
                return model(x)  # <-
        predict(model)
        """,
        ("REG201 error",),
    ),
    "by a model that does without torch's own call, in eval mode": Row(
        OWN_CALL
        + """
        model = Processed()
        F.cross_entropy(model(x), y).backward()
        model.eval()
        with torch.no_grad():
            print(model(x).argmax(1))
        """
    ),
    "targets of a model that does without torch's own call": Row(
        OWN_CALL
        + """
        def step(student, teacher, optimizer):
            with torch.no_grad():
                targets = teacher(x).softmax(1)
            F.cross_entropy(student(x), targets).backward()
            optimizer.step()
        student, teacher = Processed(), Processed()
        for _ in range(2):
            step(student, teacher, sgd(student))
        """
    ),
    "by forward itself": Row(
        """
        class Features(nn.Module):
            def __init__(self):
                super().__init__()
                self.net = Net()
            @torch.no_grad()
            def forward(self, x):
                return self.net(x)
        def scores(model):
            return model.forward(x)  # <-
        scores(Features())
        """,
        ("REG201 error",),
    ),
    # Gradients off, in or below a function that trains.
    "validation at the end of the function that trains": Row(
        """
        def train(model, optimizer, epochs=2):
            for _ in range(epochs):
                F.cross_entropy(model(x), y).backward()
                optimizer.step()
                with torch.no_grad():
                    hits = (model(x).argmax(1) == y).float().mean()  # <-
            return hits
        model = Net()
        train(model, sgd(model))
        """,
        ("REG201 error",),
    ),
    "the loss of a validation in the function that trains": Row(
        """
        def train(model, optimizer, criterion):
            criterion(model(x), y).backward()
            optimizer.step()
            with torch.no_grad():
                outputs = model(x)  # <-
                return criterion(outputs, y).item()
        model = Net()
        train(model, sgd(model), nn.CrossEntropyLoss())
        """,
        ("REG201 error",),
    ),
    "phases of one loop, without eval": Row(
        """
        def run(model, optimizer):
            for phase in ("train", "val"):
                with torch.set_grad_enabled(phase == "train"):
                    outputs = model(x)  # <-
                    loss = F.cross_entropy(outputs, y)
                    if phase == "train":
                        loss.backward()
                        optimizer.step()
        model = Net()
        run(model, sgd(model))
        """,
        ("REG201 error",),
    ),
    "samples shown at the end of the function that trains": Row(
        """
        def train(model, optimizer, shown):
            model(x).square().mean().backward()
            optimizer.step()
            with torch.no_grad():
                shown.append(model(x))  # <-
        model = Net()
        train(model, sgd(model), [])
        """,
        ("REG201 info",),
    ),
    "validation called by the function that trains": Row(
        """
        def validate(model):
            with torch.no_grad():
                return model(x)  # <-
        def train(model, optimizer):
            for _ in range(2):
                F.cross_entropy(model(x), y).backward()
                optimizer.step()
                validate(model)
        model = Net()
        train(model, sgd(model))
        """,
        ("REG201 error",),
    ),
    "a prediction that a training step follows": Row(
        """
        def predict(model):
            with torch.no_grad():
                return model(x).argmax(1)  # <-
        def train(model, optimizer):
            for _ in range(2):
                labels = predict(model)
                F.cross_entropy(model(x), labels).backward()
                optimizer.step()
        model = Net()
        train(model, sgd(model))
        """,
        ("REG201 info",),
    ),
    "pseudo-labels": Row(
        """
        def step(model, optimizer):
            with torch.no_grad():
                labels = model(x).argmax(1)
            F.cross_entropy(model(x), labels).backward()
            optimizer.step()
        model = Net()
        for _ in range(3):
            step(model, sgd(model))
        """
    ),
    "pseudo-labels of a helper": Row(
        """
        def pseudo_labels(model):
            with torch.no_grad():
                return model(x).argmax(1)
        def step(model, optimizer):
            F.cross_entropy(model(x), pseudo_labels(model)).backward()
            optimizer.step()
        model = Net()
        for _ in range(3):
            step(model, sgd(model))
        """
    ),
    "a mean teacher": Row(
        """
        def step(student, teacher, optimizer):
            with torch.no_grad():
                target = teacher(x)
            F.mse_loss(student(x), target).backward()
            optimizer.step()
            for one, other in zip(teacher.parameters(), student.parameters()):
                one.data.lerp_(other.data, 0.1)
        student, teacher = Net(), Net()
        optimizer = sgd(student)
        for _ in range(3):
            step(student, teacher, optimizer)
        """
    ),
    "a teacher in the loss, another function goes back": Row(
        """
        def loss(student, teacher):
            with torch.no_grad():
                target = teacher(x)
            return F.mse_loss(student(x), target)
        def backward(value):
            value.backward()
        student, teacher = Net(), Net()
        optimizer = sgd(student)
        for _ in range(2):
            backward(loss(student, teacher))
            optimizer.step()
        """
    ),
    "a target network in a helper": Row(
        """
        @torch.no_grad()
        def returns(target, reward):
            return reward + 0.9 * target(x).max(1).values
        def update(net, target, optimizer):
            value = net(x).max(1).values
            F.mse_loss(value, returns(target, 1.0)).backward()
            optimizer.step()
        net, target = Net(), Net()
        for _ in range(2):
            update(net, target, sgd(net))
        """
    ),
    "a generator in the critic's step": Row(
        """
        def step(generator, critic, optimizer):
            with torch.no_grad():
                fake = generator(x)
            critic(fake).mean().backward()
            optimizer.step()
        generator, critic = Net(), nn.Linear(2, 1)
        for _ in range(2):
            step(generator, critic, sgd(critic))
        """
    ),
    "a generator sampled by a helper in the critic's step": Row(
        """
        def fakes(generator):
            with torch.no_grad():
                return generator(x)
        def step(generator, critic, optimizer):
            critic(fakes(generator)).mean().backward()
            optimizer.step()
        generator, critic = Net(), nn.Linear(2, 1)
        for _ in range(2):
            step(generator, critic, sgd(critic))
        """
    ),
    "a teacher and a student in helpers, propagated by a third": Row(
        """
        @torch.no_grad()
        def soft(teacher):
            return teacher(x).softmax(1)
        def scores(student):
            return student(x).log_softmax(1)
        def descend(loss, optimizer):
            loss.backward()
            optimizer.step()
        def step(student, teacher, optimizer):
            targets = soft(teacher)
            descend(F.cross_entropy(scores(student), targets), optimizer)
        student, teacher = Net(), Net()
        for _ in range(3):
            step(student, teacher, sgd(student))
        """
    ),
    "one step of it": Row(
        """
        @torch.no_grad()
        def soft(teacher):
            return teacher(x).softmax(1)
        def scores(student):
            return student(x).log_softmax(1)
        def descend(loss, optimizer):
            loss.backward()
            optimizer.step()
        def step(student, teacher, optimizer):
            targets = soft(teacher)
            descend(F.cross_entropy(scores(student), targets), optimizer)
        student, teacher = Net(), Net()
        step(student, teacher, sgd(student))
        """
    ),
    "a generator, its critic, the backward pass and the optimizer in helpers": Row(
        """
        def timed(function):
            return lambda *given: function(*given)
        def fakes(generator):
            with torch.no_grad():
                return generator(x)
        @timed
        def judged(critic, fake):
            return critic(fake).mean()
        @timed
        def backward(loss):
            loss.backward()
        @timed
        def advance(optimizer):
            optimizer.step()
        def step(generator, critic, optimizer):
            backward(judged(critic, fakes(generator)))
            advance(optimizer)
        generator, critic = Net(), nn.Linear(2, 1)
        for _ in range(2):
            step(generator, critic, sgd(critic))
        """
    ),
    "representations that are cached, and propagated chunk by chunk": Row(
        """
        def cached(model):
            with torch.no_grad():
                return model(x)
        def gradient(found):
            found.requires_grad_()
            found.square().mean().backward()
            return found.grad
        def again(model):
            return model(x)
        def chunks(model, gradients):
            (again(model) * gradients).sum().backward()
        def accumulate(model):
            chunks(model, gradient(cached(model)))
        def advance(optimizer):
            optimizer.step()
        def main(model, optimizer):
            for _ in range(2):
                accumulate(model)
                advance(optimizer)
        model = Net()
        main(model, sgd(model))
        """
    ),
    "targets that the loader asks for": Row(
        """
        class Batches:
            def __init__(self, teacher):
                self.teacher = teacher
            def __iter__(self):
                for _ in range(3):
                    yield self.soft()
            @torch.no_grad()
            def soft(self):
                return self.teacher(x).softmax(1)  # <-
        def step(student, optimizer, targets):
            F.cross_entropy(student(x), targets).backward()
            optimizer.step()
        student, teacher = Net(), Net()
        optimizer = sgd(student)
        for targets in Batches(teacher):
            step(student, optimizer, targets)
        """,
        ("REG201 info",),
    ),
    "targets made in a thread": Row(
        """
        from concurrent.futures import ThreadPoolExecutor
        @torch.no_grad()
        def soft(teacher):
            return teacher(x).softmax(1)  # <-
        def step(student, optimizer, targets):
            F.cross_entropy(student(x), targets.result()).backward()
            optimizer.step()
        student, teacher = Net(), Net()
        with ThreadPoolExecutor(1) as pool:
            for _ in range(3):
                step(student, sgd(student), pool.submit(soft, teacher))
        """,
        ("REG201 info",),
    ),
    "an agent that acts before each step": Row(
        """
        def act(policy):
            with torch.no_grad():
                return policy(x).argmax(1)  # <-
        def learn(policy, optimizer, taken):
            F.cross_entropy(policy(x), taken).backward()
            optimizer.step()
        policy = Net()
        optimizer = sgd(policy)
        for _ in range(3):
            taken = act(policy)
            learn(policy, optimizer, taken)
        """,
        ("REG201 info",),
    ),
    "a policy that gives a distribution, sampled from in the step": Row(
        """
        class Policy(Net):
            def forward(self, x):
                return torch.distributions.Categorical(logits=super().forward(x))
        @torch.no_grad()
        def act(policy):
            return policy(x).sample()
        def likelihood(policy, taken):
            return policy(x).log_prob(taken).mean()
        def descend(loss, optimizer):
            loss.neg().backward()
            optimizer.step()
        def step(policy, optimizer):
            descend(likelihood(policy, act(policy)), optimizer)
        policy = Policy()
        step(policy, sgd(policy))
        """
    ),
    "a score before the training": Row(
        """
        def accuracy(model):
            with torch.no_grad():
                return (model(x).argmax(1) == y).float().mean()  # <-
        model = Net()
        accuracy(model)
        fit(model, sgd(model))
        """,
        ("REG201 error",),
    ),
    "a score before each epoch": Row(
        """
        def accuracy(model):
            with torch.no_grad():
                return (model(x).argmax(1) == y).float().mean()  # <-
        model = Net()
        for _ in range(2):
            accuracy(model)
            fit(model, sgd(model), steps=3)
        """,
        ("REG201 error",),
    ),
    "a score after each epoch of a training in helpers": Row(
        """
        def scores(student):
            return student(x).log_softmax(1)
        def descend(loss, optimizer):
            loss.backward()
            optimizer.step()
        def epoch(student, optimizer):
            for _ in range(2):
                descend(F.nll_loss(scores(student), y), optimizer)
        def hits(student):
            with torch.no_grad():
                return (student(x).argmax(1) == y).sum()  # <-
        student = Net()
        for _ in range(2):
            epoch(student, sgd(student))
            hits(student)
        """,
        ("REG201 error",),
    ),
    "features of a frozen net compared in the loss": Row(
        """
        def perceptual(net, made, wanted):
            with torch.no_grad():
                target = net(wanted)
            return F.mse_loss(net(made), target)
        net, painter = Net().requires_grad_(False), nn.Linear(8, 8)
        optimizer = sgd(painter)
        for _ in range(2):
            perceptual(net, painter(x), x).backward()
            optimizer.step()
        """
    ),
    "validation through the line that is trained through": Row(
        """
        class Trainer:
            def __init__(self, model):
                self.model, self.optimizer = model, sgd(model)
            def run(self, given):
                return self.model(given)  # <-
            def training_step(self):
                self.model.train()
                F.cross_entropy(self.run(x), y).backward()
                self.optimizer.step()
            def validation_step(self):
                with torch.no_grad():
                    outputs = self.run(x)
                    return outputs.mean()
            def fit(self):
                for _ in range(2):
                    self.training_step()
                    self.validation_step()
        Trainer(Net()).fit()
        """,
        ("REG201 error",),
    ),
    "targets through the line that is trained through": Row(
        """
        class Trainer:
            def __init__(self, model):
                self.model, self.optimizer = model, sgd(model)
            def run(self, given):
                return self.model(given)  # <-
            def targets(self):
                with torch.no_grad():
                    return self.run(x).softmax(1)
            def loss(self):
                return F.cross_entropy(self.run(x), self.targets())
            def step(self, loss):
                loss.backward()
                self.optimizer.step()
            def fit(self):
                for _ in range(2):
                    self.step(self.loss())
                return self.targets()
        Trainer(Net()).fit()
        """,
        ("REG201 info",),
    ),
    "a model that calls itself again in its own loop": Row(
        """
        def cycles(model):
            given = x
            for last in (False, False, True):
                with torch.set_grad_enabled(last):
                    result = model(given)
                    given = x + result.mean()
            return result
        def validate_step(model, optimizer):
            F.cross_entropy(cycles(model), y).backward()
            optimizer.step()
        model = Net()
        for _ in range(2):
            validate_step(model, sgd(model))
        """
    ),
    # Flags that are set by hand.
    "the flag of the whole only, set by hand": Row(
        """
        def scores(model):
            model.training = False
            with torch.no_grad():
                return model(x)  # <-
        scores(Net())
        """,
        ("REG201 error",),
    ),
    "every flag, set by hand": Row(
        """
        def scores(model):
            for each in model.modules():
                each.training = False
            with torch.no_grad():
                return model(x)
        scores(trained())
        """
    ),
    "dropout switched on again by hand": Row(
        """
        def scores(model):
            model.eval()
            model.drop.training = True
            with torch.no_grad():
                return model(x)  # <-
        scores(trained())
        """,
        ("REG201 info",),
    ),
    # Train mode by request, or nothing to it.
    "a mode that the caller hands in": Row(
        """
        class Trainer:
            def __init__(self, model):
                self.model = model
            def switch(self, training):
                self.model.train(training)
            def evaluation_step(self, training=False):
                with torch.no_grad():
                    self.switch(training)
                    return self.model(x).argmax(1)
        trainer = Trainer(trained())
        trainer.evaluation_step()
        trainer.evaluation_step(training=True)
        """
    ),
    "update_bn": Row("torch.optim.swa_utils.update_bn([x], trained())"),
    "statistics taken anew by hand": Row(
        """
        def recalibrate(model):
            for each in model.modules():
                if isinstance(each, nn.BatchNorm1d):
                    each.reset_running_stats()
            with torch.no_grad():
                for _ in range(3):
                    unread = model(x)
        recalibrate(trained())
        """
    ),
    "statistics taken anew after train()": Row(
        """
        def recalibrate(model):
            model.train()
            with torch.no_grad():
                return [model(x).mean() for _ in range(3)]
        recalibrate(trained())
        """
    ),
    "Monte-Carlo dropout by train()": Row(
        """
        def spread(model):
            model.eval()
            model.drop.train()
            with torch.no_grad():
                return torch.stack([model(x) for _ in range(8)]).std(0)
        spread(trained())
        """
    ),
    "the width of the features": Row(
        """
        def width(model):
            with torch.no_grad():
                return model(x).shape[1]
        width(Net())
        """
    ),
    "nothing depends on the mode": Row(
        """
        def scores(model):
            with torch.no_grad():
                return model(x)
        scores(nn.Sequential(nn.Linear(8, 8), nn.LayerNorm(8), nn.Dropout(0.0), nn.Linear(8, 2)))
        """
    ),
    "a rate of zero, functional": Row(
        """
        class Functional(nn.Module):
            def __init__(self):
                super().__init__()
                self.dropout, self.head = 0.0, nn.Linear(8, 2)
            def forward(self, x):
                return self.head(F.dropout(x, self.dropout, self.training))
        def scores(model):
            with torch.no_grad():
                return model(x)
        scores(Functional())
        """
    ),
    "a test that wants train mode and asserts about it": Row(
        """
        def test_dropout_acts():
            model = Net().train()
            with torch.no_grad():
                assert not torch.equal(model(x), model(x))
        test_dropout_acts()
        """,
        name="test_program.py",
    ),
    "a test that asks train mode of the code under test": Row(
        """
        def scores(model):
            with torch.no_grad():
                return model(x)
        def test_dropout_acts():
            model = Net()
            model.train()
            assert not torch.equal(scores(model), scores(model))
        test_dropout_acts()
        """,
        name="test_program.py",
    ),
    "SimCSE": Row(
        """
        def step(model, optimizer):
            one, other = model(x), model(x)
            F.cross_entropy(one @ other.T, torch.arange(4)).backward()
            optimizer.step()
        model = Net()
        step(model, sgd(model))
        """
    ),
    "gradient checkpointing": Row(
        """
        from torch.utils.checkpoint import checkpoint
        def step(model, optimizer, reentrant):
            given = x.clone().requires_grad_()
            F.cross_entropy(checkpoint(model, given, use_reentrant=reentrant), y).backward()
            optimizer.step()
        model = Net()
        for reentrant in (True, False):
            step(model, sgd(model), reentrant)
        """
    ),
    # Gradients on.
    "predict() detaches, after training": Row(
        """
        def predict(model):
            return model(x).softmax(1).detach().numpy()  # <-
        predict(trained())
        """,
        ("REG201 error",),
    ),
    "evaluate() counts hits, after training": Row(
        """
        def evaluate(model):
            scores = model(x)  # <-
            predicted = scores.argmax(dim=1)
            return (predicted == y).sum().item()
        evaluate(trained())
        """,
        ("REG201 error",),
    ),
    "predict() of a model that was never trained": Row(
        """
        def predict(model):
            return model(x).argmax(1)  # <-
        predict(Net())
        """,
        ("REG201 info",),
    ),
    "validation with gradients on in the function that trains": Row(
        """
        def train(model, optimizer):
            F.cross_entropy(model(x), y).backward()
            optimizer.step()
            return F.cross_entropy(model(x), y).item()  # <-
        model = Net()
        train(model, sgd(model))
        """,
        ("REG201 info",),
    ),
    "a smoke run with gradients on": Row(
        """
        def smoke(model):
            scores = model(x)
            assert scores.shape == (4, 2)
            assert scores.detach().isfinite().all()
        smoke(Net())
        """
    ),
    "evaluate() of actions that a loss goes back through": Row(
        """
        def evaluate_actions(policy):
            logits = policy(x)
            return logits.log_softmax(1)[:, 0], logits.argmax(1)
        policy = Net()
        optimizer = sgd(policy)
        for _ in range(2):
            likelihood, _ = evaluate_actions(policy)
            likelihood.mean().neg().backward()
            optimizer.step()
        """
    ),
    "accuracy on the batch that is trained on": Row(
        """
        def train(model, optimizer):
            scores = model(x)
            F.cross_entropy(scores, y).backward()
            optimizer.step()
            return (scores.argmax(1) == y).float().mean()
        model = Net()
        train(model, sgd(model))
        """
    ),
    # REG204: eval() is called and does not reach.
    "dropout in a plain list": Row(
        """
        class Listed(nn.Module):
            def __init__(self):
                super().__init__()
                self.body, self.head = nn.Linear(8, 8), nn.Linear(8, 2)
                self.drops = [nn.Dropout(0.5)]
            def forward(self, x):
                return self.head(self.drops[0](self.body(x)))  # <-
        def scores(model):
            model.eval()
            with torch.no_grad():
                return model(x)
        scores(Listed())
        """,
        ("REG204 error",),
    ),
    "train() keeps dropout on": Row(
        """
        class Stubborn(nn.Module):
            def __init__(self):
                super().__init__()
                self.body, self.drop, self.head = nn.Linear(8, 8), nn.Dropout(0.5), nn.Linear(8, 2)
            def train(self, mode=True):
                super().train(mode)
                self.drop.training = True
                return self
            def forward(self, x):
                return self.head(self.drop(self.body(x)))  # <-
        model = Stubborn()
        model.eval()
        model(x)
        """,
        ("REG204 error",),
    ),
    "train() keeps batch norm frozen": Row(
        """
        class Frozen(Net):
            def train(self, mode=True):
                super().train(mode)
                self.norm.eval()
                return self
        model = Frozen()
        model.train()
        fit(model, sgd(model))
        model.eval()
        with torch.no_grad():
            print(model(x))
        """
    ),
    "a teacher kept out of reach, in eval mode": Row(
        """
        class Taught(nn.Module):
            def __init__(self):
                super().__init__()
                self.head = nn.Linear(8, 2)
                self.teacher = [nn.Sequential(nn.Linear(8, 8), nn.Dropout(0.5)).eval()]
            def forward(self, x):
                return self.head(self.teacher[0](x))
        model = Taught().eval()
        with torch.no_grad():
            print(model(x))
        """
    ),
    # REG208: a mode is not given back.
    "a validation thaws what was frozen": Row(
        """
        def validate(model):
            model.eval()
            with torch.no_grad():
                hits = (model(x).argmax(1) == y).sum()
            model.train()  # <-
            return hits
        model = Net()
        model.norm.eval()
        for _ in range(2):
            fit(model, sgd(model))
            validate(model)
        """,
        ("REG208 warning",),
    ),
    "a validation thaws all batch norms, the trainer steps elsewhere": Row(
        """
        class Trainer:
            def __init__(self):
                self.model = nn.Sequential(Net(), nn.BatchNorm1d(2), nn.Linear(2, 2))
                self.optimizer = sgd(self.model)
                for each in self.model.modules():
                    if isinstance(each, nn.BatchNorm1d):
                        each.eval()
            def loss(self):
                return F.cross_entropy(self.model(x), y)
            def step(self):
                self.optimizer.zero_grad()
                self.loss().backward()
                self.optimizer.step()
            def validate(self):
                self.model.eval()
                with torch.no_grad():
                    self.model(x).argmax(1)
                self.model.train()  # <-
            def run(self):
                for _ in range(3):
                    self.step()
                    self.validate()
        Trainer().run()
        """,
        ("REG208 warning",),
    ),
    "what was frozen is frozen again before each epoch": Row(
        """
        def validate(model):
            model.eval()
            with torch.no_grad():
                model(x).argmax(1)
            model.train()
        model = Net()
        for _ in range(3):
            model.norm.eval()
            fit(model, sgd(model))
            validate(model)
        """
    ),
    "what was frozen is frozen again until it is let go": Row(
        """
        def validate(model):
            model.eval()
            with torch.no_grad():
                model(x).argmax(1)
            model.train()
        model = Net()
        for epoch in range(4):
            if epoch < 2:
                model.norm.eval()
            fit(model, sgd(model))
            validate(model)
        """
    ),
    "the training itself lets go of what was frozen": Row(
        """
        def train(model, optimizer):
            for epoch in range(3):
                model.train()
                if epoch < 1:
                    model.norm.eval()
                fit(model, optimizer)
                model.eval()
                with torch.no_grad():
                    model(x).argmax(1)
        model = Net()
        train(model, sgd(model))
        """
    ),
    "frozen, and never trained on so": Row(
        """
        def validate(model):
            model.eval()
            with torch.no_grad():
                model(x).argmax(1)
            model.train()
        model = Net()
        model.norm.eval()
        validate(model)
        fit(model, sgd(model))
        """
    ),
    "a train() that keeps what is frozen": Row(
        """
        class Kept(Net):
            def train(self, mode=True):
                super().train(mode)
                self.norm.eval()
                return self
        def validate(model):
            model.eval()
            with torch.no_grad():
                model(x).argmax(1)
            model.train()
        model = Kept()
        model.train()
        for _ in range(2):
            fit(model, sgd(model))
            validate(model)
        """
    ),
    "each part is given its own mode back": Row(
        """
        def validate(model):
            was = [(each, each.training) for each in model.modules()]
            model.eval()
            with torch.no_grad():
                model(x).argmax(1)
            for each, training in was:
                each.training = training
        model = Net()
        model.norm.eval()
        for _ in range(2):
            fit(model, sgd(model))
            validate(model)
        """
    ),
    "an error leaves eval mode behind": Row(
        """
        def validate(model, given):
            model.eval()
            with torch.no_grad():
                model(given).argmax(1)
            model.train()
        def train(model, optimizer, validations):
            for given in validations:
                F.cross_entropy(model(x), y).backward()  # <-
                optimizer.step()
                try:
                    validate(model, given)
                except RuntimeError:
                    print("this epoch cannot be validated")
        model = Net()
        train(model, sgd(model), (x, x[:, :3], x))
        """,
        ("REG206 warning",),
    ),
    "an early return leaves eval mode behind": Row(
        """
        def validate(model, given):
            model.eval()
            with torch.no_grad():
                hits = (model(given).argmax(1) == 0).sum()
            if len(given) < 4:
                return None
            model.train()
            return hits
        def train(model, optimizer, validations):
            for given in validations:
                F.cross_entropy(model(x), y).backward()  # <-
                optimizer.step()
                validate(model, given)
        model = Net()
        train(model, sgd(model), (x, x[:2], x))
        """,
        ("REG206 warning",),
    ),
    "an error passes through a mode that is given back": Row(
        """
        def validate(model, given):
            was = model.training
            model.eval()
            try:
                with torch.no_grad():
                    model(given).argmax(1)
            finally:
                model.train(was)
        def train(model, optimizer, validations):
            for given in validations:
                F.cross_entropy(model(x), y).backward()
                optimizer.step()
                try:
                    validate(model, given)
                except RuntimeError:
                    print("this epoch cannot be validated")
        model = Net()
        train(model, sgd(model), (x, x[:, :3], x))
        """
    ),
    # REG206: trained in eval mode.
    "validation never switches back": Row(
        """
        def validate(model):
            model.eval()
            with torch.no_grad():
                return model(x)
        def train(model, optimizer):
            for _ in range(2):
                F.cross_entropy(model(x), y).backward()  # <-
                optimizer.step()
                validate(model)
        model = Net()
        train(model, sgd(model))
        """,
        ("REG206 warning",),
    ),
    "validation never switches back, another function goes back": Row(
        """
        def validate(model):
            model.eval()
            with torch.no_grad():
                return model(x)
        def loss(model):
            return F.cross_entropy(model(x), y)  # <-
        def backward(value, optimizer):
            value.backward()
            optimizer.step()
        model = Net()
        for _ in range(2):
            backward(loss(model), sgd(model))
            validate(model)
        """,
        ("REG206 warning",),
    ),
    "fine-tuned as from_pretrained returned it": Row(
        """
        class Pretrained(Net):
            def train(self, mode=True):
                return super().train(mode)
            @classmethod
            def from_pretrained(cls):
                model = cls()
                model.eval()
                return model
        def fine_tune(model, optimizer):
            F.cross_entropy(model(x), y).backward()  # <-
            optimizer.step()
        model = Pretrained.from_pretrained()
        fine_tune(model, sgd(model))
        """,
        ("REG206 warning",),
    ),
    "fine-tuned after from_pretrained and train()": Row(
        """
        class Pretrained(Net):
            @classmethod
            def from_pretrained(cls):
                model = cls()
                model.eval()
                return model
        model = Pretrained.from_pretrained()
        model.train()
        fit(model, sgd(model))
        """
    ),
    "a backbone stays as it was loaded, below a new head": Row(
        """
        def fine_tune(model, optimizer):
            F.cross_entropy(model(x), y).backward()  # <-
            optimizer.step()
        model = Classifier(Pretrained.from_pretrained())
        fine_tune(model, sgd(model))
        """,
        ("REG206 warning",),
    ),
    "a compiled model stays as it was loaded": Row(
        """
        def fine_tune(model, optimizer):
            F.cross_entropy(model(x), y).backward()  # <-
            optimizer.step()
        model = torch.compile(Pretrained.from_pretrained(), backend="eager")
        fine_tune(model, sgd(model))
        """,
        ("REG206 warning",),
    ),
    "a backbone stays as it was loaded until the first validation is over": Row(
        """
        def fine_tune(model, optimizer):
            for _ in range(2):
                F.cross_entropy(model(x), y).backward()  # <-
                optimizer.step()
                model.eval()
                with torch.no_grad():
                    print(model(x).argmax(1))
                model.train()
        model = Classifier(Pretrained.from_pretrained())
        fine_tune(model, sgd(model))
        """,
        ("REG206 warning",),
    ),
    "a backbone as it was loaded, below a trainer that gives modes back by hand": Row(
        """
        def fine_tune(model, optimizer):
            F.cross_entropy(model(x), y).backward()  # <-
            optimizer.step()
        def validate(model):
            was = [(each, each.training) for each in model.modules()]
            model.eval()
            with torch.no_grad():
                print(model(x).argmax(1))
            for each, training in was:
                each.training = training
        model = Classifier(Pretrained.from_pretrained())
        optimizer = sgd(model)
        for _ in range(2):
            validate(model)
            fine_tune(model, optimizer)
        """,
        ("REG206 warning",),
    ),
    "a backbone as it was loaded, in a whole that is trained in eval mode": Row(
        """
        model = Classifier(Pretrained.from_pretrained())
        model.eval()
        fit(model, sgd(model))
        """
    ),
    "a backbone as it was loaded, and train()": Row(
        """
        model = Classifier(Pretrained.from_pretrained())
        model.train()
        fit(model, sgd(model))
        """
    ),
    "a backbone that does not want gradients": Row(
        """
        model = Classifier(Pretrained.from_pretrained().requires_grad_(False))
        fit(model, sgd(model))
        """
    ),
    "a backbone with adapters": Row(
        """
        backbone = Pretrained.from_pretrained().requires_grad_(False)
        backbone.head = nn.Sequential(backbone.head, nn.Linear(2, 2))
        model = Classifier(backbone)
        fit(model, sgd(model))
        """
    ),
    "a backbone of which the lower layers are frozen": Row(
        """
        backbone = Pretrained.from_pretrained()
        backbone.hidden.requires_grad_(False)
        model = Classifier(backbone)
        fit(model, sgd(model))
        """
    ),
    "a backbone that the optimizer does not hold": Row(
        """
        model = Classifier(Pretrained.from_pretrained())
        fit(model, sgd(model.top))
        """
    ),
    "a backbone whose features are taken without gradients": Row(
        """
        class Probed(Classifier):
            def forward(self, x):
                with torch.no_grad():
                    features = self.backbone(x)
                return self.top(self.drop(features))
        model = Probed(Pretrained.from_pretrained())
        fit(model, sgd(model))
        """
    ),
    "a backbone put in eval mode, too": Row(
        """
        model = Classifier(Pretrained.from_pretrained())
        model.backbone.eval()
        fit(model, sgd(model))
        """
    ),
    "a backbone put in eval mode where it is built in": Row(
        """
        class Kept(Classifier):
            def __init__(self, backbone):
                super().__init__(backbone)
                self.backbone.eval()
        model = Kept(Pretrained.from_pretrained())
        fit(model, sgd(model))
        """
    ),
    "a backbone put in eval mode once it is trained": Row(
        """
        model = Classifier(Pretrained.from_pretrained())
        optimizer = sgd(model)
        for _ in range(2):
            fit(model, optimizer)
            model.backbone.eval()
        """
    ),
    "a backbone that train() keeps in eval mode": Row(
        """
        class Kept(Classifier):
            def train(self, mode=True):
                super().train(mode)
                self.backbone.eval()
                return self
        model = Kept(Pretrained.from_pretrained())
        model.train()
        fit(model, sgd(model))
        """
    ),
    "a backbone whose batch norm is put in eval mode by name": Row(
        """
        model = Classifier(Pretrained.from_pretrained())
        for name, each in model.named_modules():
            if "norm" in name:
                each.eval()
        fit(model, sgd(model))
        """
    ),
    "a backbone on which nothing depends on the mode": Row(
        """
        class Plain(nn.Module):
            def __init__(self):
                super().__init__()
                self.body = nn.Linear(8, 2)
            def forward(self, x):
                return self.body(x)
            @classmethod
            def from_pretrained(cls):
                return cls().eval()
        model = Classifier(Plain.from_pretrained())
        fit(model, sgd(model))
        """
    ),
    "fine-tuned in eval mode on purpose": Row(
        """
        model = Net()
        model.eval()
        fit(model, sgd(model))
        """
    ),
    "validation switches back": Row(
        """
        def validate(model):
            model.eval()
            with torch.no_grad():
                model(x).argmax(1)
            model.train()
        def train(model, optimizer):
            for _ in range(2):
                F.cross_entropy(model(x), y).backward()
                optimizer.step()
                validate(model)
        model = Net()
        train(model, sgd(model))
        """
    ),
    "an attack on a model in eval mode": Row(
        """
        class Pretrained(Net):
            @classmethod
            def from_pretrained(cls):
                model = cls()
                model.eval()
                return model
        def attack(model):
            given = x.clone().requires_grad_()
            F.cross_entropy(model(given), y).backward()
            return given.grad.sign()
        attack(Pretrained.from_pretrained())
        """
    ),
    "only a new head is trained on an extractor in eval mode": Row(
        """
        class Pretrained(Net):
            @classmethod
            def from_pretrained(cls):
                model = cls()
                model.eval()
                return model
        extractor, head = Pretrained.from_pretrained(), nn.Linear(2, 2)
        optimizer = sgd(head)
        F.cross_entropy(head(extractor(x)), y).backward()
        optimizer.step()
        """
    ),
}


@pytest.mark.parametrize("case", ROWS)
def test_row(case: str, see: See, tmp_path: Path) -> None:
    """What a program shows is reported at the marked line and confirmed, as gravely as the table says, and no more."""
    row = ROWS[case]
    seen = see(PARTS + textwrap.dedent(row.program), row.name)
    report = Session({"select": RULES, "devices": ["cpu"]}).examine(seen).ledger.report()
    lines = enumerate((tmp_path / row.name).read_text(encoding="utf-8").splitlines(), 1)
    assert [each.reason for each in (*seen.skipped, *seen.uncaptured.values())] == []
    assert tuple(f"{each.code} {each.severity.value}" for each in report.findings) == row.reports, str(report)
    assert {each.line for each in report.findings} == {number for number, line in lines if line.endswith("# <-")}
    assert all(each.evidence.verdict is Verdict.CONFIRMED for each in report.findings), str(report)


def test_half_of_the_rows_are_silent() -> None:
    """The table has at least 40 rows, and half of them are what must never be reported as more than advice."""
    grave = [row for row in ROWS.values() if any(not each.endswith(Severity.INFO.value) for each in row.reports)]
    assert len(ROWS) >= 40
    assert len(grave) <= len(ROWS) / 2


EVERYTHING = """
class Sampled(nn.Module):
    def __init__(self):
        super().__init__()
        self.body, self.norm = nn.Linear(8, 16), nn.BatchNorm1d(16, track_running_stats=False)
        self.head = nn.Linear(16, 2)
    def forward(self, x):
        x = self.norm(self.body(x))  # <- REG205
        x = F.dropout(x, 0.5)  # <- REG202
        return self.head(x + torch.randn_like(x))  # <- REG203


def run():
    model = Sampled()
    optimizer = torch.optim.Adam(model.parameters(), weight_decay=0.1)  # <- REG301 REG302
    F.cross_entropy(model(torch.randn(8, 8)), y.repeat(2)).backward()
    optimizer.step()


run()
"""


def test_structures_and_optimizers_are_judged_as_the_program_used_them(see: See, tmp_path: Path) -> None:
    """What a watched program ran is audited on the program's own inputs, and each optimizer that it stepped."""
    codes = ("REG202", "REG203", "REG205", "REG301", "REG302")
    report = (
        Session({"select": codes, "devices": ["cpu"], "budget": 20}).examine(see(PARTS + EVERYTHING)).ledger.report()
    )
    lines = enumerate((tmp_path / "program.py").read_text(encoding="utf-8").splitlines(), 1)
    marked = {(code, number) for number, line in lines for code in line.partition("# <- ")[2].split()}
    assert {(each.code, each.line) for each in report.findings} == marked
    assert all(each.evidence.verdict is Verdict.CONFIRMED for each in report.findings), str(report)
    assert [each.inputs for each in report.coverage] == ["captured"]


def test_a_call_that_takes_longer_than_the_budget_is_not_made_again(see: See) -> None:
    """Where one call took more than its budget, nothing is run for it, and the reason is said."""
    seen = see("""
        class Slow(Net):
            def forward(self, x):
                for _ in range(200):
                    self.head(self.hidden(x))
                return super().forward(x)
        def scores(model):
            with torch.no_grad():
                return model(x)
        scores(Slow())
    """)
    report = Session({"select": ["REG201", "REG202"], "budget": 1e-6, "devices": ["cpu"]}).examine(seen).ledger.report()
    assert [(each.code, "its budget" in each.evidence.because) for each in report.findings] == [("REG201", True)]
    assert ["its budget" in each.reason for each in report.not_checked] == [True]
