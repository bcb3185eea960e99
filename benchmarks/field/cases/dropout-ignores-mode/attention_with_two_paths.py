import math

import torch
import torch.nn.functional as F
from torch import nn


class SelfAttention(nn.Module):
    def __init__(self, width, rate, fast):
        super().__init__()
        self.to_q, self.to_k, self.to_v = (nn.Linear(width, width) for _ in range(3))
        self.out, self.rate, self.fast = nn.Linear(width, width), rate, fast
        self.drop = nn.Dropout(rate)

    def forward(self, x):
        q, k, v = self.to_q(x), self.to_k(x), self.to_v(x)
        if self.fast:
            out = F.scaled_dot_product_attention(q, k, v, dropout_p=self.rate)
        else:
            scores = q @ k.transpose(-1, -2) / math.sqrt(q.shape[-1])
            out = self.drop(scores.softmax(-1)) @ v
        return self.out(out)


class Encoder(nn.Module):
    def __init__(self, width=24, depth=2, rate=0.1, fast=True):
        super().__init__()
        self.blocks = nn.ModuleList(SelfAttention(width, rate, fast) for _ in range(depth))
        self.norms = nn.ModuleList(nn.LayerNorm(width) for _ in range(depth))
        self.words = nn.Linear(width, 50)

    def forward(self, frames):
        for block, norm in zip(self.blocks, self.norms):
            frames = frames + block(norm(frames))
        return self.words(frames)


def main():
    speech = Encoder()
    optimizer = torch.optim.AdamW(speech.parameters(), lr=1e-3)
    for _ in range(4):
        loss = F.cross_entropy(speech(torch.randn(2, 20, 24)).flatten(0, 1), torch.randint(50, (40,)))
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    speech.eval()
    with torch.inference_mode():
        print(speech(torch.randn(1, 20, 24)).argmax(-1))


if __name__ == "__main__":
    main()
