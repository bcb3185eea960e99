import torch
import torch.nn.functional as F
from torch import nn


class OutputNet(nn.Module):
    example_input_array = torch.randn(4, 6, 7)

    def __init__(self):
        super().__init__()
        self.cell, self.out = nn.LSTMCell(7, 12), nn.Linear(12, 3)

    def forward(self, x):
        h, c, outputs = x.new_zeros(len(x), 12), x.new_zeros(len(x), 12), []
        for t in range(6):
            h, c = self.cell(x[:, t], (h, c))
            outputs.append(F.dropout(h, 0.3, self.training))
        return self.out(torch.stack(outputs, 1))


def main():
    net = OutputNet()
    optimizer = torch.optim.SGD(net.parameters(), lr=0.1)
    for _ in range(4):
        loss = F.cross_entropy(net(torch.randn(4, 6, 7)).flatten(0, 1), torch.randint(3, (24,)))
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    net.eval()
    with torch.no_grad():
        print(net(torch.randn(1, 6, 7)).argmax(-1))


main()
