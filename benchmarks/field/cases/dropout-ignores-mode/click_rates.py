import torch
import torch.nn.functional as F


class Interactions(torch.nn.Module):
    def __init__(self, fields, width, p):
        super().__init__()
        self.p = p
        self.attention = torch.nn.Linear(width, 16)
        self.score = torch.nn.Linear(16, 1)
        self.out = torch.nn.Linear(width, 1)
        self.left, self.right = torch.triu_indices(fields, fields, offset=1)

    def forward(self, x):
        products = x[:, self.left] * x[:, self.right]
        weights = self.score(F.relu(self.attention(products))).softmax(dim=1)
        pooled = (weights * products).sum(dim=1)
        pooled = F.dropout(pooled, p=self.p)
        return self.out(pooled)


class ClickModel(torch.nn.Module):
    def __init__(self, fields=5, values=40, width=12):
        super().__init__()
        self.embedding = torch.nn.Embedding(fields * values, width)
        self.interactions = Interactions(fields, width, p=0.2)
        self.register_buffer("offsets", torch.arange(fields) * values)

    def forward(self, ids):
        return torch.sigmoid(self.interactions(self.embedding(ids + self.offsets)).squeeze(1))


def epoch(model, optimizer, batches):
    model.train()
    for ids, clicks in batches:
        optimizer.zero_grad()
        F.binary_cross_entropy(model(ids), clicks).backward()
        optimizer.step()


def test(model, batches):
    model.eval()
    with torch.no_grad():
        return sum(((model(ids) > 0.5) == (clicks > 0.5)).float().mean() for ids, clicks in batches) / len(batches)


if __name__ == "__main__":
    data = [(torch.randint(40, (32, 5)), torch.randint(2, (32,)).float()) for _ in range(4)]
    net = ClickModel()
    epoch(net, torch.optim.SGD(net.parameters(), lr=0.05), data)
    print(test(net, data))
