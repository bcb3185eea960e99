from torch import nn


class CellNet(nn.Module):
    def __init__(self, channels, dropout):
        super().__init__()
        self.encode = nn.Sequential(nn.Conv2d(1, channels, 3, padding=1), nn.BatchNorm2d(channels), nn.ReLU())
        self.drop = nn.Dropout2d(dropout)
        self.decode = nn.Conv2d(channels, 1, 3, padding=1)

    def forward(self, x):
        return self.decode(self.drop(self.encode(x)))


class WideCellNet(CellNet):
    def __init__(self, channels, dropout):
        super().__init__(2 * channels, dropout)


def build(config):
    arguments = dict(config)
    return globals()[arguments.pop("name")](**arguments)
