import torch
import torch.nn.functional as F
from torch import nn


class Autoencoder(nn.Module):
    def __init__(self):
        super().__init__()
        self.encode, self.mean, self.spread = nn.Linear(64, 32), nn.Linear(32, 4), nn.Linear(32, 4)
        self.decode = nn.Sequential(nn.Linear(4, 32), nn.ReLU(), nn.Linear(32, 64))

    def forward(self, x):
        h = torch.relu(self.encode(x))
        mean, log_variance = self.mean(h), self.spread(h)
        noise = torch.randn_like(mean)
        latent = mean + noise * (0.5 * log_variance).exp() if self.training else mean
        return self.decode(latent), mean, log_variance


def loss_of(x, out, mean, log_variance):
    divergence = -0.5 * (1 + log_variance - mean.pow(2) - log_variance.exp()).sum(1).mean()
    return F.mse_loss(out, x) + 0.01 * divergence


if __name__ == "__main__":
    model = Autoencoder()
    optimizer = torch.optim.SGD(model.parameters(), lr=0.05)
    for _ in range(5):
        x = torch.rand(32, 64)
        loss = loss_of(x, *model(x))
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    model.eval()
    with torch.no_grad():
        print(model(torch.rand(2, 64))[0].shape)
