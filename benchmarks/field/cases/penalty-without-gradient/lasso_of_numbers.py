import torch
from torch import nn


class GeneModel(nn.Module):
    def __init__(self):
        super().__init__()
        self.linear = nn.Linear(60, 2)

    def forward(self, x):
        return self.linear(x)


model = GeneModel()
criterion = nn.CrossEntropyLoss()
optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
for _ in range(6):
    x, y = torch.randn(16, 60), torch.randint(2, (16,))
    lasso = sum(p.abs().sum().item() for p in model.parameters())
    loss = criterion(model(x), y) + 1e-3 * lasso
    optimizer.zero_grad()
    loss.backward()
    optimizer.step()
