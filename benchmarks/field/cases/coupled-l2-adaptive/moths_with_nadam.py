import torch
import torch.nn as nn
import torch.optim as optim


class MothNet(nn.Module):
    def __init__(self, species=8):
        super().__init__()
        self.features = nn.Sequential(nn.Conv2d(3, 8, 3, stride=2), nn.ReLU(), nn.Conv2d(8, 16, 3, stride=2), nn.ReLU())
        self.head = nn.Linear(16, species)

    def forward(self, x):
        return self.head(self.features(x).mean(dim=(2, 3)))


def main():
    model = MothNet()
    optimizer = optim.NAdam(model.parameters(), lr=2e-3, weight_decay=5e-3)
    criterion = nn.CrossEntropyLoss()
    for _ in range(5):
        optimizer.zero_grad()
        criterion(model(torch.rand(4, 3, 20, 20)), torch.randint(8, (4,))).backward()
        optimizer.step()


if __name__ == "__main__":
    main()
