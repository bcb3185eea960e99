import torch
from torch import nn


class HeadNet(nn.Module):
    def __init__(self):
        super().__init__()
        self.body, self.head, self.drop = nn.Linear(16, 32), nn.Linear(32, 2), nn.Dropout(0.4)

    def forward(self, x):
        h = torch.tanh(self.body(x))
        y = self.drop(h)
        y = self.head(h)
        return y


class Runner:
    def __init__(self):
        self.net = HeadNet()
        self.optimizer = torch.optim.SGD(self.net.parameters(), lr=0.1)

    def train(self):
        self.net.train()
        for _ in range(4):
            loss = nn.functional.cross_entropy(self.net(torch.randn(16, 16)), torch.randint(2, (16,)))
            self.optimizer.zero_grad()
            loss.backward()
            self.optimizer.step()

    def predict(self, x):
        self.net.eval()
        with torch.no_grad():
            return self.net(x).argmax(1)


if __name__ == "__main__":
    runner = Runner()
    runner.train()
    print(runner.predict(torch.randn(2, 16)))
