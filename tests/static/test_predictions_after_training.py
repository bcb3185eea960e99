"""Predictions beside and after training, from source: hand-written scores, phases, averages, committees, generation."""

from __future__ import annotations

from pathlib import Path

from ..faulty_and_right import found_and_marked

HEADER = """\
import argparse
import copy
import torch
import torch.nn.functional as F
from torch import nn, optim
from torch.optim.swa_utils import AveragedModel, update_bn
from data import loader, held_out, x_test, y_test, read


class Net(nn.Module):
    def __init__(self, width=20):
        super().__init__()
        self.body = nn.Sequential(nn.Linear(width, 20), nn.BatchNorm1d(20), nn.ReLU(), nn.Dropout(0.3))
        self.head = nn.Linear(20, 4)

    def forward(self, x):
        return self.head(self.body(x))


def fit(net, loader, epochs=3):
    optimizer = optim.SGD(net.parameters(), lr=0.1)
    for epoch in range(epochs):
        for x, y in loader:
            loss = F.cross_entropy(net(x), y)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()


"""

SCORES = {
    "overlap of masks after each epoch, in a script": """
net = Net()
optimizer = optim.SGD(net.parameters(), lr=0.1)
for epoch in range(5):
    #net.train()
    for x, y in loader:
        optimizer.zero_grad()
        F.binary_cross_entropy_with_logits(net(x), y).backward()
        optimizer.step()
    overlap = 0.0
    #net.eval()
    with torch.no_grad():
        for x, y in held_out:
            p = torch.sigmoid(net(x))  # <-
            overlap += (2 * (p * y).sum() / (p.sum() + y.sum())).item()
    print(epoch, overlap / len(held_out))
""",
    "mean error at the end of main": """
def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--epochs", type=int, default=10)
    args = parser.parse_args()
    net = Net()
    optimizer = optim.Adam(net.parameters(), lr=1e-3)
    for _ in range(args.epochs):
        for x, y in loader:
            loss = F.mse_loss(net(x), y)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
    #net.eval()
    with torch.no_grad():
        error = (net(x_test) - y_test).abs().mean()  # <-
    print(f"mean absolute error {error:.3f}")

if __name__ == "__main__":
    main()
""",
    "squared errors in the method that trains": """
class Trainer:
    def __init__(self, net):
        self.net = net
        self.optimizer = optim.SGD(net.parameters(), lr=0.1)

    def fit(self, epochs):
        for _ in range(epochs):
            #self.net.train()
            for x, y in loader:
                self.optimizer.zero_grad()
                F.mse_loss(self.net(x), y).backward()
                self.optimizer.step()
            errors = []
            #self.net.eval()
            with torch.inference_mode():
                for x, y in held_out:
                    errors.append(((self.net(x) - y) ** 2).mean().item())  # <-
            print(sum(errors) / len(errors))

Trainer(Net()).fit(10)
""",
    "cells of a notebook": """
net = Net()
fit(net, loader)

#net.eval()
with torch.no_grad():
    guesses = net(x_test)  # <-
print("rmse", torch.sqrt(torch.mean((guesses - y_test) ** 2)))
""",
    "classes of one batch, after the loop": """
def train(net, steps=100):
    optimizer = optim.SGD(net.parameters(), lr=0.1)
    for _ in range(steps):
        x, y = read("batch")
        optimizer.zero_grad()
        F.cross_entropy(net(x), y).backward()
        optimizer.step()
    #net.eval()
    with torch.no_grad():
        return (net(x_test).argmax(1) == y_test).float().mean()  # <-

print(train(Net()))
""",
    "a fold of a cross-validation": """
def folds(rows):
    scores = []
    for train_rows, test_rows in rows:
        net = Net()
        optimizer = optim.SGD(net.parameters(), lr=0.1)
        for epoch in range(10):
            for x, y in train_rows:
                optimizer.zero_grad()
                F.cross_entropy(net(x), y).backward()
                optimizer.step()
        #net.eval()
        hits = 0
        with torch.no_grad():
            for x, y in test_rows:
                hits += (net(x).argmax(1) == y).sum().item()  # <-
        scores.append(hits)
    return scores

print(folds(read("folds")))
""",
    "one batch of each fold, whose model is a new one": """
scores = []
for train_rows, test_rows in read("folds"):
    net, loss_of = Net(), nn.MSELoss()
    optimizer = optim.Adam(net.parameters(), lr=0.01)
    for epoch in range(10):
        #net.train()
        optimizer.zero_grad()
        loss_of(net(train_rows.x), train_rows.y).backward()
        optimizer.step()
    #net.eval()
    with torch.no_grad():
        guesses = net(test_rows.x)  # <-
        scores.append(((guesses - test_rows.y) ** 2).mean().item())
print(scores)
""",
    "the average of the weights has the mode": """
def main():
    net = Net()
    average = copy.deepcopy(net)
    optimizer = optim.SGD(net.parameters(), lr=0.1)
    for x, y in loader:
        optimizer.zero_grad()
        F.mse_loss(net(x), y).backward()
        optimizer.step()
        with torch.no_grad():
            for slow, fast in zip(average.parameters(), net.parameters()):
                slow.lerp_(fast, 0.1)
    average.eval()
    with torch.no_grad():
        &error = (net(x_test) - y_test).abs().mean()  # <-
        #error = (average(x_test) - y_test).abs().mean()
    print(error.item())

main()
""",
}

PHASES = {
    "phases by name": """
net = Net()
optimizer = optim.SGD(net.parameters(), lr=0.1)
criterion = nn.CrossEntropyLoss()
batches = {"train": [read("a"), read("b")], "val": [read("c")]}
for epoch in range(3):
    for phase in ["train", "val"]:
        #net.train(phase == "train")
        hits = 0
        for x, y in batches[phase]:
            optimizer.zero_grad()
            with torch.set_grad_enabled(phase == "train"):
                scores = net(x)  # <-
                loss = criterion(scores, y)
                if phase == "train":
                    loss.backward()
                    optimizer.step()
            hits += (scores.argmax(1) == y).sum().item()
""",
    "an epoch of either kind": """
def epoch(net, batches, optimizer=None):
    learning = optimizer is not None
    #net.train(learning)
    total = 0.0
    for x, y in batches:
        with torch.set_grad_enabled(learning):
            loss = F.cross_entropy(net(x), y)  # <-
        if learning:
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
        total += loss.item()
    return total

net = Net()
optimizer = optim.SGD(net.parameters(), lr=0.1)
for _ in range(10):
    epoch(net, loader, optimizer)
    print(epoch(net, held_out))
""",
    "pairs of a name and a loader in a trainer": """
class Trainer:
    def __init__(self):
        self.net = Net()
        self.optimizer = optim.SGD(self.net.parameters(), lr=0.1)

    def run(self):
        for name, batches in (("train", loader), ("valid", held_out)):
            #self.net.train(name == "train")
            for x, y in batches:
                with torch.set_grad_enabled(name == "train"):
                    scores = self.net(x)  # <-
                    loss = F.cross_entropy(scores, y)
                if name == "train":
                    self.optimizer.zero_grad()
                    loss.backward()
                    self.optimizer.step()

trainer = Trainer()
for _ in range(10):
    trainer.run()
""",
}

AVERAGES = {
    "the pass that computes statistics is no request for predictions": """
model = Net()
optimizer = optim.SGD(model.parameters(), lr=0.1)
swa = AveragedModel(model)
for epoch in range(10):
    model.train()
    for x, y in loader:
        optimizer.zero_grad()
        F.cross_entropy(model(x), y).backward()
        optimizer.step()
    swa.update_parameters(model)
swa.train()
update_bn(loader, swa)
#swa.eval()
with torch.no_grad():
    print(swa(x_test).argmax(1))  # <-
""",
    "an average that nobody switches": """
def main():
    model = Net()
    swa_model = torch.optim.swa_utils.AveragedModel(model)
    optimizer = optim.SGD(model.parameters(), lr=0.1)
    for epoch in range(10):
        for x, y in loader:
            optimizer.zero_grad()
            F.cross_entropy(model(x), y).backward()
            optimizer.step()
        if epoch > 5:
            swa_model.update_parameters(model)
    torch.optim.swa_utils.update_bn(loader, swa_model)
    #swa_model.eval()
    hits = 0
    with torch.no_grad():
        for x, y in held_out:
            hits += (swa_model(x).argmax(1) == y).sum().item()  # <-
    print(hits)

main()
""",
    "eval() of the model, and predictions of its average": """
class Trainer:
    def __init__(self):
        self.net = Net()
        self.average = AveragedModel(self.net, avg_fn=lambda a, b, n: 0.9 * a + 0.1 * b)
        self.optimizer = optim.SGD(self.net.parameters(), lr=0.1)

    def fit(self):
        for x, y in loader:
            self.optimizer.zero_grad()
            F.cross_entropy(self.net(x), y).backward()
            self.optimizer.step()
            self.average.update_parameters(self.net)

    @torch.no_grad()
    def evaluate(self):
        &self.net.eval()
        #self.average.eval()
        return sum((self.average(x).argmax(1) == y).sum().item() for x, y in held_out)  # <-

trainer = Trainer()
trainer.fit()
print(trainer.evaluate())
""",
    "a recalibration by hand": """
def main():
    net = Net()
    fit(net, loader)
    net.train()
    with torch.no_grad():
        for x, _ in loader:
            net(x)
    #net.eval()
    with torch.no_grad():
        for x, y in held_out:
            print((net(x).argmax(1) == y).sum().item())  # <-

main()
""",
    "an average after an epoch each": """
@torch.no_grad()
def validate(net):
    &pass
    #net.eval()
    return sum((net(x).argmax(1) == y).sum() for x, y in held_out)  # <-

def main():
    net = Net()
    ema = AveragedModel(net)
    optimizer = optim.SGD(net.parameters(), lr=0.1)
    for epoch in range(10):
        net.train()
        for x, y in loader:
            optimizer.zero_grad()
            F.cross_entropy(net(x), y).backward()
            optimizer.step()
            ema.update_parameters(net)
        print(validate(ema))

main()
""",
    "an average of a model that another package builds": """
from zoo import build

def main():
    net = build("small")
    average = AveragedModel(net)
    optimizer = optim.SGD(net.parameters(), lr=0.1)
    net.train()
    for x, y in loader:
        optimizer.zero_grad()
        F.cross_entropy(net(x), y).backward()
        optimizer.step()
        average.update_parameters(net)
    &average.eval()
    #net.eval()
    with torch.no_grad():
        for x, y in held_out:
            print((net(x).argmax(1) == y).sum())  # <-

main()
""",
}

COMMITTEES = {
    "the first member alone": """
nets = [Net() for _ in range(4)]
for net in nets:
    fit(net, loader)

@torch.no_grad()
def vote(nets, x):
    &nets[0].eval()
    #[net.eval() for net in nets]
    return torch.stack([net(x) for net in nets]).mean(0)  # <-

print(vote(nets, x_test))
""",
    "all but the last": """
def main():
    nets = [Net(), Net(), Net()]
    for net in nets:
        fit(net, loader)
    &for net in nets[:-1]:
    #for net in nets:
        net.eval()
    total = 0
    with torch.no_grad():
        for net in nets:
            total = total + net(x_test).softmax(1)  # <-
    print(total.argmax(1))

main()
""",
    "members by name": """
experts = {"day": Net(), "night": Net()}
for each in experts.values():
    fit(each, loader)
&experts["day"].eval()
#for each in experts.values(): each.eval()
with torch.no_grad():
    print({name: net(x_test).argmax(1) for name, net in experts.items()})  # <-
""",
    "a class that holds them": """
class Committee:
    def __init__(self, size):
        self.members = [Net() for _ in range(size)]

    def fit(self):
        for each in self.members:
            fit(each, loader)

    @torch.no_grad()
    def predict(self, x):
        #for each in self.members: each.eval()
        &self.members[-1].eval()
        return sum(each(x).softmax(1) for each in self.members) / len(self.members)  # <-

committee = Committee(3)
committee.fit()
print(committee.predict(x_test).argmax(1))
""",
    "pairs of members and weights": """
def blend(pairs, x):
    scores = 0
    with torch.no_grad():
        for net, weight in pairs:
            #net.eval()
            scores = scores + weight * net(x)  # <-
    return scores.argmax(1)

one, other = Net(), Net()
fit(one, loader)
fit(other, loader)
one.eval()
print(blend([(one, 0.7), (other, 0.3)], x_test))
""",
    "the second of two": """
student, rival = Net(), Net()
fit(student, loader)
fit(rival, loader)
student.eval()
#rival.eval()
agreement = 0
with torch.no_grad():
    for x, _ in held_out:
        agreement += (student(x).argmax(1) == rival(x).argmax(1)).sum().item()  # <-
print(agreement)
""",
}

GENERATED = {
    "a method that appends to its input": """
class Writer(nn.Module):
    def __init__(self):
        super().__init__()
        self.embed, self.cell = nn.Embedding(30, 20), nn.GRU(20, 20, 2, dropout=0.2, batch_first=True)
        self.head = nn.Linear(20, 30)

    def forward(self, tokens):
        return self.head(self.cell(self.embed(tokens))[0])

    @torch.no_grad()
    def generate(self, tokens, length):
        for _ in range(length):
            tokens = torch.cat([tokens, self(tokens)[:, -1:].argmax(-1)], dim=1)  # <-
        return tokens

writer = Writer()
fit(writer, loader)
#writer.eval()
print(writer.generate(x_test, 20))
""",
    "a list of tokens": """
def translate(net, source, longest=20):
    words = [0]
    with torch.no_grad():
        for _ in range(longest):
            scores = net(torch.tensor([words]))  # <-
            words.append(scores[0, -1].argmax().item())
    return words

net = Net()
fit(net, loader)
#net.eval()
print(translate(net, x_test))
""",
    "a drawn token": """
@torch.no_grad()
def sample(net, text, steps=50):
    for _ in range(steps):
        logits = net(text[:, -16:])  # <-
        drawn = torch.multinomial(F.softmax(logits[:, -1], dim=-1), 1)
        text = torch.cat((text, drawn), dim=1)
    return text

def main():
    net = Net()
    fit(net, loader)
    #net.eval()
    print(sample(net, x_test))

main()
""",
    "positions written into a tensor": """
def forecast(net, history, days):
    series = torch.zeros(1, days + 20)
    series[:, :20] = history
    with torch.no_grad():
        for day in range(days):
            series[:, 20 + day] = net(series[:, day : day + 20])[:, 0]  # <-
    return series

net = Net()
fit(net, loader)
#net.eval()
print(forecast(net, x_test, 7))
""",
    "until the end of the text": """
class Chat:
    def __init__(self):
        self.net = Net()

    def learn(self):
        fit(self.net, loader)

    @torch.inference_mode()
    def reply(self, prompt):
        tokens = prompt
        while tokens[0, -1] != 1:
            tokens = torch.cat([tokens, self.net(tokens)[:, -1:].argmax(-1)], 1)  # <-
        return tokens

chat = Chat()
chat.learn()
#chat.net.eval()
print(chat.reply(x_test))
""",
    "a state that comes back": """
def roll(net, state, steps):
    path = []
    with torch.no_grad():
        for _ in range(steps):
            change = net(state)  # <-
            state = state + change
            path.append(state)
    return torch.stack(path)

net = Net()
fit(net, loader)
#net.eval()
print(roll(net, x_test, 30))
""",
}

SOUND = {
    "Monte-Carlo dropout after training": """
net = Net()
fit(net, loader)
with torch.no_grad():
    draws = torch.stack([net(x_test) for _ in range(50)])
print(draws.softmax(-1).std(0))
""",
    "Monte-Carlo dropout of a loop over batches": """
def main():
    net = Net()
    optimizer = optim.SGD(net.parameters(), lr=0.1)
    for x, y in loader:
        optimizer.zero_grad()
        F.mse_loss(net(x), y).backward()
        optimizer.step()
    spreads = []
    with torch.no_grad():
        for x, y in held_out:
            draws = torch.stack([net(x) for _ in range(20)])
            spreads.append(((draws.mean(0) - y) ** 2).mean().item())
    print(spreads)

main()
""",
    "passes over the held-out data again and again": """
def main():
    net = Net()
    optimizer = optim.SGD(net.parameters(), lr=0.1)
    for x, y in loader:
        optimizer.zero_grad()
        F.mse_loss(net(x), y).backward()
        optimizer.step()
    errors = []
    with torch.no_grad():
        for draw in range(20):
            for x, y in held_out:
                errors.append((net(x) - y).abs().mean().item())
    print(errors)

main()
""",
    "scores of a discriminator at each step": """
generator, critic = Net(), Net()
g_optimizer, d_optimizer = optim.Adam(generator.parameters()), optim.Adam(critic.parameters())
for real in loader:
    with torch.no_grad():
        fake = generator(torch.randn(8, 20))
    gap = (critic(real) - critic(fake)).mean()
    d_optimizer.zero_grad()
    (-gap).backward()
    d_optimizer.step()
    with torch.no_grad():
        print("gap", (critic(real) - critic(fake)).mean().item())
    g_optimizer.zero_grad()
    (-critic(generator(torch.randn(8, 20))).mean()).backward()
    g_optimizer.step()
""",
    "pictures of a generator after the training": """
generator, critic = Net(), Net()
g_optimizer, d_optimizer = optim.Adam(generator.parameters()), optim.Adam(critic.parameters())
for epoch in range(10):
    for real in loader:
        d_optimizer.zero_grad()
        F.softplus(critic(generator(torch.randn(8, 20)).detach()) - critic(real)).mean().backward()
        d_optimizer.step()
        g_optimizer.zero_grad()
        F.softplus(-critic(generator(torch.randn(8, 20)))).mean().backward()
        g_optimizer.step()
    with torch.no_grad():
        save(generator(torch.randn(16, 20)) * 0.5 + 0.5, f"{epoch}.png")
scale, shift = read("scale")
with torch.no_grad():
    show((generator(torch.randn(16, 20)) * scale + shift).numpy())
""",
    "errors that a buffer orders its samples by": """
def learn(net, target, buffer):
    optimizer = optim.Adam(net.parameters())
    for _ in range(1000):
        states, rewards, following, index = buffer.sample(32)
        with torch.no_grad():
            goal = rewards + 0.99 * target(following).max(1)[0]
        loss = F.smooth_l1_loss(net(states).max(1)[0], goal)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        with torch.no_grad():
            gap = (net(states).max(1)[0] - goal).abs()
        buffer.update(index, gap.numpy())
        target.load_state_dict(net.state_dict())

learn(Net(), Net(), read("buffer"))
""",
    "an image that the network itself is fitted to": """
noise, image = torch.randn(1, 20), read("image")
net = nn.Sequential(nn.Linear(20, 30), nn.BatchNorm1d(30), nn.ReLU(), nn.Linear(30, 20))
optimizer = optim.Adam(net.parameters())
for _ in range(2000):
    optimizer.zero_grad()
    ((net(noise) - image) ** 2).mean().backward()
    optimizer.step()
with torch.no_grad():
    error = ((net(noise) - image) ** 2).mean()
print(error.item())
""",
    "advantages of a rollout": """
def learn(policy, critic, world):
    optimizer = optim.Adam([*policy.parameters(), *critic.parameters()])
    for _ in range(100):
        states, values = [], []
        state = world.reset()
        for step in range(128):
            with torch.no_grad():
                action = policy(state).argmax(-1)
                values.append((critic(state) - world.baseline(state)).mean())
            states.append(state)
            state = world.step(action)
        for epoch in range(4):
            optimizer.zero_grad()
            (policy(torch.stack(states)).sum() + critic(torch.stack(states)).sum()).backward()
            optimizer.step()

learn(Net(), Net(), read("world"))
""",
    "statistics of a teacher before it is distilled": """
def distil(teacher, student):
    fit(teacher, loader)
    optimizer = optim.SGD(student.parameters(), lr=0.1)
    for x, y in loader:
        with torch.no_grad():
            goal = teacher(x)
        loss = F.mse_loss(student(x), goal)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()

distil(Net(), Net())
""",
    "a copy that is adapted to each task, with the statistics of the task": """
def evaluate(net, tasks):
    hits = 0
    for support, query in tasks:
        learner = copy.deepcopy(net)
        optimizer = optim.SGD(learner.parameters(), lr=0.1)
        for _ in range(5):
            optimizer.zero_grad()
            F.cross_entropy(learner(support), read("classes")).backward()
            optimizer.step()
        with torch.no_grad():
            hits += (learner(query).argmax(1) == read("classes")).sum()
    return hits

print(evaluate(Net(), read("tasks")))
""",
    "adapted to each task, and tested on it": """
def evaluate(net, tasks):
    hits = 0
    for support, query in tasks:
        learner = copy.deepcopy(net)
        optimizer = optim.SGD(learner.parameters(), lr=0.1)
        for _ in range(5):
            optimizer.zero_grad()
            F.cross_entropy(learner(support), read("classes")).backward()
            optimizer.step()
        learner.eval()
        with torch.no_grad():
            hits += (learner(query).argmax(1) == read("classes")).sum()
    return hits

print(evaluate(Net(), read("tasks")))
""",
}


def test_a_prediction_beside_its_training_is_found(tmp_path: Path) -> None:
    """Each faulty program is reported at its predictions; twins that set eval mode and deliberate ones are not."""
    programs = SCORES | PHASES | AVERAGES | COMMITTEES | GENERATED
    found, expected = found_and_marked(tmp_path, "REG201", HEADER, programs, SOUND)
    assert found == expected
