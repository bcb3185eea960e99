"""REG201: calls without gradients in a function that trains, or below one."""

from __future__ import annotations

import pytest

from .watched_rows import CheckRow, Row

ROWS = {
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
}


@pytest.mark.parametrize("case", ROWS)
def test_row(case: str, check_row: CheckRow) -> None:
    """The report names the marked line and no other, with the code and the severity of the row, confirmed."""
    check_row(ROWS[case])
