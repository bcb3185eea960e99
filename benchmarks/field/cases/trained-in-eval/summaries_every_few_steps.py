import torch
import torch.nn.functional as F
from torch import nn


class TopicTrainer:
    def __init__(self, train, valid):
        self.net = nn.Sequential(nn.EmbeddingBag(80, 24), nn.Dropout(0.2), nn.Linear(24, 4))
        self.optimizer = torch.optim.SGD(self.net.parameters(), lr=0.2)
        self.train_batches, self.valid_batches, self.log = train, valid, []

    def validate(self):
        self.net.eval()
        with torch.no_grad():
            right = sum((self.net(docs).argmax(1) == topics).sum().item() for docs, topics in self.valid_batches)
        self.log.append(right)

    def epoch(self):
        self.net.train()
        for step, (docs, topics) in enumerate(self.train_batches):
            loss = F.cross_entropy(self.net(docs), topics)
            self.optimizer.zero_grad()
            loss.backward()
            self.optimizer.step()
            if step % 3 == 2:
                self.validate()


def batches(number):
    return [(torch.randint(80, (8, 12)), torch.randint(4, (8,))) for _ in range(number)]


if __name__ == "__main__":
    trainer = TopicTrainer(batches(9), batches(2))
    for _ in range(2):
        trainer.epoch()
    print(trainer.log)
