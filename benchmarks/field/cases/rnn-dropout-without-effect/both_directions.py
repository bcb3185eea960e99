import torch
from torch import nn


class Reader(nn.Module):
    example_input_array = torch.randn(2, 7, 10)

    def __init__(self):
        super().__init__()
        self.rnn = nn.RNN(10, 16, bidirectional=True, dropout=0.2, batch_first=True)
        self.out = nn.Linear(32, 2)

    def forward(self, x):
        h, _ = self.rnn(x)
        return self.out(h.mean(1))


def fit(net):
    optimizer = torch.optim.SGD(net.parameters(), lr=0.1)
    for _ in range(4):
        loss = nn.functional.cross_entropy(net(torch.randn(8, 7, 10)), torch.randint(2, (8,)))
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    return net


reader = fit(Reader())
reader.eval()
with torch.no_grad():
    print(reader(torch.randn(2, 7, 10)).argmax(1))
