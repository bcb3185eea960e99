import torch
import torch.nn.functional as F
from torch import nn


class GalaxyNet(nn.Module):
    """Shape of a galaxy from an image of 16 by 16."""

    def __init__(self, shapes=4):
        super().__init__()
        self.is_training = True
        self.conv = nn.Conv2d(1, 8, 3, stride=2, padding=1)
        self.hidden = nn.Linear(8 * 64, 32)
        self.out = nn.Linear(32, shapes)

    def forward(self, image):
        z = F.relu(self.conv(image)).flatten(1)
        z = F.relu(self.hidden(z))
        z = F.dropout(z, 0.4, training=self.is_training)
        return self.out(z)


if __name__ == "__main__":
    net = GalaxyNet()
    optimizer = torch.optim.SGD(net.parameters(), lr=0.05, momentum=0.9)
    for _ in range(4):
        loss = F.cross_entropy(net(torch.rand(8, 1, 16, 16)), torch.randint(4, (8,)))
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    net.eval()
    with torch.no_grad():
        shapes = net(torch.rand(5, 1, 16, 16)).argmax(1)
    print(shapes)
