import torch
from torch import nn


def run(net, batches, split, optimizer):
    net.train(split == "valid")
    total = 0.0
    for x, y in batches:
        with torch.set_grad_enabled(split == "train"):
            scores = net(x)
            loss = nn.functional.cross_entropy(scores, y)
        if split == "train":
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
        total += loss.item()
    return total / len(batches)


if __name__ == "__main__":
    net = nn.Sequential(nn.Linear(10, 32), nn.ReLU(), nn.Dropout(0.4), nn.Linear(32, 2))
    sgd = torch.optim.SGD(net.parameters(), lr=0.1)
    data = [(torch.randn(16, 10), torch.randint(2, (16,))) for _ in range(4)]
    for epoch in range(3):
        print(epoch, run(net, data[:3], "train", sgd), run(net, data[3:], "valid", sgd))
