import torch
from torch import nn


class ClassicNet(nn.Module):
    def __init__(self):
        super().__init__()
        self.body, self.out = nn.Linear(24, 24), nn.Linear(24, 4)
        self.drop = nn.Dropout(0.5)

    def forward(self, x):
        return self.out(self.drop(torch.relu(self.body(x))))


def main():
    net = ClassicNet()
    optimizer = torch.optim.SGD(net.parameters(), lr=0.1)
    for _ in range(4):
        loss = nn.functional.cross_entropy(net(torch.randn(16, 24)), torch.randint(4, (16,)))
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    net.eval()
    with torch.no_grad():
        print(net(torch.randn(2, 24)).argmax(1))


if __name__ == "__main__":
    main()
