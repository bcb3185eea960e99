import torch
import torch.nn.functional as F
from torch import nn


class Heads(nn.Module):
    def __init__(self, width, heads, drop):
        super().__init__()
        self.heads, self.drop = heads, drop
        self.qkv = nn.Linear(width, 3 * width)
        self.proj = nn.Linear(width, width)

    def forward(self, x):
        b, t, c = x.shape
        q, k, v = (part.view(b, t, self.heads, -1).transpose(1, 2) for part in self.qkv(x).chunk(3, dim=-1))
        y = F.scaled_dot_product_attention(q, k, v, dropout_p=self.drop, is_causal=True)
        return self.proj(y.transpose(1, 2).reshape(b, t, c))


class LetterModel(nn.Module):
    def __init__(self, letters=30, width=32):
        super().__init__()
        self.embed = nn.Embedding(letters, width)
        self.attend = Heads(width, 4, drop=0.2)
        self.norm = nn.LayerNorm(width)
        self.head = nn.Linear(width, letters)

    def forward(self, ids):
        x = self.embed(ids)
        return self.head(self.norm(x + self.attend(x)))


if __name__ == "__main__":
    torch.manual_seed(1)
    model = LetterModel()
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    for _ in range(3):
        text = torch.randint(30, (4, 13))
        loss = F.cross_entropy(model(text[:, :-1]).flatten(0, 1), text[:, 1:].flatten())
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    model.eval()
    with torch.no_grad():
        print(model(torch.randint(30, (1, 12)))[0, -1].argmax())
