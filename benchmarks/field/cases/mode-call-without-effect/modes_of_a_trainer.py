import torch
from torch import nn


class Trainer:
    def __init__(self, network):
        self.network = network
        self.optimizer = torch.optim.SGD(network.parameters(), lr=0.1)

    def validate(self, x, y):
        self.network.eval()
        with torch.no_grad():
            right = (self.network(x).argmax(1) == y).float().mean().item()
        self.network.train
        return right

    def fit(self, epochs):
        for epoch in range(epochs):
            x, y = torch.randn(16, 10), torch.randint(3, (16,))
            loss = nn.functional.cross_entropy(self.network(x), y)
            self.optimizer.zero_grad()
            loss.backward()
            self.optimizer.step()
            print(epoch, self.validate(x, y))


if __name__ == "__main__":
    Trainer(nn.Sequential(nn.Linear(10, 20), nn.ReLU(), nn.Dropout(0.2), nn.Linear(20, 3))).fit(3)
