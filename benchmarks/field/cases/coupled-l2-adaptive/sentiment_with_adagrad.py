import torch
from torch import nn


class ReviewModel(nn.Module):
    def __init__(self, words=90):
        super().__init__()
        self.embed = nn.Embedding(words, 16)
        self.rnn = nn.GRU(16, 16, batch_first=True)
        self.out = nn.Linear(16, 2)

    def forward(self, ids):
        return self.out(self.rnn(self.embed(ids))[1][0])


def fit(model, batches):
    optimizer = torch.optim.Adagrad(model.parameters(), lr=0.05, weight_decay=0.001)
    for ids, labels in batches:
        optimizer.zero_grad()
        nn.functional.cross_entropy(model(ids), labels).backward()
        optimizer.step()
    return model


fit(ReviewModel(), [(torch.randint(90, (8, 10)), torch.randint(2, (8,))) for _ in range(5)])
