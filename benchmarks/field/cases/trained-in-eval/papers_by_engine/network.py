from torch import nn


class PaperNet(nn.Module):
    def __init__(self, words, topics, width=24):
        super().__init__()
        self.embed = nn.EmbeddingBag(words, width)
        self.head = nn.Sequential(nn.Linear(width, width), nn.ReLU(), nn.Dropout(0.3), nn.Linear(width, topics))

    def forward(self, ids):
        return self.head(self.embed(ids))
