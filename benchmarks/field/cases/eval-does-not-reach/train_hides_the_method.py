import torch
from torch import nn


class OreModel(nn.Module):
    def __init__(self):
        super().__init__()
        self.hidden, self.out = nn.Linear(10, 30), nn.Linear(30, 3)
        self.drop = nn.Dropout(0.2)

    def forward(self, x):
        return self.out(self.drop(torch.relu(self.hidden(x))))

    def train(self, batches=None):
        optimizer = torch.optim.SGD(self.parameters(), lr=0.1)
        for x, y in batches or []:
            optimizer.zero_grad()
            nn.functional.cross_entropy(self(x), y).backward()
            optimizer.step()
        return self


if __name__ == "__main__":
    model = OreModel()
    model.train([(torch.randn(16, 10), torch.randint(3, (16,))) for _ in range(4)])
    model.eval()
    with torch.no_grad():
        print(model(torch.randn(4, 10)).argmax(1))
