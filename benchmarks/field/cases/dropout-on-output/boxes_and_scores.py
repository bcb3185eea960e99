import torch
from torch import nn


class Detector(nn.Module):
    def __init__(self, anchors=9, classes=4):
        super().__init__()
        self.body = nn.Sequential(nn.Linear(32, 48), nn.ReLU())
        self.boxes, self.scores = nn.Linear(48, 4 * anchors), nn.Linear(48, classes * anchors)
        self.drop = nn.Dropout(0.1)

    def forward(self, x):
        h = self.body(x)
        return {
            "boxes": self.boxes(h),
            "scores": self.drop(self.scores(h)),
        }


def loss_of(out, boxes, labels):
    scores = out["scores"].view(len(labels), 4, 9)
    return nn.functional.l1_loss(out["boxes"], boxes) + nn.functional.cross_entropy(scores, labels)


if __name__ == "__main__":
    net = Detector()
    optimizer = torch.optim.SGD(net.parameters(), lr=0.05)
    for _ in range(5):
        loss = loss_of(net(torch.randn(8, 32)), torch.rand(8, 36), torch.randint(4, (8, 9)))
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    net.eval()
    with torch.no_grad():
        print(net(torch.randn(1, 32))["scores"].shape)
