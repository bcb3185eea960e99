import torch
import torch.nn.functional as F
from torch import nn, optim

model = nn.Sequential(nn.Linear(14, 32), nn.ReLU(), nn.Dropout(0.3), nn.Linear(32, 2))
optimizer = optim.SGD(model.parameters(), lr=0.1)
loans = [(torch.randn(16, 14), torch.randint(2, (16,))) for _ in range(4)]

model.train()
for epoch in range(3):
    for x, y in loans[:3]:
        loss = F.cross_entropy(model(x), y)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()

    model.eval()
    with torch.no_grad():
        x, y = loans[3]
        accuracy = (model(x).argmax(1) == y).float().mean()
    print(epoch, accuracy.item())
