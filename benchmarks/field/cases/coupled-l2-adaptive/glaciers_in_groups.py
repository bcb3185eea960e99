import torch
from torch import nn


def groups_of(model):
    decayed = [p for p in model.parameters() if p.dim() > 1]
    others = [p for p in model.parameters() if p.dim() <= 1]
    return [
        {"params": decayed, "weight_decay": 0.05},
        {"params": others, "weight_decay": 0.0},
    ]


model = nn.Sequential(nn.Linear(12, 32), nn.LayerNorm(32), nn.GELU(), nn.Linear(32, 1))
groups = groups_of(model)
optimizer = torch.optim.RAdam(groups, lr=1e-3)
for _ in range(10):
    optimizer.zero_grad()
    (model(torch.randn(16, 12)) - torch.randn(16, 1)).pow(2).mean().backward()
    optimizer.step()
