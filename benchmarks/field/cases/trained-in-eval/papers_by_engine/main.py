import argparse

import torch

from engine import train
from network import PaperNet


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--steps", type=int, default=8)
    parser.add_argument("--evaluate-every", type=int, default=3)
    args = parser.parse_args()
    data = [(torch.randint(90, (8, 14)), torch.randint(5, (8,))) for _ in range(args.steps)]
    held_out = [(torch.randint(90, (8, 14)), torch.randint(5, (8,))) for _ in range(2)]
    print(train(PaperNet(words=90, topics=5), data, held_out, args.evaluate_every))


if __name__ == "__main__":
    main()
