import torch
from torch import nn


class Block(nn.Module):
    def __init__(self, width, rate=0.1):
        super().__init__()
        self.up, self.down, self.drop = nn.Linear(width, 2 * width), nn.Linear(2 * width, width), nn.Dropout(rate)

    def forward(self, x):
        return x + self.drop(self.down(torch.relu(self.up(x))))


class Reader(nn.Module):
    def __init__(self, words=60, width=20, labels=4):
        super().__init__()
        self.embed, self.block = nn.Embedding(words, width), Block(width)
        self.norm, self.head = nn.LayerNorm(width), nn.Linear(width, labels)

    def forward(self, ids):
        return self.head(self.norm(self.block(self.embed(ids)).mean(1)))


if __name__ == "__main__":
    model = Reader()
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    for _ in range(4):
        loss = nn.functional.cross_entropy(model(torch.randint(60, (8, 11))), torch.randint(4, (8,)))
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    model.eval()
    with torch.no_grad():
        print(model(torch.randint(60, (2, 11))).argmax(1))
