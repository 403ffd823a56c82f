"""The Muon optimizer in float32 (momentum, then an approximate orthogonalisation by Newton-Schulz)."""

import torch


def orthogonal(m, steps=5):
    """m: (count, rows, columns) with rows <= columns."""
    x = m / (m.flatten(1).norm(dim=1)[:, None, None] + 1e-7)
    a, b, c = 3.4445, -4.7750, 2.0315
    for _ in range(steps):
        s = x @ x.transpose(1, 2)
        x = torch.baddbmm(x, torch.baddbmm(s, s, s, beta=b, alpha=c), x, beta=a)
    return x


class Muon(torch.optim.Optimizer):
    def __init__(self, params, lr, momentum=0.95, weight_decay=0.02):
        super().__init__(params, dict(lr=lr, momentum=momentum, weight_decay=weight_decay))

    @torch.no_grad()
    def step(self):
        for g in self.param_groups:
            shapes = {}
            for p in g["params"]:
                if p.grad is None:
                    continue
                buf = self.state[p].setdefault("momentum", torch.zeros_like(p))
                buf.lerp_(p.grad, 1 - g["momentum"])
                update = p.grad.lerp(buf, g["momentum"])
                turn = p.shape[0] > p.shape[1]
                shapes.setdefault((min(p.shape), max(p.shape)), []).append((p, update.T if turn else update, turn))
            for (_, longest), items in shapes.items():
                out = orthogonal(torch.stack([u for _, u, _ in items])) * (0.2 * longest ** 0.5)
                for (p, _, turn), u in zip(items, out):
                    p.mul_(1 - g["lr"] * g["weight_decay"]).add_(u.T if turn else u, alpha=-g["lr"])
