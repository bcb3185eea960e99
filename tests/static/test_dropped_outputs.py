"""Where a scan sees that what is dropped are a model's scores, and where they are a layer's features."""

from __future__ import annotations

import re
from pathlib import Path
from textwrap import dedent, indent

import pytest

from regcheck.engine.scan import scan

HEADER = "import torch\nimport torch.nn.functional as F\nfrom torch import nn\n\n"

CLASSES = {
    "width named like classes": """
        class Galaxies(nn.Module):
            def __init__(self, bands, num_classes, rate=0.4):
                super().__init__()
                self.read, self.last = nn.Linear(bands, 64), nn.Linear(64, num_classes)
                self.drop = nn.Dropout(rate)

            def forward(self, flux):
                h = torch.relu(self.read(flux))
                return <self.drop(self.last(h))|self.last(self.drop(h))>
        """,
    "width of a configuration": """
        class Tickets(nn.Module):
            def __init__(self, config):
                super().__init__()
                self.config = config
                self.encoder = nn.GRU(config.width, config.width, batch_first=True)
                self.fc = nn.Linear(config.width, config.num_labels)
                self.dropout = nn.Dropout(0.1)

            def forward(self, words):
                h = self.encoder(words)[0][:, 0]
                return <self.dropout(self.fc(h))|self.fc(self.dropout(h))>
        """,
    "width by keyword, of a list of labels": """
        LABELS = ["oak", "elm", "ash"]

        class Leaves(nn.Sequential):
            def __init__(self):
                super().__init__(
                    nn.Linear(30, 50), nn.ReLU(),
                    <nn.Linear(50, out_features=len(LABELS)), nn.Dropout()|nn.Dropout(), nn.Linear(50, len(LABELS))>)
        """,
    "maps of classes": """
        class Roads(nn.Module):
            def __init__(self, n_class, base=16):
                super().__init__()
                self.body, self.final = nn.Conv2d(3, base, 3), nn.Conv2d(base, n_class, 1)
                self.drop = nn.Dropout2d(0.3)

            def forward(self, image):
                image = F.relu(self.body(image))
                return <self.drop(self.final(image))|self.final(self.drop(image))>.softmax(1)
        """,
    "words to come": """
        class Melody(nn.Module):
            def __init__(self, vocab_size, width):
                super().__init__()
                self.table = nn.Embedding(vocab_size, width)
                self.lstm = nn.LSTM(width, width, batch_first=True)
                self.fc = nn.Linear(width, vocab_size)

            def forward(self, notes, state=None):
                out, state = self.lstm(self.table(notes), state)
                scores = <F.dropout(self.fc(out), 0.2, self.training)|self.fc(F.dropout(out, 0.2, self.training))>
                return scores, state
        """,
    "attribute named for a head": """
        class Voices(nn.Module):
            def __init__(self, inputs, outputs):
                super().__init__()
                self.hidden = nn.Linear(inputs, 32)
                self.voice_classifier = nn.Sequential(nn.LayerNorm(32), nn.Linear(32, outputs))

            def forward(self, x):
                h = self.hidden(x).tanh()
                if self.training:
                    return <F.dropout(self.voice_classifier(h), p=0.25)|self.voice_classifier(F.dropout(h, p=0.25))>
                return self.voice_classifier(h)
        """,
    "log softmax of products": """
        class Papers(nn.Module):
            def __init__(self, a, b, c):
                super().__init__()
                self.w1, self.w2 = nn.Parameter(torch.randn(a, b)), nn.Parameter(torch.randn(b, c))

            def forward(self, x, links):
                on = self.training
                x = F.relu(links @ (x @ self.w1))
                x = <F.dropout(links @ (x @ self.w2), 0.5, on)|links @ (F.dropout(x, 0.5, on) @ self.w2)>
                return F.log_softmax(x, dim=-1)
        """,
    "log softmax of a layer of another package": """
        from torch_geometric.nn import GCNConv

        class Cites(nn.Module):
            def __init__(self, a, b, c):
                super().__init__()
                self.one, self.two = GCNConv(a, b), GCNConv(b, c)

            def forward(self, data):
                edges, on = data.edge_index, self.training
                x = self.one(data.x, edges).relu()
                x = <F.dropout(self.two(x, edges), 0.5, on)|self.two(F.dropout(x, 0.5, on), edges)>
                return F.log_softmax(x, dim=1)
        """,
    "activation behind the scores": """
        class Steering(nn.Module):
            def __init__(self, features, out):
                super().__init__()
                self.fc, self.regressor, self.drop = nn.Linear(features, 50), nn.Linear(50, out), nn.Dropout(0.1)

            def forward(self, x):
                x = F.elu(self.fc(x))
                return torch.tanh(<self.drop(self.regressor(x))|self.regressor(self.drop(x))>)
        """,
    "activation before the dropout": """
        class Counts(nn.Module):
            def __init__(self, features, n_categories):
                super().__init__()
                self.fc, self.out, self.drop = nn.Linear(features, 50), nn.Linear(50, n_categories), nn.Dropout(0.1)

            def forward(self, x):
                x = F.elu(self.fc(x))
                return <self.drop(F.relu(self.out(x)))|F.relu(self.out(self.drop(x)))>
        """,
    "heads of all depths summed up": """
        class Forest(nn.Module):
            def __init__(self, depth, width, classes):
                super().__init__()
                self.layers = nn.ModuleList([nn.Linear(width, width) for _ in range(depth)])
                self.heads = nn.ModuleList([nn.Linear(width, classes) for _ in range(depth)])
                self.drop = nn.Dropout(0.5)

            def forward(self, x):
                total = 0
                for layer, head in zip(self.layers, self.heads):
                    x = torch.relu(layer(x))
                    total += <self.drop(head(x))|head(self.drop(x))>
                return total / len(self.heads)
        """,
    "heads of two widths, in a loop of unknown length": """
        class Molecules(nn.Module):
            def __init__(self, depth, atoms, width, num_classes, rate):
                super().__init__()
                self.rate, self.layers, self.heads = rate, nn.ModuleList(), nn.ModuleList()
                for level in range(depth):
                    if level == 0:
                        self.layers.append(nn.Linear(atoms, width))
                        self.heads.append(nn.Linear(atoms, num_classes))
                    else:
                        self.layers.append(nn.Linear(width, width))
                        self.heads.append(nn.Linear(width, num_classes))

            def forward(self, x):
                on, total, levels = self.training, 0, [x]
                for layer in self.layers:
                    x = F.relu(layer(x))
                    levels.append(x)
                for h, head in zip(levels, self.heads):
                    total += <F.dropout(head(h), self.rate, on)|head(F.dropout(h, self.rate, on))>
                return total
        """,
    "one of two heads": """
        class Terrain(nn.Module):
            def __init__(self, bands, n_classes, by_region):
                super().__init__()
                self.by_region, self.drop, self.body = by_region, nn.Dropout(0.3), nn.Linear(bands, 32)
                self.near, self.far = nn.Linear(32, n_classes), nn.Linear(32, n_classes)

            def forward(self, x, region):
                x = F.relu(self.body(x))
                if self.by_region and region > 4:
                    head = self.near
                else:
                    head = self.far
                return <self.drop(head(x))|head(self.drop(x))>
        """,
    "heads averaged": """
        class Jury(nn.Module):
            def __init__(self, width, num_classes, members=4):
                super().__init__()
                self.members = nn.ModuleList(nn.Linear(width, num_classes) for _ in range(members))
                self.drop = nn.Dropout(0.5)

            def forward(self, x):
                return torch.stack([<self.drop(m(x))|m(self.drop(x))> for m in self.members]).mean(dim=0)
        """,
    "heads added up by sum": """
        class Votes(nn.Module):
            def __init__(self, width, num_classes, members=4):
                super().__init__()
                self.members = nn.ModuleList(nn.Linear(width, num_classes) for _ in range(members))
                self.drop = nn.Dropout(0.5)

            def forward(self, x):
                scores = [<self.drop(m(x))|m(self.drop(x))> for m in self.members]
                return sum(scores) / len(scores)
        """,
    "scores averaged over time": """
        class Gestures(nn.Module):
            def __init__(self, joints, num_classes):
                super().__init__()
                self.rnn, self.frame = nn.GRU(joints, 32, batch_first=True), nn.Linear(32, num_classes)
                self.drop = nn.Dropout(0.3)

            def forward(self, frames):
                states, _ = self.rnn(frames)
                return <self.drop(self.frame(states))|self.frame(self.drop(states))>.mean(dim=1)
        """,
    "dropped after the maximum over time": """
        class Alarms(nn.Module):
            def __init__(self, sensors, n_labels):
                super().__init__()
                self.conv, self.score = nn.Conv1d(sensors, 32, 5), nn.Conv1d(32, n_labels, 1)
                self.drop = nn.Dropout(0.3)

            def forward(self, signal):
                h = F.relu(self.conv(signal))
                return <self.drop(self.score(h).amax(-1))|self.score(self.drop(h)).amax(-1)>
        """,
    "a mean over steps that a mask selects": """
        class Whales(nn.Module):
            def __init__(self, bands, num_classes):
                super().__init__()
                self.rnn, self.frame = nn.GRU(bands, 32, batch_first=True), nn.Linear(32, num_classes)
                self.drop = nn.Dropout(0.3)

            def forward(self, sound, mask):
                calls = <self.drop(self.frame(self.rnn(sound)[0]))|self.frame(self.drop(self.rnn(sound)[0]))>
                mask = mask.unsqueeze(-1).float()
                return (calls * mask).sum(1) / mask.sum(1).clamp(min=1)
        """,
    "padding filled before the maximum": """
        class Topics(nn.Module):
            def __init__(self, words, width, n_tags):
                super().__init__()
                self.table, self.score = nn.Embedding(words, width), nn.Conv1d(width, n_tags, 3, padding=1)

            def forward(self, ids):
                h, on = self.table(ids).mT, self.training
                tags = <F.dropout(self.score(h), 0.2, on)|self.score(F.dropout(h, 0.2, on))>
                return tags.masked_fill((ids == 0)[:, None], -1e4).max(dim=2).values
        """,
    "the step that a length names": """
        class Battery(nn.Module):
            def __init__(self, sensors, n_classes):
                super().__init__()
                self.lstm, self.out = nn.LSTM(sensors, 32, batch_first=True), nn.Linear(32, n_classes)
                self.drop = nn.Dropout(0.3)

            def forward(self, x, lengths):
                h, _ = self.lstm(x)
                steps = <self.drop(self.out(h))|self.out(self.drop(h))>
                last = (lengths - 1).view(-1, 1, 1).expand(-1, 1, steps.size(2))
                return steps.gather(1, last).squeeze(1)
        """,
    "rows that flags select": """
        class Users(nn.Module):
            def __init__(self, width, num_classes):
                super().__init__()
                self.up, self.down, self.drop = nn.Linear(width, 32), nn.Linear(32, num_classes), nn.Dropout(0.3)

            def forward(self, x, labelled):
                h = self.up(x).relu()
                return <self.drop(self.down(h))|self.down(self.drop(h))>[labelled.bool()]
        """,
    "a penalty on padding added": """
        class Answer(nn.Module):
            def __init__(self, words, width):
                super().__init__()
                self.table, self.rnn = nn.Embedding(words, width), nn.GRU(width, width, batch_first=True)
                self.start_logits, self.drop = nn.Linear(width, 1), nn.Dropout(0.1)

            def forward(self, ids, mask):
                h = self.rnn(self.table(ids))[0]
                starts = <self.drop(self.start_logits(h))|self.start_logits(self.drop(h))>.squeeze(-1)
                return starts + (1.0 - mask.float()) * -1e4
        """,
    "frames zeroed by where, then a log-softmax": """
        class Speakers(nn.Module):
            def __init__(self, mel, out):
                super().__init__()
                self.body, self.head, self.drop = nn.Conv1d(mel, 32, 5), nn.Conv1d(32, out, 1), nn.Dropout(0.3)

            def forward(self, mel, valid):
                h = self.body(mel).tanh()
                frames = <self.drop(self.head(h))|self.head(self.drop(h))>
                frames = torch.where(valid[:, None], frames, torch.zeros_like(frames))
                return torch.log_softmax(frames.sum(-1) / valid.sum(-1, keepdim=True), dim=-1)
        """,
    "maps of classes enlarged": """
        class Fields(nn.Module):
            def __init__(self, bands, n_class):
                super().__init__()
                self.body, self.last, self.drop = nn.Conv2d(bands, 16, 3, 2), nn.Conv2d(16, n_class, 1), nn.Dropout(0.3)

            def forward(self, image):
                h = self.body(image).relu()
                small = <self.drop(self.last(h))|self.last(self.drop(h))>
                return F.interpolate(small, size=image.shape[-2:], mode="bilinear")
        """,
    "scores of two views added up": """
        class Reefs(nn.Module):
            def __init__(self, n_classes=4):
                super().__init__()
                self.light, self.sound = nn.Linear(10, n_classes), nn.Linear(6, n_classes)
                self.drop = nn.Dropout(0.2)

            def forward(self, x, y):
                return <self.drop(self.light(x) + self.sound(y))|self.light(self.drop(x)) + self.sound(self.drop(y))>
        """,
    "scores of members added up by sum": """
        class Crews(nn.Module):
            def __init__(self, n_classes):
                super().__init__()
                self.members = nn.ModuleList(nn.Linear(10, n_classes) for _ in range(3))
                self.drop = nn.Dropout(0.2)

            def forward(self, x):
                return <self.drop(sum(m(x) for m in self.members))|sum(m(self.drop(x)) for m in self.members)>
        """,
    "a wide and a deep part": """
        class Clicks(nn.Module):
            def __init__(self, num_labels):
                super().__init__()
                self.wide, self.drop = nn.Linear(10, num_labels), nn.Dropout(0.2)
                self.deep = nn.Sequential(nn.Linear(10, 30), nn.ReLU(), nn.Linear(30, num_labels))

            def forward(self, x):
                return <self.drop(torch.add(self.wide(x), self.deep(x)))|self.deep(self.drop(x))>
        """,
    "a value and advantages": """
        class Moves(nn.Module):
            def __init__(self, n_classes):
                super().__init__()
                self.body, self.value, self.each = nn.Linear(10, 30), nn.Linear(30, 1), nn.Linear(30, n_classes)
                self.drop = nn.Dropout(0.2)

            def forward(self, x):
                h = F.relu(self.body(x))
                each = self.each(h)
                return <self.drop(self.value(h) + each - each.mean(1, True))|self.value(self.drop(h)) + each>
        """,
    "a bias of its own": """
        class Coins(nn.Module):
            def __init__(self, num_classes):
                super().__init__()
                self.last, self.bias = nn.Linear(10, num_classes, bias=False), nn.Parameter(torch.zeros(num_classes))
                self.drop = nn.Dropout(0.2)

            def forward(self, x):
                return <self.drop(self.last(x) + self.bias)|self.last(self.drop(x)) + self.bias>
        """,
    "two sides weighted, then a log-softmax": """
        class Tracks(nn.Module):
            def __init__(self, a, b):
                super().__init__()
                self.left, self.right = nn.Linear(a, b), nn.Linear(a, b)

            def forward(self, x):
                scores, on = self.left(x), self.training
                scores += 0.5 * self.right(x.flip(1))
                return F.log_softmax(<F.dropout(scores, 0.2, on)|F.dropout(scores, 0.0, on)>, -1)
        """,
    "a loss inside": """
        class Reads(nn.Module):
            def __init__(self, a, b):
                super().__init__()
                self.up, self.down, self.drop = nn.Linear(a, 40), nn.Linear(40, b), nn.Dropout(0.3)

            def forward(self, x, y):
                h = torch.relu(self.up(x))
                return F.cross_entropy(<self.drop(self.down(h))|self.down(self.drop(h))>, y)
        """,
    "a loss where there are labels": """
        class Spans(nn.Module):
            def __init__(self, a, b):
                super().__init__()
                self.up, self.down, self.drop = nn.Linear(a, 40), nn.Linear(40, b), nn.Dropout(0.3)
                self.loss = nn.BCEWithLogitsLoss()

            def forward(self, x, labels=None):
                h = torch.relu(self.up(x))
                scores = <self.drop(self.down(h))|self.down(self.drop(h))>
                loss = None
                if labels is not None:
                    loss = self.loss(scores.view(-1), labels.view(-1))
                return {"loss": loss, "scores": scores}
        """,
    "classes chosen by a method beside": """
        class Stones(nn.Module):
            def __init__(self, a, b):
                super().__init__()
                self.up, self.down, self.drop = nn.Linear(a, 40), nn.Linear(40, b), nn.Dropout(0.3)

            def forward(self, x):
                h = torch.relu(self.up(x))
                return <self.drop(self.down(h))|self.down(self.drop(h))>

            @torch.no_grad()
            def predict(self, x):
                self.eval()
                return torch.softmax(self(x), dim=1)
        """,
    "a loss in a method beside": """
        class Tides(nn.Module):
            def __init__(self, a, b):
                super().__init__()
                self.up, self.down, self.drop = nn.Linear(a, 40), nn.Linear(40, b), nn.Dropout(0.3)

            def forward(self, x):
                h = torch.relu(self.up(x))
                return <self.drop(self.down(h))|self.down(self.drop(h))>

            def compute_loss(self, batch):
                guess = self.forward(batch["x"])
                return F.smooth_l1_loss(guess, batch["y"])
        """,
}
"""Classes that nothing in the file uses: `<faulty|sound>` holds the line with a dropout on scores, and on features."""

PARTS = """
class FeedForward(nn.Module):
    def __init__(self, in_features, out_features, p=0.1):
        super().__init__()
        self.fc1, self.fc2, self.drop = nn.Linear(in_features, 64), nn.Linear(64, out_features), nn.Dropout(p)

    def forward(self, x):
        return self.drop(self.fc2(self.drop(F.gelu(self.fc1(x)))))

class Words(nn.Module):
    def __init__(self, vocab_size, width):
        super().__init__()
        self.table, self.proj, self.drop = nn.Embedding(vocab_size, width), nn.Linear(width, 2 * width), nn.Dropout(0.1)

    def forward(self, ids):
        return self.drop(self.proj(self.table(ids)))

class Attention(nn.Module):
    def __init__(self, width, num_heads, rate=0.1):
        super().__init__()
        self.query, self.key, self.value, self.proj = (nn.Linear(width, width) for _ in range(4))
        self.rate = rate

    def forward(self, x):
        weights = F.dropout((self.query(x) @ self.key(x).transpose(1, 2)).softmax(-1), self.rate, self.training)
        return F.dropout(self.proj(weights @ self.value(x)), self.rate, self.training), weights

class Mixer(nn.Module):
    def __init__(self, num_tokens, width):
        super().__init__()
        self.up, self.down, self.drop = nn.Linear(num_tokens, width), nn.Linear(width, num_tokens), nn.Dropout(0.1)

    def forward(self, x):
        return x + self.drop(self.down(F.gelu(self.up(x.transpose(1, 2))))).transpose(1, 2)

class Cut(nn.Module):
    def __init__(self):
        super().__init__()
        self.features = nn.Sequential(nn.Conv2d(3, 64, 3), nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten())
        self.classifier = nn.Sequential(nn.Linear(64, 4096), nn.ReLU(), nn.Dropout())

    def forward(self, x):
        return self.classifier(self.features(x))

class Branches(nn.Module):
    def __init__(self, width, num_classes):
        super().__init__()
        self.left, self.right, self.drop = nn.Linear(width, width), nn.Linear(width, width), nn.Dropout(0.2)
        self.classifier = nn.Linear(width, num_classes)

    def forward(self, x):
        return self.classifier(self.drop(self.left(x)) + self.drop(self.right(x)))

class Spoken(nn.Module):
    def __init__(self, vocab_size, width):
        super().__init__()
        self.emission_logits, self.drop = nn.Linear(width, vocab_size), nn.Dropout(0.2)

    def forward(self, x):
        return self.drop(self.emission_logits(x))

class Refined(nn.Module):
    def __init__(self, vocab_size, width):
        super().__init__()
        self.spoken, self.again = Spoken(vocab_size, width), nn.Linear(vocab_size, vocab_size)

    def forward(self, x):
        return self.again(self.spoken(x))

class Gate(nn.Module):
    def __init__(self, width, num_classes):
        super().__init__()
        self.score, self.value = nn.Linear(width, num_classes), nn.Linear(width, num_classes)
        self.drop = nn.Dropout(0.2)

    def forward(self, x, mask):
        weights = self.score(x).masked_fill(~mask, -1e4).softmax(1)
        return (self.drop(weights) * self.value(x)).sum(1)

class Excited(nn.Module):
    def __init__(self, num_classes):
        super().__init__()
        self.cls, self.drop = nn.Linear(num_classes, num_classes), nn.Dropout(0.2)

    def forward(self, x):
        return x * self.drop(self.cls(x)).sigmoid()

class Added(nn.Module):
    def __init__(self, width):
        super().__init__()
        self.left, self.right, self.drop = nn.Linear(width, width), nn.Linear(width, width), nn.Dropout(0.2)

    def forward(self, x, y):
        return self.drop(self.left(x) + self.right(y))

class Residual(nn.Module):
    def __init__(self, width):
        super().__init__()
        self.cls, self.drop = nn.Linear(width, width), nn.Dropout(0.2)

    def forward(self, x):
        return x + self.drop(self.cls(x))
"""

NET = """
class Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.up, self.down, self.drop = nn.Linear(16, 64), nn.Linear(64, 5), nn.Dropout(0.4)

    def forward(self, x):
        h = torch.relu(self.up(x))
        return <self.drop(self.down(h))|self.down(self.drop(h))>
"""

PROGRAMS = {
    "a loss of its own class": """
        class Soft(nn.Module):
            def forward(self, scores, wanted):
                return -(F.log_softmax(scores, 1) * wanted).sum(1).mean()

        model, rank = Net(), Soft()
        optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
        for _ in range(3):
            error = rank(model(torch.randn(8, 16)), torch.full((8, 5), 0.2))
            optimizer.zero_grad()
            error.backward()
            optimizer.step()
        """,
    "a loss derived from torch's": """
        class Focal(nn.CrossEntropyLoss):
            def __init__(self, gamma=2.0):
                super().__init__(reduction="none")
                self.gamma = gamma

            def forward(self, scores, y):
                plain = super().forward(scores, y)
                return ((1 - torch.exp(-plain)) ** self.gamma * plain).mean()

        def main():
            net = Net()
            objective = Focal()
            opt = torch.optim.SGD(net.parameters(), lr=0.1)
            for _ in range(5):
                opt.zero_grad()
                objective(net(torch.randn(4, 16)), torch.randint(5, (4,))).backward()
                opt.step()

        if __name__ == "__main__":
            main()
        """,
    "a trainer with a loss of its own class": """
        class Smooth(nn.Module):
            def __init__(self, eps=0.1):
                super().__init__()
                self.eps = eps
                self.inner = nn.CrossEntropyLoss(label_smoothing=eps)

            def forward(self, scores, y):
                return self.inner(scores, y)

        class Trainer:
            def __init__(self, lr):
                self.model, self.compare = Net(), Smooth()
                self.optimizer = torch.optim.SGD(self.model.parameters(), lr=lr)

            def step(self, x, y):
                value = self.compare(self.model(x), y)
                self.optimizer.zero_grad()
                value.backward()
                self.optimizer.step()

        trainer = Trainer(0.1)
        for _ in range(3):
            trainer.step(torch.randn(4, 16), torch.randint(5, (4,)))
        """,
    "a closure": """
        model = Net()
        optimizer = torch.optim.LBFGS(model.parameters())

        def closure():
            optimizer.zero_grad()
            gap = (model(torch.ones(4, 16)) - torch.ones(4, 5)).square().mean()
            gap.backward()
            return gap

        optimizer.step(closure)
        """,
    "a task without a forward": """
        class Task(nn.Module):
            def __init__(self, net):
                super().__init__()
                self.net = net

            def losses(self, x, y):
                return {"main": F.cross_entropy(self.net(x), y)}

        def run(steps=3):
            task = Task(Net())
            optimizer = torch.optim.SGD(task.parameters(), lr=0.1)
            for _ in range(steps):
                loss = sum(task.losses(torch.randn(4, 16), torch.randint(5, (4,))).values())
                optimizer.zero_grad()
                loss.backward()
                optimizer.step()

        run()
        """,
    "a module that Lightning trains": """
        import lightning as L

        class Fit(L.LightningModule):
            def __init__(self):
                super().__init__()
                self.model = Net()

            def forward(self, x):
                return self.model(x)

            def training_step(self, batch, index):
                x, y = batch
                return F.cross_entropy(self.model(x), y)

            def configure_optimizers(self):
                return torch.optim.SGD(self.parameters(), lr=0.1)
        """,
    "a module that Lightning trains with a loss of its own": """
        import pytorch_lightning as pl

        class Gap(nn.Module):
            def forward(self, a, b):
                return (a - b).abs().mean()

        class Fit(pl.LightningModule):
            def __init__(self):
                super().__init__()
                self.model, self.gap = Net(), Gap()

            def forward(self, x):
                return self.model(x)

            def shared_step(self, batch):
                x, y = batch
                return self.gap(self(x), y)

            def training_step(self, batch, index):
                return self.shared_step(batch)

            def configure_optimizers(self):
                return torch.optim.SGD(self.parameters(), lr=0.1)
        """,
}
"""What trains `NET`, whose names say nothing."""

HEADS = """
class Body(nn.Module):
    def __init__(self):
        super().__init__()
        self.up, self.down, self.drop = nn.Linear(16, 64), nn.Linear(64, 8), nn.Dropout(0.4)

    def forward(self, x):
        return self.drop(self.down(torch.relu(self.up(x))))

class Margin(nn.Module):
    def __init__(self):
        super().__init__()
        self.centers = nn.Parameter(torch.randn(5, 8))

    def forward(self, x, y):
        return F.cross_entropy(F.normalize(x) @ F.normalize(self.centers).t(), y)

model, margin = Body(), Margin()
optimizer = torch.optim.SGD([*model.parameters(), *margin.parameters()], lr=0.1)
for _ in range(3):
    loss = margin(model(torch.randn(4, 16)), torch.randint(5, (4,)))
    optimizer.zero_grad()
    loss.backward()
    optimizer.step()
"""

TRIED_OUT = """
class Mlp(nn.Sequential):
    def __init__(self, a, b, c, rate=0.1):
        super().__init__(nn.Linear(a, b), nn.ReLU(), nn.Dropout(rate), nn.Linear(b, c), nn.Dropout(rate))

def test_gradients_reach_the_input():
    block, x = Mlp(4, 8, 2), torch.randn(3, 4, requires_grad=True)
    block(x).sum().backward()
    assert x.grad is not None
"""


LOOPS = {
    "a choice by the number of the last": """
        for i, layer in enumerate(self.layers):
            last, y = i == self.last, layer(x)
            h = torch.relu(y)
            x = <self.drop(y if last else h)|y if last else self.drop(h)>
    """,
    "a choice of a result": """
        for i, layer in enumerate(self.layers):
            y = layer(x)
            x = <self.drop(y if i == self.last else y.relu())|y if i == self.last else self.drop(y.relu())>
    """,
    "a branch": """
        for i, layer in enumerate(self.layers):
            x = layer(x)
            if <i <= self.last:|i != self.last:>
                x = self.drop(torch.relu(x))
    """,
    "the last one left out": """
        for i, layer in enumerate(self.layers):
            x = layer(x)
            if i == self.last:
                <x = self.drop(x)|continue>
            x = torch.relu(x)
            if i < self.last:
                x = self.drop(x)
    """,
    "by the number of layers": """
        for i, layer in enumerate(self.layers):
            x = <self.drop(layer(x))|layer(x) if i + 1 == len(self.layers) else self.drop(layer(x).relu())>
    """,
    "layers and rates side by side": """
        for layer, drop in zip(self.layers, self.drops):
            x = <drop(layer(x))|layer(drop(x))>
    """,
}

LOOPING = """
class Readings(nn.Module):
    def __init__(self, widths=(12, 32, 32, 4)):
        super().__init__()
        self.layers = nn.ModuleList(nn.Linear(a, b) for a, b in zip(widths, widths[1:]))
        self.drops = nn.ModuleList(nn.Dropout(0.1) for _ in widths)
        self.drop, self.last = nn.Dropout(0.2), len(widths) - 2

    def forward(self, x):
{body}
        return x

model = Readings()
optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
for x, y in data:
    loss = F.cross_entropy(model(x), y)
    loss.backward()
    optimizer.step()
"""


def written(text: str, faulty: bool) -> str:
    """A source with the faulty or the sound form of what stands as `<faulty|sound>`, each fault marked."""

    def chosen(found: re.Match[str]) -> str:
        return found[1] if faulty else found[2]

    lines = []
    for line in (HEADER + dedent(text)).splitlines():
        form = re.sub(r"<([^|]*)\|([^|]*)>", chosen, line)
        lines.append(form + "  # <-" * (faulty and form != line))
    return "\n".join(lines) + "\n"


def reported(folder: Path, sources: dict[str, str]) -> dict[str, list[int]]:
    """The lines on which one scan of some files reports dropped outputs, by the names of the files."""
    for name, text in sources.items():
        (folder / name).write_text(text)
    report = scan([folder], options={"select": ["REG101"]})
    assert [f"{each.path}: {each.reason}" for each in report.not_checked] == []
    return {
        name: [each.line for each in report.findings if Path(each.path or "").name == name and each.line]
        for name in sources
    }


def marked(text: str) -> list[int]:
    return [number for number, line in enumerate(text.splitlines(), 1) if line.endswith("# <-")]


@pytest.mark.parametrize("faulty", [True, False], ids=["on scores", "on features"])
def test_what_the_names_and_the_forward_of_a_class_say(tmp_path: Path, faulty: bool) -> None:
    """A class that nothing uses is a whole model where its layers' names, its losses or its methods say so."""
    texts = {name: written(text, faulty) for name, text in CLASSES.items()}
    expected = {name: marked(text) for name, text in texts.items()}
    files = {name: f"class_{index}.py" for index, name in enumerate(texts)}
    found = reported(tmp_path, {files[name]: text for name, text in texts.items()})
    assert all(expected.values()) is faulty
    assert {name: found[files[name]] for name in texts} == expected


@pytest.mark.parametrize("faulty", [True, False], ids=["on scores", "on features"])
def test_what_a_program_says_that_trains_a_model(tmp_path: Path, faulty: bool) -> None:
    """A model is whole if a program trains it, whatever scores its outputs and in whatever form the program is."""
    texts = {name: written(NET + dedent(text), faulty) for name, text in PROGRAMS.items()}
    expected = {name: marked(text) for name, text in texts.items()}
    files = {name: f"program_{index}.py" for index, name in enumerate(texts)}
    found = reported(tmp_path, {files[name]: text for name, text in texts.items()})
    assert {name: found[files[name]] for name in texts} == expected


@pytest.mark.parametrize("faulty", [True, False], ids=["after the last", "between"])
def test_loops_over_layers_that_end_with_scores(tmp_path: Path, faulty: bool) -> None:
    """A loop over layers that a `zip` of widths builds runs as often as the shorter of both has items."""
    programs = {name: LOOPING.replace("{body}", indent(dedent(body).strip(), " " * 8)) for name, body in LOOPS.items()}
    texts = {name: written(text, faulty) for name, text in programs.items()}
    files = {name: f"loop_{index}.py" for index, name in enumerate(texts)}
    found = reported(tmp_path, {files[name]: text for name, text in texts.items()})
    assert {name: bool(found[files[name]]) for name in texts} == dict.fromkeys(texts, faulty)


def test_parts_of_larger_models_are_silent(tmp_path: Path) -> None:
    """A block, a cut-off backbone, a model before a learned loss, and a block that a test tries out are no models."""
    sources = {"parts.py": HEADER + PARTS, "heads.py": HEADER + HEADS, "test_block.py": HEADER + TRIED_OUT}
    assert reported(tmp_path, sources) == {name: [] for name in sources}
