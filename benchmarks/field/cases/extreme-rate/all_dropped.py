import torch
from torch import nn


class BlankNet(nn.Module):
    def __init__(self):
        super().__init__()
        self.enter, self.out = nn.Linear(6, 30), nn.Linear(30, 1)
        self.drop = nn.Dropout(p=1.0)

    def forward(self, x):
        return self.out(self.drop(torch.tanh(self.enter(x))))


class Fit:
    def __init__(self, net):
        self.net, self.optimizer = net, torch.optim.SGD(net.parameters(), lr=0.05)

    def run(self, steps):
        self.net.train()
        for _ in range(steps):
            loss = nn.functional.mse_loss(self.net(torch.randn(32, 6)), torch.randn(32, 1))
            self.optimizer.zero_grad()
            loss.backward()
            self.optimizer.step()
        return self.net.eval()


if __name__ == "__main__":
    net = Fit(BlankNet()).run(3)
    with torch.no_grad():
        print(net(torch.randn(2, 6)))
