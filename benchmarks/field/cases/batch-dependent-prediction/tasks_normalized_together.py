import torch
import torch.nn.functional as F
from torch import nn


class Learner(nn.Module):
    def __init__(self):
        super().__init__()
        self.weights = nn.ParameterList([
            nn.Parameter(torch.randn(20, 8) * 0.3), nn.Parameter(torch.zeros(20)),
            nn.Parameter(torch.randn(5, 20) * 0.3), nn.Parameter(torch.zeros(5)),
        ])

    def forward(self, x, weights=None):
        weights = self.weights if weights is None else weights
        x = F.batch_norm(F.linear(x, weights[0], weights[1]), None, None, training=True)
        return F.linear(F.relu(x), weights[2], weights[3])


def adapted(learner, x, y, rate=0.1):
    weights = list(learner.weights)
    gradients = torch.autograd.grad(F.cross_entropy(learner(x, weights), y), weights, create_graph=True)
    return [w - rate * g for w, g in zip(weights, gradients)]


if __name__ == "__main__":
    learner = Learner()
    optimizer = torch.optim.SGD(learner.parameters(), lr=0.05)
    for _ in range(4):
        weights = adapted(learner, torch.randn(10, 8), torch.randint(5, (10,)))
        loss = F.cross_entropy(learner(torch.randn(10, 8), weights), torch.randint(5, (10,)))
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    learner.eval()
    print(learner(torch.randn(10, 8), adapted(learner, torch.randn(10, 8), torch.randint(5, (10,)))).argmax(1))
