import torch
import torch.nn.functional as F
from torch import nn

net = nn.Sequential(
    nn.Conv2d(1, 8, 3, padding=1), nn.BatchNorm2d(8), nn.ReLU(), nn.Dropout2d(0.2), nn.Conv2d(8, 1, 3, padding=1)
)
optimizer = torch.optim.SGD(net.parameters(), lr=0.05, momentum=0.9)
training = [(torch.rand(4, 1, 16, 16), torch.randint(2, (4, 1, 16, 16)).float()) for _ in range(3)]
validation = [(torch.rand(4, 1, 16, 16), torch.randint(2, (4, 1, 16, 16)).float()) for _ in range(2)]

for epoch in range(2):
    for scans, truth in training:
        optimizer.zero_grad()
        F.binary_cross_entropy_with_logits(net(scans), truth).backward()
        optimizer.step()

    dice = 0.0
    with torch.no_grad():
        for scans, truth in validation:
            masks = torch.sigmoid(net(scans))
            dice += (2 * (masks * truth).sum() / (masks.sum() + truth.sum())).item()
    print(f"epoch {epoch}: dice {dice / len(validation):.3f}")
