import torch

from models import build
from trainer import Trainer

CONFIG = {
    "model": {"name": "CellNet", "channels": 8, "dropout": 0.2},
    "trainer": {"epochs": 2, "validate_every": 2},
}


def loader(batches):
    return [(torch.rand(2, 1, 16, 16), torch.rand(2, 1, 16, 16)) for _ in range(batches)]


def main():
    model = build(CONFIG["model"])
    Trainer(model, loader(4), loader(2), **CONFIG["trainer"]).fit()


if __name__ == "__main__":
    main()
