import torch
from torch import nn


class NewsEncoder(nn.Module):
    def __init__(self, words=100, topics=6):
        super().__init__()
        self.rate = 0.3
        self.embed = nn.EmbeddingBag(words, 32)
        self.hidden = nn.Linear(32, 32)
        self.topic = nn.Linear(32, topics)

    def forward(self, ids):
        h = torch.relu(self.hidden(self.embed(ids)))
        h = nn.Dropout(self.rate)(h)
        return self.topic(h)


class Trainer:
    def __init__(self, model):
        self.model = model
        self.criterion = nn.CrossEntropyLoss()
        self.optimizer = torch.optim.SGD(model.parameters(), lr=0.2)

    def fit(self, steps):
        self.model.train()
        for _ in range(steps):
            loss = self.criterion(self.model(torch.randint(100, (16, 9))), torch.randint(6, (16,)))
            self.optimizer.zero_grad()
            loss.backward()
            self.optimizer.step()

    @torch.no_grad()
    def predict(self, ids):
        self.model.eval()
        return self.model(ids).argmax(dim=1)


if __name__ == "__main__":
    trainer = Trainer(NewsEncoder())
    trainer.fit(5)
    print(trainer.predict(torch.randint(100, (3, 9))))
