import torch
import torch.nn as nn


class Block(nn.Module):
    def __init__(self, width):
        super().__init__()
        self.conv, self.bn = nn.Conv2d(width, width, 3, padding=1, bias=False), nn.BatchNorm2d(width)

    def forward(self, x):
        return x + torch.relu(self.bn(self.conv(x)))


resnet = nn.Sequential(nn.Conv2d(1, 8, 3, stride=2), Block(8), Block(8), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(8, 10))
criterion = nn.CrossEntropyLoss()
optimizer = torch.optim.SGD(resnet.parameters(), lr=0.05)
train_loader = [(torch.rand(8, 1, 20, 20), torch.randint(10, (8,))) for _ in range(3)]
test_loader = [(torch.rand(8, 1, 20, 20), torch.randint(10, (8,))) for _ in range(2)]

for epoch in range(2):
    for images, labels in train_loader:
        optimizer.zero_grad()
        loss = criterion(resnet(images), labels)
        loss.backward()
        optimizer.step()

# Test
correct = 0
total = 0
for images, labels in test_loader:
    _, predicted = torch.max(resnet(images), 1)
    total += labels.size(0)
    correct += (predicted == labels).sum().item()
print(f"accuracy on test images: {100 * correct / total:.1f} %")
torch.save(resnet.state_dict(), "resnet.pt")
