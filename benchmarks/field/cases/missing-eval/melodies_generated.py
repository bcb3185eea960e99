import torch
from torch import nn


class MelodyModel(nn.Module):
    def __init__(self, pitches=24, width=32):
        super().__init__()
        self.embed = nn.Embedding(pitches, width)
        self.layer = nn.TransformerEncoderLayer(width, 4, 64, dropout=0.2, batch_first=True)
        self.head = nn.Linear(width, pitches)

    def forward(self, notes):
        mask = nn.Transformer.generate_square_subsequent_mask(notes.shape[1])
        return self.head(self.layer(self.embed(notes), src_mask=mask))

    @torch.no_grad()
    def generate(self, notes, length):
        for _ in range(length):
            notes = torch.cat([notes, self(notes)[:, -1:].argmax(-1)], dim=1)
        return notes


model = MelodyModel()
optimizer = torch.optim.AdamW(model.parameters(), lr=1e-3)
for step in range(4):
    tune = torch.randint(24, (8, 17))
    loss = nn.functional.cross_entropy(model(tune[:, :-1]).flatten(0, 1), tune[:, 1:].flatten())
    optimizer.zero_grad()
    loss.backward()
    optimizer.step()
print(model.generate(torch.randint(24, (1, 4)), length=8))
