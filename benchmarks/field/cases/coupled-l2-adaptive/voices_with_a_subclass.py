import torch
from torch import nn


class VoiceAdam(torch.optim.Adam):
    """Adam with the settings of our speech models, and a warm-up."""

    def __init__(self, parameters, lr=1e-3, weight_decay=0.01, warmup=10):
        super().__init__(parameters, lr=lr, betas=(0.9, 0.98), weight_decay=weight_decay)
        self.warmup, self.taken, self.peak = warmup, 0, lr

    def step(self, closure=None):
        self.taken += 1
        for group in self.param_groups:
            group["lr"] = self.peak * min(1.0, self.taken / self.warmup)
        return super().step(closure)


net = nn.Sequential(nn.Linear(13, 32), nn.ReLU(), nn.Linear(32, 20))
optimizer = VoiceAdam(net.parameters())
for _ in range(5):
    optimizer.zero_grad()
    nn.functional.cross_entropy(net(torch.randn(16, 13)), torch.randint(20, (16,))).backward()
    optimizer.step()
