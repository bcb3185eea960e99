import torch
from torch import nn
from torch.optim.swa_utils import AveragedModel, update_bn

data = [(torch.randn(16, 10), torch.randint(3, (16,))) for _ in range(4)]
model = nn.Sequential(nn.Linear(10, 24), nn.BatchNorm1d(24), nn.ReLU(), nn.Linear(24, 3))
net = AveragedModel(model)
optimizer = torch.optim.SGD(model.parameters(), lr=0.1)

for epoch in range(3):
    model.train()
    for x, y in data:
        loss = nn.functional.cross_entropy(model(x), y)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    net.update_parameters(model)

net.train()
update_bn(data, net)
net.eval()
with torch.no_grad():
    print(net(torch.randn(4, 10)).argmax(1))
