import torch
import torch.nn.functional as F
from torch import nn


class NeighbourAttention(nn.Module):
    def __init__(self, inputs, outputs, rate):
        super().__init__()
        self.rate = rate
        self.project = nn.Linear(inputs, outputs, bias=False)
        self.source = nn.Linear(outputs, 1, bias=False)
        self.target = nn.Linear(outputs, 1, bias=False)

    def forward(self, x, adjacency):
        h = self.project(x)
        scores = F.leaky_relu(self.source(h) + self.target(h).T, 0.2)
        weights = scores.masked_fill(adjacency == 0, -1e9).softmax(dim=1)
        weights = F.dropout(weights, self.rate)
        return weights @ h


class CitationNet(nn.Module):
    example_input_array = (torch.rand(20, 16), torch.eye(20))

    def __init__(self):
        super().__init__()
        self.first = NeighbourAttention(16, 8, 0.3)
        self.second = NeighbourAttention(8, 3, 0.3)

    def forward(self, x, adjacency):
        return self.second(F.elu(self.first(x, adjacency)), adjacency)


if __name__ == "__main__":
    papers, links = torch.rand(20, 16), ((torch.rand(20, 20) < 0.2) | torch.eye(20).bool()).float()
    fields, known = torch.randint(3, (20,)), torch.arange(20) < 12
    net = CitationNet()
    optimizer = torch.optim.SGD(net.parameters(), lr=0.1)
    for _ in range(5):
        net.train()
        optimizer.zero_grad()
        F.cross_entropy(net(papers, links)[known], fields[known]).backward()
        optimizer.step()
    net.eval()
    with torch.no_grad():
        print((net(papers, links).argmax(1) == fields)[~known].float().mean())
