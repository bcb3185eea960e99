import torch
from torch import nn


class TokenNet(nn.Module):
    def __init__(self, labels=4):
        super().__init__()
        self.rnn = nn.LSTM(12, 20, batch_first=True)
        self.drop = nn.Dropout1d(0.2)
        self.tag = nn.Linear(20, labels)

    def forward(self, x):
        h, _ = self.rnn(x)
        h = self.drop(h)
        return self.tag(h)


if __name__ == "__main__":
    net = TokenNet()
    optimizer = torch.optim.SGD(net.parameters(), lr=0.1)
    for _ in range(4):
        scores = net(torch.randn(4, 15, 12))
        loss = nn.functional.cross_entropy(scores.flatten(0, 1), torch.randint(4, (60,)))
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    net.eval()
    with torch.no_grad():
        print(net(torch.randn(1, 15, 12)).argmax(-1))
