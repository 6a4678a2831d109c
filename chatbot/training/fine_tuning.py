"""What teaching the upper layers of MiniLM has in common, whatever they shall read."""

from collections.abc import Mapping
from typing import Any

from torch import nn


def parameter_groups(
    trained: Mapping[str, nn.Parameter], *, rate: float, head_rate: float, weight_decay: float
) -> list[dict[str, Any]]:
    """Groups for an optimizer: layers and head, matrices and the rest, which does not decay.

    Args:
        trained: by name, as `chatbot.pair_reading.PairNetwork.trained` gives them.
        rate: of the layers.
        head_rate: of the head, which starts from nothing.
    """
    return [
        {
            "params": [
                parameter
                for name, parameter in trained.items()
                if name.startswith("encoder.") == in_encoder and (parameter.ndim > 1) == is_matrix
            ],
            "lr": rate if in_encoder else head_rate,
            "weight_decay": weight_decay if is_matrix else 0.0,
        }
        for in_encoder in (True, False)
        for is_matrix in (True, False)
    ]


def share_of_rate(step: int, steps: int, warm_up_steps: int) -> float:
    """Of the learning rates at a step, counted from 0: a linear rise, then a linear fall."""
    return min(1.0, (step + 1) / warm_up_steps) * max(0.02, 1 - step / steps)
