import torch
from torch import nn

model = nn.Sequential(nn.Flatten(), nn.Linear(64, 32), nn.ReLU(), nn.Dropout(0.5), nn.Linear(32, 10))
criterion = nn.CrossEntropyLoss()
optimizer = torch.optim.SGD(model.parameters(), lr=0.1, momentum=0.9)
loaders = {
    "train": [(torch.rand(16, 8, 8), torch.randint(10, (16,))) for _ in range(3)],
    "val": [(torch.rand(16, 8, 8), torch.randint(10, (16,)))],
}

for epoch in range(2):
    for phase in ("train", "val"):
        right = 0
        for x, y in loaders[phase]:
            optimizer.zero_grad()
            with torch.set_grad_enabled(phase == "train"):
                out = model(x)
                loss = criterion(out, y)
                if phase == "train":
                    loss.backward()
                    optimizer.step()
            right += (out.argmax(1) == y).sum().item()
        print(epoch, phase, right)
