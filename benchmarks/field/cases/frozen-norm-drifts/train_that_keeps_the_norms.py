import torch
from torch import nn


class MoleculeTask(nn.Module):
    def __init__(self):
        super().__init__()
        self.encoder = nn.Sequential(nn.Linear(12, 24), nn.BatchNorm1d(24), nn.ReLU())
        self.head = nn.Sequential(nn.Dropout(0.2), nn.Linear(24, 2))
        self.encoder.requires_grad_(False)

    def train(self, mode=True):
        super().train(mode)
        self.encoder.eval()
        return self

    def forward(self, x):
        return self.head(self.encoder(x))


def main():
    task = MoleculeTask()
    optimizer = torch.optim.SGD(task.head.parameters(), lr=0.1)
    task.train()
    for _ in range(4):
        graphs, labels = torch.randn(16, 12), torch.randint(2, (16,))
        loss = nn.functional.cross_entropy(task(graphs), labels)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()


if __name__ == "__main__":
    main()
