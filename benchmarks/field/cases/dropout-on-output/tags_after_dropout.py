import torch
from torch import nn


class Tagger(nn.Module):
    def __init__(self, words, labels, width=24, rate=0.1):
        super().__init__()
        self.embed = nn.Embedding(words, width)
        self.encoder = nn.GRU(width, width, batch_first=True)
        self.classifier = nn.Linear(width, labels)
        self.dropout = nn.Dropout(rate)

    def forward(self, ids, labels=None):
        h, _ = self.encoder(self.embed(ids))
        logits = self.dropout(self.classifier(h))
        if labels is None:
            return logits
        return nn.functional.cross_entropy(logits.flatten(0, 1), labels.flatten()), logits


def train(model, optimizer):
    model.train()
    for _ in range(4):
        loss, _ = model(torch.randint(70, (4, 9)), torch.randint(5, (4, 9)))
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()


if __name__ == "__main__":
    tagger = Tagger(words=70, labels=5)
    train(tagger, torch.optim.AdamW(tagger.parameters(), lr=1e-3))
    tagger.eval()
    with torch.no_grad():
        print(tagger(torch.randint(70, (1, 9))).argmax(-1))
