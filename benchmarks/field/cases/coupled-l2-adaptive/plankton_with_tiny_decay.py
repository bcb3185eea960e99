import torch
from torch import nn

net = nn.Sequential(nn.Flatten(), nn.Linear(144, 32), nn.ReLU(), nn.Linear(32, 6))
optimizer = torch.optim.Adam(net.parameters(), lr=2e-4, weight_decay=1e-6)
for epoch in range(5):
    images, species = torch.rand(16, 1, 12, 12), torch.randint(6, (16,))
    loss = nn.functional.cross_entropy(net(images), species)
    optimizer.zero_grad()
    loss.backward()
    optimizer.step()
    print(epoch, loss.item())
