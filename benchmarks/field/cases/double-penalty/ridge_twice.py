import torch
from torch import nn

model = nn.Sequential(nn.Linear(13, 32), nn.ReLU(), nn.Linear(32, 1))
optimizer = torch.optim.SGD(model.parameters(), lr=0.01, weight_decay=1e-2)
for step in range(8):
    x, y = torch.randn(32, 13), torch.randn(32, 1)
    loss = nn.functional.mse_loss(model(x), y)
    loss = loss + 1e-3 * sum(p.pow(2).sum() for p in model.parameters())
    optimizer.zero_grad()
    loss.backward()
    optimizer.step()
