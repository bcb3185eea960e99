import argparse

import torch
from torch import nn


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--eval", action="store_true")
    options = parser.parse_args(["--eval"])
    model = nn.Sequential(nn.Linear(7, 20), nn.ReLU(), nn.Dropout(0.2), nn.Linear(20, 2))
    if options.eval:
        model.eval()
        with torch.no_grad():
            print(model(torch.randn(3, 7)).argmax(1))
        return
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    for _ in range(4):
        loss = nn.functional.cross_entropy(model(torch.randn(16, 7)), torch.randint(2, (16,)))
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()


if __name__ == "__main__":
    main()
