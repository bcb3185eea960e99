import torch
from torch import nn


class LandModel(nn.Module):
    def __init__(self):
        super().__init__()
        self.backbone = nn.Sequential(nn.Conv2d(3, 8, 3), nn.BatchNorm2d(8), nn.ReLU(), nn.Conv2d(8, 8, 3), nn.BatchNorm2d(8))
        self.head = nn.Linear(8, 5)

    def forward(self, x):
        return self.head(torch.relu(self.backbone(x)).mean((2, 3)))


def train(model, steps=4):
    for parameter in model.backbone.parameters():
        parameter.requires_grad = False
    optimizer = torch.optim.SGD(model.head.parameters(), lr=0.1)
    model.train()
    for _ in range(steps):
        x, y = torch.rand(8, 3, 16, 16), torch.randint(5, (8,))
        loss = nn.functional.cross_entropy(model(x), y)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()


if __name__ == "__main__":
    train(LandModel())
