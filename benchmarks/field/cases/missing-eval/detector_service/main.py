import io

import torch

from network import FraudNet
from service import Service


def main():
    file = io.BytesIO()
    torch.save(FraudNet(inputs=12).state_dict(), file)
    file.seek(0)
    service = Service(torch.load(file))
    for _ in range(2):
        print(service.score(torch.randn(3, 12).tolist()))


if __name__ == "__main__":
    main()
