import torch
import torch.nn.functional as F
from torch import nn

net = nn.Sequential(nn.Linear(9, 40), nn.ReLU(),
                    nn.Linear(40, 1), nn.Dropout(0.3))
optimizer = torch.optim.SGD(net.parameters(), lr=0.01)
for _ in range(6):
    x, y = torch.randn(32, 9), torch.rand(32, 1)
    loss = F.mse_loss(net(x), y)
    optimizer.zero_grad()
    loss.backward()
    optimizer.step()
net.eval()
print(net(torch.randn(2, 9)).detach())
