import torch

from network import FraudNet


class Service:
    def __init__(self, state):
        self.net = FraudNet(inputs=12)
        self.net.load_state_dict(state)

    @torch.inference_mode()
    def score(self, rows):
        batch = torch.tensor(rows)
        return self.net(batch).softmax(-1)
