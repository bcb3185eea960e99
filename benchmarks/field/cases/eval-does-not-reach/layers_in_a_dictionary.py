import torch
from torch import nn


class TaskNet(nn.Module):
    def __init__(self):
        super().__init__()
        self.body = nn.Linear(16, 24)
        self.heads = {name: self.head_of() for name in ("age", "sex")}

    @staticmethod
    def head_of():
        return nn.Sequential(nn.Dropout(0.5), nn.Linear(24, 2))

    def forward(self, x):
        h = torch.relu(self.body(x))
        return {name: head(h) for name, head in self.heads.items()}


net = TaskNet()
optimizer = torch.optim.SGD(net.parameters(), lr=0.1)
for _ in range(4):
    out = net(torch.randn(8, 16))
    loss = sum(nn.functional.cross_entropy(scores, torch.randint(2, (8,))) for scores in out.values())
    optimizer.zero_grad()
    loss.backward()
    optimizer.step()
net.eval()
with torch.no_grad():
    print({name: scores.argmax(1) for name, scores in net(torch.randn(3, 16)).items()})
