import torch
from torch import nn


class PointModel(nn.Module):
    def __init__(self, shapes=3):
        super().__init__()
        self.local = nn.Sequential(nn.Conv1d(3, 32, 1), nn.BatchNorm1d(32), nn.ReLU())
        self.head = nn.Sequential(nn.Linear(32, 16), nn.ReLU(), nn.Dropout(0.4), nn.Linear(16, shapes))

    def forward(self, points):
        return self.head(self.local(points).amax(dim=2))


def train_one_epoch(model, batches, optimizer):
    model.train()
    for points, shape in batches:
        loss = nn.functional.cross_entropy(model(points), shape)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()


def test_one_epoch(model, batches):
    model.train()  # test
    right = 0
    with torch.no_grad():
        for points, shape in batches:
            guess = model(points).argmax(dim=1)
            right += (guess == shape).sum().item()
    return right


if __name__ == "__main__":
    data = [(torch.randn(8, 3, 40), torch.randint(3, (8,))) for _ in range(3)]
    model = PointModel()
    optimizer = torch.optim.SGD(model.parameters(), lr=0.01)
    for epoch in range(2):
        train_one_epoch(model, data, optimizer)
        print(epoch, test_one_epoch(model, data))
