import torch
from torch import nn


class Segmenter(nn.Module):
    def __init__(self, classes=3):
        super().__init__()
        self.body = nn.Sequential(nn.Conv2d(3, 8, 3, padding=1), nn.BatchNorm2d(8), nn.ReLU())
        self.classify = nn.Conv2d(8, classes, 1)

    def forward(self, tiles):
        return self.classify(self.body(tiles))


class Trainer:
    def __init__(self, model, optimizer, train_loader, val_loader):
        self.model, self.optimizer = model, optimizer
        self.train_loader, self.val_loader = train_loader, val_loader
        self.criterion = nn.CrossEntropyLoss()

    def validate(self):
        self.model.eval()
        total = 0.0
        with torch.no_grad():
            for tiles, labels in self.val_loader:
                total += self.criterion(self.model(tiles), labels).item()
        return total

    def train_epoch(self):
        for tiles, labels in self.train_loader:
            self.optimizer.zero_grad()
            loss = self.criterion(self.model(tiles), labels)
            loss.backward()
            self.optimizer.step()

    def fit(self, epochs):
        for epoch in range(epochs):
            self.train_epoch()
            print(epoch, self.validate())


def load(batches):
    return [(torch.rand(4, 3, 12, 12), torch.randint(3, (4, 12, 12))) for _ in range(batches)]


def main():
    model = Segmenter()
    Trainer(model, torch.optim.SGD(model.parameters(), lr=0.1), load(3), load(1)).fit(3)


if __name__ == "__main__":
    main()
