import torch
import torch.nn.functional as F
from torch import nn


class NodeNet(nn.Module):
    example_input_array = (torch.rand(12, 10), torch.eye(12))

    def __init__(self, classes=3):
        super().__init__()
        self.first, self.second = nn.Linear(10, 16), nn.Linear(16, classes)

    def forward(self, x, adjacency):
        x = F.relu(adjacency @ self.first(x))
        x = adjacency @ self.second(x)
        x = F.dropout(x, 0.5, training=self.training)
        return F.log_softmax(x, dim=1)


def main():
    x, links = torch.rand(12, 10), torch.softmax(torch.rand(12, 12), 1)
    topics, model = torch.randint(3, (12,)), NodeNet()
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    for _ in range(5):
        model.train()
        optimizer.zero_grad()
        F.nll_loss(model(x, links)[:8], topics[:8]).backward()
        optimizer.step()
    model.eval()
    with torch.no_grad():
        print(model(x, links)[8:].argmax(1))


if __name__ == "__main__":
    main()
