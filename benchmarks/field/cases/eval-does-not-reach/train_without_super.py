import torch
from torch import nn


class Backboned(nn.Module):
    def __init__(self):
        super().__init__()
        self.body, self.head = nn.Linear(20, 30), nn.Linear(30, 4)
        self.drop = nn.Dropout(0.4)
        self.body.requires_grad_(False)

    def train(self, mode=True):
        self.training = mode
        self.body.eval()
        return self

    def forward(self, x):
        return self.head(self.drop(torch.relu(self.body(x))))


class Finetuning:
    def __init__(self):
        self.model = Backboned()
        self.optimizer = torch.optim.SGD(self.model.head.parameters(), lr=0.1)

    def fit(self, steps):
        self.model.train()
        for _ in range(steps):
            loss = nn.functional.cross_entropy(self.model(torch.randn(16, 20)), torch.randint(4, (16,)))
            self.optimizer.zero_grad()
            loss.backward()
            self.optimizer.step()

    def predict(self, x):
        self.model.eval()
        with torch.no_grad():
            return self.model(x).argmax(1)


if __name__ == "__main__":
    job = Finetuning()
    job.fit(4)
    print(job.predict(torch.randn(3, 20)))
