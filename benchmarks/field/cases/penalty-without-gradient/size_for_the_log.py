import torch
from torch import nn


def train(net, batches):
    optimizer = torch.optim.SGD(net.parameters(), lr=0.05)
    for step, (x, y) in enumerate(batches):
        loss = nn.functional.mse_loss(net(x), y)
        size = sum(p.detach().abs().sum() for p in net.parameters())
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        print(step, loss.item(), size.item())


if __name__ == "__main__":
    train(nn.Linear(20, 1), [(torch.randn(16, 20), torch.randn(16, 1)) for _ in range(4)])
