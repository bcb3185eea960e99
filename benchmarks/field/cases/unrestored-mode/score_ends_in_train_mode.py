import torch
from torch import nn


def accuracy(model, batches):
    model.eval()
    with torch.no_grad():
        right = sum((model(x).argmax(1) == y).sum().item() for x, y in batches)
    model.train()
    return right


def main():
    model = nn.Sequential(nn.Linear(9, 30), nn.ReLU(), nn.Dropout(0.4), nn.Linear(30, 3))
    torch.save(model.state_dict(), "crops.pt")
    model.load_state_dict(torch.load("crops.pt"))
    model.eval()
    samples = [(torch.randn(8, 9), torch.randint(3, (8,))) for _ in range(2)]
    print(accuracy(model, samples))
    with torch.no_grad():
        print(model(torch.randn(2, 9)).argmax(1))


if __name__ == "__main__":
    main()
