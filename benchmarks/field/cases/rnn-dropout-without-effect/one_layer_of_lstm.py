import torch
from torch import nn


class TextNet(nn.Module):
    def __init__(self, words=60):
        super().__init__()
        self.embed = nn.Embedding(words, 16)
        self.rnn = nn.LSTM(16, 24, dropout=0.5, batch_first=True)
        self.out = nn.Linear(24, 2)

    def forward(self, ids):
        h, _ = self.rnn(self.embed(ids))
        return self.out(h[:, -1])


if __name__ == "__main__":
    net = TextNet()
    optimizer = torch.optim.SGD(net.parameters(), lr=0.1)
    for _ in range(4):
        loss = nn.functional.cross_entropy(net(torch.randint(60, (8, 9))), torch.randint(2, (8,)))
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    net.eval()
    with torch.no_grad():
        print(net(torch.randint(60, (2, 9))).argmax(1))
