import torch
from torch import nn


def stopper(net, x, y, patience=2):
    best, worse = float("inf"), 0

    def stop(epoch):
        nonlocal best, worse
        net.eval()
        with torch.no_grad():
            error = nn.functional.mse_loss(net(x), y).item()
        best, worse = min(best, error), 0 if error < best else worse + 1
        return worse > patience

    return stop


def main():
    net = nn.Sequential(nn.Linear(6, 24), nn.Tanh(), nn.Dropout(0.25), nn.Linear(24, 1))
    optimizer = torch.optim.SGD(net.parameters(), lr=0.01)
    stop = stopper(net, torch.randn(16, 6), torch.randn(16, 1))
    for epoch in range(4):
        for _ in range(3):
            x, y = torch.randn(16, 6), torch.randn(16, 1)
            loss = nn.functional.mse_loss(net(x), y)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
        if stop(epoch):
            break


if __name__ == "__main__":
    main()
