import torch
from torch import nn


class GaugeNet(nn.Module):
    def __init__(self):
        super().__init__()
        self.layers = nn.Sequential(nn.Linear(9, 24), nn.ReLU(), nn.Linear(24, 1))

    def forward(self, x):
        x = (x - x.mean(0)) / (x.std(0) + 1e-5)
        return self.layers(x)


class Forecast:
    def __init__(self):
        self.net = GaugeNet()

    def fit(self, x, y, steps=5):
        optimizer = torch.optim.SGD(self.net.parameters(), lr=0.05)
        for _ in range(steps):
            loss = nn.functional.mse_loss(self.net(x), y)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
        return self

    def __call__(self, x):
        self.net.eval()
        with torch.no_grad():
            return self.net(x)


if __name__ == "__main__":
    forecast = Forecast().fit(torch.randn(32, 9), torch.randn(32, 1))
    print(forecast(torch.randn(4, 9)))
