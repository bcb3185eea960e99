import torch
from torch import nn


class SpectrumNet(nn.Module):
    def __init__(self, minerals=6):
        super().__init__()
        self.layers = nn.Sequential(
            nn.Linear(50, 32), nn.ReLU(),
            nn.Dropout(0.4), nn.BatchNorm1d(32),
            nn.Linear(32, minerals),
        )

    def forward(self, x):
        return self.layers(x)


net = SpectrumNet()
optimizer = torch.optim.SGD(net.parameters(), lr=0.1)
for _ in range(5):
    spectra, minerals = torch.rand(64, 50), torch.randint(6, (64,))
    loss = nn.functional.cross_entropy(net(spectra), minerals)
    optimizer.zero_grad()
    loss.backward()
    optimizer.step()
net.eval()
with torch.no_grad():
    print(net(torch.rand(3, 50)).argmax(1))
