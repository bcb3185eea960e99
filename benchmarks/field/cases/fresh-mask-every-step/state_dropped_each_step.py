import torch
from torch import nn


class StateNet(nn.Module):
    example_input_array = torch.randn(4, 8, 5)

    def __init__(self):
        super().__init__()
        self.cell, self.out = nn.GRUCell(5, 16), nn.Linear(16, 2)
        self.drop = nn.Dropout(0.2)

    def forward(self, x):
        state = x.new_zeros(len(x), 16)
        for t in range(8):
            state = self.drop(self.cell(x[:, t], state))
        return self.out(state)


if __name__ == "__main__":
    net = StateNet()
    optimizer = torch.optim.SGD(net.parameters(), lr=0.1)
    for _ in range(4):
        loss = nn.functional.cross_entropy(net(torch.randn(8, 8, 5)), torch.randint(2, (8,)))
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    net.eval()
    with torch.no_grad():
        print(net(torch.randn(2, 8, 5)).argmax(1))
