import torch
from torch import nn


def train(net, decay_l1=1e-3):
    optimizer = torch.optim.SGD(net.parameters(), lr=0.1, weight_decay=decay_l1)
    for _ in range(5):
        loss = nn.functional.cross_entropy(net(torch.randn(16, 30)), torch.randint(3, (16,)))
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()


if __name__ == "__main__":
    train(nn.Linear(30, 3))
