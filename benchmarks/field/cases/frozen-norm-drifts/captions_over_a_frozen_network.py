import torch
from torch import nn

encoder = nn.Sequential(nn.Conv2d(3, 16, 3), nn.BatchNorm2d(16), nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten())
decoder = nn.Sequential(nn.Linear(16, 32), nn.ReLU(), nn.Linear(32, 60))
optimizer = torch.optim.SGD(decoder.parameters(), lr=0.1)

encoder.train()
decoder.train()
for step in range(5):
    pictures, words = torch.rand(8, 3, 16, 16), torch.randint(60, (8,))
    with torch.no_grad():
        features = encoder(pictures)
    loss = nn.functional.cross_entropy(decoder(features), words)
    optimizer.zero_grad()
    loss.backward()
    optimizer.step()
