import torch
from torch import nn


def train(net, batches, epochs=3):
    optimizer = torch.optim.Adamax(net.parameters(), lr=2e-3)
    for epoch in range(epochs):
        for group in optimizer.param_groups:
            group["weight_decay"] = 0.01 * epoch
        for x, y in batches:
            loss = nn.functional.mse_loss(net(x), y)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()


if __name__ == "__main__":
    reefs = [(torch.randn(8, 7), torch.randn(8, 1)) for _ in range(3)]
    train(nn.Sequential(nn.Linear(7, 20), nn.ReLU(), nn.Linear(20, 1)), reefs)
