import torch
import torch.nn.functional as F
from torch import nn


class RowNet(nn.Module):
    def __init__(self):
        super().__init__()
        self.enter, self.out = nn.Linear(9, 30), nn.Linear(30, 1)

    def forward(self, x):
        x = F.dropout1d(torch.relu(self.enter(x)), 0.25, self.training)
        return self.out(x)


model = RowNet()
optimizer = torch.optim.SGD(model.parameters(), lr=0.05)
for step in range(6):
    loss = F.mse_loss(model(torch.randn(32, 9)), torch.randn(32, 1))
    optimizer.zero_grad()
    loss.backward()
    optimizer.step()
model.eval()
with torch.no_grad():
    print(model(torch.randn(3, 9)))
