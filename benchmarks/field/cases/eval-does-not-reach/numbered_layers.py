import torch
from torch import nn


class TrialNet(nn.Module):
    def __init__(self, widths=(8, 24, 24)):
        super().__init__()
        self.linears, self.drops = [], []
        for i, (a, b) in enumerate(zip(widths, widths[1:])):
            self.linears.append(nn.Linear(a, b))
            self.drops.append(nn.Dropout(0.3))
            setattr(self, f"linear{i}", self.linears[-1])
            setattr(self, f"drop{i}", self.drops[-1])
        self.out = nn.Linear(widths[-1], 2)

    def forward(self, x):
        for layer, drop in zip(self.linears, self.drops):
            x = drop(torch.relu(layer(x)))
        return self.out(x)


def objective(net):
    optimizer = torch.optim.SGD(net.parameters(), lr=0.1)
    for _ in range(3):
        net.train()
        loss = nn.functional.cross_entropy(net(torch.randn(16, 8)), torch.randint(2, (16,)))
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    net.eval()
    with torch.no_grad():
        return (net(torch.randn(16, 8)).argmax(1) == 0).float().mean().item()


if __name__ == "__main__":
    print(objective(TrialNet()))
