import torch
from torch import nn


class Captioner(nn.Module):
    def __init__(self, words=40):
        super().__init__()
        self.rnn = nn.GRU(16, 24, num_layers=2, dropout=0.3, batch_first=True)
        self.word = nn.Linear(24, words)

    def forward(self, x):
        return self.word(self.rnn(x)[0]).transpose(1, 2)


class CaptionTrainer:
    def __init__(self, model, train_set, val_set):
        self.model, self.train_set, self.val_set = model, train_set, val_set
        self.loss = nn.CrossEntropyLoss()
        self.optimizer = torch.optim.SGD(model.parameters(), lr=0.1)

    def run(self, epochs):
        for epoch in range(epochs):
            for x, y in self.train_set:
                loss = self.loss(self.model(x), y)
                self.optimizer.zero_grad()
                loss.backward()
                self.optimizer.step()
            print(epoch, self.validate())

    @torch.no_grad()
    def validate(self):
        total = 0.0
        for x, y in self.val_set:
            total += self.loss(self.model(x), y).item()
        return total / len(self.val_set)


if __name__ == "__main__":
    sets = [[(torch.randn(4, 6, 16), torch.randint(40, (4, 6))) for _ in range(2)] for _ in range(2)]
    CaptionTrainer(Captioner(), *sets).run(2)
