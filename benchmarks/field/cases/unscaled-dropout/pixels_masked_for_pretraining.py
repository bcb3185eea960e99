import torch
from torch import nn


class MaskedModel(nn.Module):
    def __init__(self):
        super().__init__()
        self.encode, self.decode = nn.Linear(64, 32), nn.Linear(32, 64)

    def forward(self, pixels):
        if self.training:
            pixels = pixels * (torch.rand_like(pixels) > 0.5)
        return self.decode(torch.relu(self.encode(pixels)))


model = MaskedModel()
optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
for _ in range(5):
    pixels = torch.rand(16, 64)
    loss = nn.functional.mse_loss(model(pixels), pixels)
    optimizer.zero_grad()
    loss.backward()
    optimizer.step()
model.eval()
with torch.no_grad():
    print(model(torch.rand(2, 64)).shape)
