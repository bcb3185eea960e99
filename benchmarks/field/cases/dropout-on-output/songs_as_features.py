import torch
import torch.nn.functional as F
from torch import nn


class SongEncoder(nn.Module):
    def __init__(self):
        super().__init__()
        self.body = nn.Sequential(nn.Linear(40, 32), nn.ReLU())
        self.project, self.drop = nn.Linear(32, 16), nn.Dropout(0.1)

    def forward(self, x):
        x = self.body(x)
        return F.normalize(self.drop(self.project(x)), dim=1)


encoder = SongEncoder()
optimizer = torch.optim.SGD(encoder.parameters(), lr=0.1)
for _ in range(4):
    songs = torch.randn(16, 40)
    similarity = encoder(songs) @ encoder(songs).T / 0.1
    loss = F.cross_entropy(similarity, torch.arange(16))
    optimizer.zero_grad()
    loss.backward()
    optimizer.step()
