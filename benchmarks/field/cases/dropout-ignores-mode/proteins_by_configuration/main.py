import torch
import torch.nn.functional as F

from configuration import ProteinConfig
from modules import ProteinModel


def main():
    model = ProteinModel(ProteinConfig(width=16))
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-3)
    for _ in range(3):
        chain, folds = torch.randint(21, (4, 12)), torch.randint(3, (4, 12))
        optimizer.zero_grad()
        F.cross_entropy(model(chain).flatten(0, 1), folds.flatten()).backward()
        optimizer.step()
    model.eval()
    with torch.inference_mode():
        print(model(torch.randint(21, (1, 12))).argmax(-1))


if __name__ == "__main__":
    main()
