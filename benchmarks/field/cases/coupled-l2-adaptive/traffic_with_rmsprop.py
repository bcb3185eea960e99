import torch
from torch import nn


class Agent:
    """Chooses the phase of a traffic light."""

    def __init__(self, phases=4):
        self.net = nn.Sequential(nn.Linear(10, 64), nn.ReLU(), nn.Linear(64, phases))
        self.optimizer = torch.optim.RMSprop(self.net.parameters(), lr=1e-3, weight_decay=1e-3)

    def act(self, state):
        with torch.no_grad():
            return self.net(state).argmax(-1)

    def learn(self, state, phase, reward, following, discount=0.9):
        with torch.no_grad():
            target = reward + discount * self.net(following).amax(-1)
        value = self.net(state).gather(1, phase[:, None]).squeeze(1)
        loss = nn.functional.smooth_l1_loss(value, target)
        self.optimizer.zero_grad()
        loss.backward()
        self.optimizer.step()


if __name__ == "__main__":
    agent = Agent()
    state = torch.randn(16, 10)
    for _ in range(6):
        phase, following = agent.act(state), torch.randn(16, 10)
        agent.learn(state, phase, torch.rand(16), following)
        state = following
