import torch
import torch.nn.functional as F
from torch import nn


class ExpertNet(nn.Module):
    def __init__(self):
        super().__init__()
        self.route = nn.Linear(10, 3)
        self.experts = nn.ModuleList(nn.Linear(10, 5) for _ in range(3))

    def forward(self, x):
        choice = F.gumbel_softmax(self.route(x), hard=True)
        answers = torch.stack([expert(x) for expert in self.experts], dim=1)
        return (choice.unsqueeze(-1) * answers).sum(1)


def main():
    net = ExpertNet()
    optimizer = torch.optim.SGD(net.parameters(), lr=0.1)
    for _ in range(5):
        loss = F.cross_entropy(net(torch.randn(16, 10)), torch.randint(5, (16,)))
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    net.eval()
    with torch.inference_mode():
        print(net(torch.randn(3, 10)).argmax(1))


if __name__ == "__main__":
    main()
