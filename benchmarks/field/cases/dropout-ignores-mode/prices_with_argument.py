import torch
import torch.nn.functional as F
from torch import nn


class PriceModel(nn.Module):
    def __init__(self):
        super().__init__()
        self.hidden = nn.Linear(6, 40)
        self.price = nn.Linear(40, 1)

    def forward(self, x, train=True):
        h = torch.relu(self.hidden(x))
        h = F.dropout(h, 0.5, training=train)
        return self.price(h)


def fit(model, x, y):
    optimizer = torch.optim.SGD(model.parameters(), lr=0.01)
    for _ in range(10):
        loss = F.mse_loss(model(x, train=True), y)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    return model


if __name__ == "__main__":
    houses, prices = torch.randn(50, 6), torch.rand(50, 1)
    model = fit(PriceModel(), houses, prices)
    model.eval()
    with torch.no_grad():
        print("mean price", model(houses).mean().item())
