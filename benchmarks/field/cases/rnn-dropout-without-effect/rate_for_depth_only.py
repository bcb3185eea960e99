import torch
from torch import nn


class Decoder(nn.Module):
    def __init__(self, layers=1, rate=0.25):
        super().__init__()
        self.rnn = nn.GRU(8, 16, layers, dropout=rate if layers > 1 else 0.0, batch_first=True)
        self.out = nn.Linear(16, 5)

    def forward(self, x):
        h, _ = self.rnn(x)
        return self.out(h)


if __name__ == "__main__":
    net = Decoder()
    optimizer = torch.optim.SGD(net.parameters(), lr=0.1)
    for _ in range(4):
        loss = nn.functional.cross_entropy(net(torch.randn(4, 6, 8)).flatten(0, 1), torch.randint(5, (24,)))
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    net.eval()
    with torch.no_grad():
        print(net(torch.randn(1, 6, 8)).argmax(-1))
