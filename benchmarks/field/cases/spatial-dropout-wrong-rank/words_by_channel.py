import torch
from torch import nn


class WordNet(nn.Module):
    def __init__(self, words=70, width=16):
        super().__init__()
        self.embed = nn.Embedding(words, width)
        self.mix = nn.GRU(width, width, batch_first=True)
        self.drop = nn.Dropout2d(0.2)
        self.out = nn.Linear(width, 3)

    def forward(self, ids):
        h, _ = self.mix(self.embed(ids))
        h = self.drop(h.transpose(1, 2).unsqueeze(2)).squeeze(2).transpose(1, 2)
        return self.out(h).mean(dim=1)


def main():
    net = WordNet()
    optimizer = torch.optim.SGD(net.parameters(), lr=0.1)
    for _ in range(4):
        loss = nn.functional.cross_entropy(net(torch.randint(70, (8, 10))), torch.randint(3, (8,)))
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    net.eval()
    with torch.no_grad():
        print(net(torch.randint(70, (2, 10))).argmax(1))


if __name__ == "__main__":
    main()
