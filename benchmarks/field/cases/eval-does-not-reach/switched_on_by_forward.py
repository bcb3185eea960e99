import torch
from torch import nn


class PosteriorNet(nn.Module):
    def __init__(self):
        super().__init__()
        self.hidden, self.out, self.drop = nn.Linear(6, 40), nn.Linear(40, 1), nn.Dropout(0.1)

    def forward(self, x):
        self.drop.train()
        return self.out(self.drop(torch.relu(self.hidden(x))))


def main():
    net = PosteriorNet()
    optimizer = torch.optim.SGD(net.parameters(), lr=0.01)
    net.train()
    for _ in range(5):
        loss = nn.functional.mse_loss(net(torch.randn(32, 6)), torch.randn(32, 1))
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    net.eval()
    with torch.no_grad():
        print("prediction", net(torch.randn(1, 6)).item())


if __name__ == "__main__":
    main()
