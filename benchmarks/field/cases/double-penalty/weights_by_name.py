import torch
from torch import nn


def l2(model):
    return sum((w ** 2).sum() for w in model.parameters())


class Insurance(nn.Module):
    def __init__(self):
        super().__init__()
        self.body, self.risk = nn.Linear(9, 20), nn.Linear(20, 1)

    def forward(self, x):
        return self.risk(torch.tanh(self.body(x)))


def fit(batches):
    model, criterion = Insurance(), nn.MSELoss()
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-3, weight_decay=0.05)
    for x, y in batches:
        loss = criterion(model(x), y) + 5e-4 * l2(model)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    return model


if __name__ == "__main__":
    fit([(torch.randn(16, 9), torch.rand(16, 1)) for _ in range(5)])
