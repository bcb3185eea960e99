import torch
from torch import nn


class WeakAttention(nn.Module):
    example_input_array = torch.randn(2, 9, 16)

    def __init__(self):
        super().__init__()
        self.attend = nn.MultiheadAttention(16, 2, dropout=0.6, batch_first=True)
        self.norm, self.out = nn.LayerNorm(16), nn.Linear(16, 3)

    def forward(self, x):
        y, _ = self.attend(x, x, x)
        return self.out(self.norm(x + y).mean(1))


net = WeakAttention()
optimizer = torch.optim.SGD(net.parameters(), lr=0.1)
for _ in range(4):
    loss = nn.functional.cross_entropy(net(torch.randn(8, 9, 16)), torch.randint(3, (8,)))
    optimizer.zero_grad()
    loss.backward()
    optimizer.step()
net.eval()
with torch.no_grad():
    print(net(torch.randn(2, 9, 16)).argmax(1))
