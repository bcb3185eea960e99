import torch
from torch import nn


class Trainer:
    def __init__(self, model, train_loader, valid_loader, epochs, validate_every):
        self.model, self.train_loader, self.valid_loader = model, train_loader, valid_loader
        self.epochs, self.validate_every = epochs, validate_every
        self.criterion = nn.MSELoss()
        self.optimizer = torch.optim.SGD(model.parameters(), lr=0.05)

    def fit(self):
        self.model.train()
        for epoch in range(self.epochs):
            for step, (x, y) in enumerate(self.train_loader):
                loss = self.criterion(self.model(x), y)
                self.optimizer.zero_grad()
                loss.backward()
                self.optimizer.step()
                if step % self.validate_every == 1:
                    error = self.validate()
                    print(epoch, step, error)

    def validate(self):
        total = 0.0
        with torch.no_grad():
            for x, y in self.valid_loader:
                total += self.criterion(self.model(x), y).item()
        return total / len(self.valid_loader)
