import torch
import torch.nn.functional as F
from torch import nn


class TwoViews(nn.Module):
    def __init__(self, rate=0.2, n_classes=5):
        super().__init__()
        self.rate = rate
        self.left, self.right = nn.Linear(10, n_classes), nn.Linear(14, n_classes)

    def forward(self, x, y):
        a, b = self.left(x), self.right(y)
        return F.dropout(a + b, self.rate, self.training)


class Experiment:
    def __init__(self):
        self.model = TwoViews()
        self.optimizer = torch.optim.SGD(self.model.parameters(), lr=0.1)

    def step(self):
        self.model.train()
        loss = F.cross_entropy(self.model(torch.randn(8, 10), torch.randn(8, 14)), torch.randint(5, (8,)))
        self.optimizer.zero_grad()
        loss.backward()
        self.optimizer.step()

    def report(self):
        self.model.eval()
        with torch.no_grad():
            return self.model(torch.randn(4, 10), torch.randn(4, 14)).argmax(1)


if __name__ == "__main__":
    experiment = Experiment()
    for _ in range(4):
        experiment.step()
    print(experiment.report())
