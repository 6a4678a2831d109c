"""Keeps the matrix products of a model in few sizes, where a CPU keeps machine code for each.

oneDNN writes machine code for every size of a product in 16 bits: 0.6 MB and half a millisecond
for each new number of rows of each layer, of which 0.3 MB are never given back (torch 2.13,
bfloat16 on AVX-512). Texts and batches come in hundreds of sizes, so a service would grow for days.
Here rows of zeros are added up to one of few numbers, and left out of the result.

Shapes: `M` rows of all dimensions but the last.
"""

import torch
from torch import Tensor, nn
from torch.nn import functional as F

LEAST_ROWS = 4
"""Fewer take as long: the time goes into reading the weights."""


def even_rows(rows: int) -> int:
    """The number of rows, at least this one, that a product is computed with.

    Multiples of 4 up to 32, then four numbers from each power of two to the next: less than a
    quarter is added.
    """
    step = max(LEAST_ROWS, 1 << max(0, (rows - 1).bit_length() - 3))
    return -(-rows // step) * step


class EvenLinear(nn.Linear):
    """A linear layer that multiplies `even_rows` rows."""

    def forward(self, rows: Tensor) -> Tensor:
        """(..., in) -> (..., out)."""
        n_rows = rows.shape[:-1].numel()
        added = even_rows(n_rows) - n_rows
        if not added or not n_rows:
            return super().forward(rows)
        padded = F.pad(rows.reshape(n_rows, -1), (0, 0, 0, added))  # (M, in)
        return super().forward(padded)[:n_rows].view(*rows.shape[:-1], -1)


def keep_sizes_few(model: nn.Module) -> None:
    """Lets the linear layers in 16 bits on a CPU add rows; their weights stay the same tensors."""
    for parent in list(model.modules()):
        for name, layer in list(parent.named_children()):
            if type(layer) is nn.Linear and _has_growing_products(layer.weight):
                setattr(parent, name, _even(layer))


def _has_growing_products(weight: Tensor) -> bool:
    return weight.device.type == "cpu" and weight.dtype in (torch.bfloat16, torch.float16)


def _even(layer: nn.Linear) -> EvenLinear:
    with torch.device("meta"):
        even = EvenLinear(layer.in_features, layer.out_features, layer.bias is not None)
    even.weight, even.bias = layer.weight, layer.bias
    return even.train(layer.training)
