"""What teaching the upper layers of MiniLM has in common, whatever they shall read."""

import torch
from torch import Tensor, nn

from chatbot.pair_reading import PairNetwork


class FineTuner:
    """Changes what training changes of a network, and leaves the rest as it is.

    AdamW; matrices decay, and nothing else.
    """

    def __init__(self, network: PairNetwork, *, rate: float, head_rate: float, weight_decay: float):
        """Makes the network ready to be taught.

        Args:
            rate: learning rate of the layers.
            head_rate: of the head, which starts from nothing.
        """
        network.requires_grad_(False)
        trained = dict(network.trained())
        self._parameters = list(trained.values())
        for parameter in self._parameters:
            parameter.requires_grad_(True)

        def those(in_encoder: bool, is_matrix: bool) -> list[nn.Parameter]:
            return [
                parameter
                for name, parameter in trained.items()
                if name.startswith("encoder.") == in_encoder and (parameter.ndim > 1) == is_matrix
            ]

        self._optimizer = torch.optim.AdamW(
            {
                "params": those(in_encoder, is_matrix),
                "lr": rate if in_encoder else head_rate,
                "weight_decay": weight_decay if is_matrix else 0.0,
            }
            for in_encoder in (True, False)
            for is_matrix in (True, False)
        )
        self._rates = [group["lr"] for group in self._optimizer.param_groups]

    def step(self, loss: Tensor, share: float) -> float:
        """A step down the loss, which it returns, with a share of the learning rates."""
        for group, rate in zip(self._optimizer.param_groups, self._rates, strict=True):
            group["lr"] = rate * share
        self._optimizer.zero_grad()
        loss.backward()
        nn.utils.clip_grad_norm_(self._parameters, 1.0)
        self._optimizer.step()
        return float(loss.detach())


def share_of_rate(step: int, done: float, warm_up_steps: int) -> float:
    """Of the learning rates: a linear rise, then a linear fall.

    Args:
        step: counted from 0.
        done: share of the training that lies behind, 0 to 1.
    """
    return min(1.0, (step + 1) / warm_up_steps) * max(0.02, 1 - done)
