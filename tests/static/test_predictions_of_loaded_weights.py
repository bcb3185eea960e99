"""Programs that load weights and train nothing: what leaves the graph is a prediction, by whichever way it leaves."""

from __future__ import annotations

import re
from pathlib import Path
from textwrap import dedent

from regcheck.engine.scan import scan

HEADER = """\
import torch
from torch import nn
from torchvision import models


class Encoder(nn.Module):
    def __init__(self):
        super().__init__()
        self.body = nn.Sequential(nn.Linear(20, 20), nn.BatchNorm1d(20), nn.ReLU(), nn.Dropout(0.3))
        self.head = nn.Linear(20, 4)

    def forward(self, x):
        features = self.body(x)
        return self.head(features), features


"""

PROGRAMS = {
    "top of a script, by the attribute data": """
        net = models.resnet34()
        net.fc = nn.Linear(512, 5)
        net.load_state_dict(torch.load("leaves.pt"))
        <net.train(False)|print(net)>
        print(net(torch.randn(1, 3, 64, 64)).cpu().data)  # <-
        """,
    "first of two results, detached": """
        encoder = Encoder()
        encoder.load_state_dict(torch.load("sounds.pt"))
        encoder.<eval|double>()
        for x, _ in torch.utils.data.DataLoader([]):
            encoded, features = encoder(x)  # <-
            torch.save(encoded.detach().cpu(), "sounds")
        """,
    "closure that collects features": """
        def main(path="songs.pt"):
            encoder = Encoder()
            encoder.load_state_dict(torch.load(path))

            def features(rows):
                return [encoder(x)[1].detach() for x in rows]  # <-

            <encoder.eval()|encoder.cuda()>
            return torch.cat(features(torch.randn(4, 2, 20)))

        main()
        """,
    "class with a method": """
        class Index:
            def __init__(self, path):
                self.encoder = Encoder()
                self.encoder.load_state_dict(torch.load(path))
                <self.encoder.eval()|self.encoder.cuda()>

            def neighbors(self, query, keys):
                key = self.encoder(query)[0].data  # <-
                return (keys - key).norm(dim=1)

        if __name__ == "__main__":
            print(Index("birds.pt").neighbors(torch.randn(1, 20), torch.randn(9, 4)))
        """,
    "sound where a loss trains another model": """
        encoder, probe = Encoder(), nn.Linear(20, 2)
        encoder.load_state_dict(torch.load("notes.pt"))
        <optimizer = torch.optim.SGD(probe.parameters(), lr=0.1)|>
        for x, y in torch.utils.data.DataLoader([]):
            scores = probe(encoder(x)[1].detach())  # <-
            <nn.functional.cross_entropy(scores, y).backward()|print(scores)>
            <optimizer.step()|>
        """,
    "as soon as a list is full": """
        encoder, frames = Encoder(), []
        encoder.load_state_dict(torch.load("birds.pt"))
        <encoder.eval()|>
        while True:
            frames.append(torch.randn(20))
            if len(frames) == 16:
                print(encoder(torch.stack(frames))[0].argmax(1))  # <-
                frames.pop(0)
        """,
    "in a function, of a list that grows by pairs": """
        @torch.no_grad()
        def label(rows):
            encoder, waiting, labels = Encoder(), list(), list()
            encoder.load_state_dict(torch.load("birds.pt"))
            encoder.<eval|cuda>()
            for left, right in rows:
                waiting.extend([left, right])
                if len(waiting) < 8:
                    continue
                labels += encoder(torch.stack(waiting))[0].argmax(1).tolist()  # <-
                waiting.clear()
            return labels

        label(torch.load("rows.pt"))
        """,
    "argparse, with gradients needed": """
        import argparse

        def main(args):
            encoder = Encoder()
            encoder.load_state_dict(torch.load(args.weights))
            image = torch.zeros(1, 20, requires_grad=True)
            for _ in range(args.steps):
                scores, features = encoder(image)  # <-
                <scores.max().backward()|print(scores.detach())>
            return features.detach()

        parser = argparse.ArgumentParser()
        parser.add_argument("--weights", default="x.pt")
        parser.add_argument("--steps", type=int, default=3)
        main(parser.parse_args())
        """,
}


def test_a_value_that_leaves_the_graph_is_a_prediction(tmp_path: Path) -> None:
    """Of loaded weights, `.data` and `detach()` show a prediction, but for eval mode and for losses that train."""
    expected = set()
    for index, program in enumerate(PROGRAMS.values()):
        for side, name in ((r"\1", f"sound_{index}.py"), (r"\2", f"fault_{index}.py")):
            text = HEADER + re.sub(r"<(?!-)([^|<>]*)\|([^<>]*)>", side, dedent(program))
            (tmp_path / name).write_text(text)
            if name.startswith("fault"):
                expected |= {(name, n) for n, line in enumerate(text.splitlines(), 1) if line.endswith("# <-")}
    report = scan([tmp_path], {"select": ["REG201"]})
    assert not report.not_checked
    assert {(Path(each.path).name, each.line) for each in report.findings} == expected
