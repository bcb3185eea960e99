import torch
from torch import nn


class CourseAdam(torch.optim.Optimizer):
    def __init__(self, params, lr, decay, betas=(0.9, 0.999)):
        super().__init__(params, {"lr": lr, "decay": decay, "betas": betas})

    @torch.no_grad()
    def step(self):
        for group in self.param_groups:
            b1, b2 = group["betas"]
            for p in group["params"]:
                state = self.state[p]
                if not state:
                    state["t"], state["m"], state["v"] = 0, torch.zeros_like(p), torch.zeros_like(p)
                state["t"] += 1
                g = p.grad + group["decay"] * p
                state["m"].lerp_(g, 1 - b1)
                state["v"].lerp_(g * g, 1 - b2)
                m, v = state["m"] / (1 - b1 ** state["t"]), state["v"] / (1 - b2 ** state["t"])
                p.sub_(group["lr"] * m / (v.sqrt() + 1e-8))


net = nn.Sequential(nn.Linear(6, 24), nn.ReLU(), nn.Linear(24, 1))
optimizer = CourseAdam(net.parameters(), lr=0.01, decay=0.1)
for _ in range(8):
    optimizer.zero_grad()
    (net(torch.randn(16, 6)) - 1).pow(2).mean().backward()
    optimizer.step()
