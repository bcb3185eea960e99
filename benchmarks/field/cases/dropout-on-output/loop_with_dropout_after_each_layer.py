import torch
from torch import nn


class Perceptron(nn.Module):
    def __init__(self, widths=(12, 32, 32, 4), rate=0.2):
        super().__init__()
        self.layers = nn.ModuleList(nn.Linear(a, b) for a, b in zip(widths, widths[1:]))
        self.drop, self.last = nn.Dropout(rate), len(widths) - 2

    def forward(self, x):
        for i, layer in enumerate(self.layers):
            x = self.drop(layer(x) if i == self.last else torch.relu(layer(x)))
        return x


if __name__ == "__main__":
    model = Perceptron()
    criterion = nn.CrossEntropyLoss()
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    for _ in range(5):
        model.train()
        loss = criterion(model(torch.randn(16, 12)), torch.randint(4, (16,)))
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    model.eval()
    with torch.no_grad():
        print(model(torch.randn(5, 12)).argmax(1))
