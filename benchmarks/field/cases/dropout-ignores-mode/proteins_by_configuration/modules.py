import torch.nn.functional as F
from torch import nn


class Attention(nn.Module):
    def __init__(self, config):
        super().__init__()
        self.config = config
        self.qkv, self.out = nn.Linear(config.width, 3 * config.width), nn.Linear(config.width, config.width)

    def forward(self, x):
        b, t, c = x.shape
        heads = [part.view(b, t, self.config.heads, -1).transpose(1, 2) for part in self.qkv(x).chunk(3, dim=-1)]
        y = F.scaled_dot_product_attention(*heads, dropout_p=self.config.attention_dropout)
        return self.out(y.transpose(1, 2).reshape(b, t, c))


class ProteinModel(nn.Module):
    def __init__(self, config):
        super().__init__()
        self.embed = nn.Embedding(config.residues, config.width)
        self.blocks = nn.ModuleList(Attention(config) for _ in range(config.depth))
        self.norms = nn.ModuleList(nn.LayerNorm(config.width) for _ in range(config.depth))
        self.classify = nn.Linear(config.width, config.folds)

    def forward(self, chain):
        x = self.embed(chain)
        for norm, block in zip(self.norms, self.blocks):
            x = x + block(norm(x))
        return self.classify(x)
