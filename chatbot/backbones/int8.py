"""Linear layers with weights in int8, for CPUs: half the memory of bfloat16 in about the same time.

Weights are rounded once, with a scale for each output; what they read is rounded at every call,
with a scale for each row (the vector-wise rounding of LLM.int8, Dettmers et al. 2022, without its
outliers). The product is then one of whole numbers and exact, so a row never depends on the rows
beside it. Gradients go through as if what is read were not rounded (straight-through, Bengio et
al. 2013). The output embedding stays as it is, and with it what steering stands on: logits are
exactly its product with the final hidden state.

Shapes: `R` rows, `I` inputs, `O` outputs.
"""

from functools import cache
from typing import Any

import torch
from torch import Tensor, nn
from transformers import PreTrainedModel
from transformers.pytorch_utils import Conv1D

from chatbot.errors import ModelError

_LARGEST = 127.0
_LEAST = 1e-12
"""Of a scale: a row of zeros has none."""


def to_int8(model: PreTrainedModel) -> None:
    """Puts int8 layers in place of all linear ones but the output embedding.

    Raises:
        ModelError: torch does not multiply int8 exactly on this processor.
    """
    if not multiplies_exactly():
        raise ModelError(
            "torch cannot multiply int8 exactly on this processor, which needs VNNI instructions "
            "(Intel's servers since 2019, AMD since Zen 4); leave the dtype out, or give bfloat16 "
            "or float32"
        )
    output = model.get_output_embeddings()
    made: dict[nn.Module, Int8Linear] = {}  # a layer may be shared
    for parent in list(model.modules()):
        for name, layer in list(parent.named_children()):
            # Of other classes (a subclass, the experts of a mixture) it is not known what they do.
            if type(layer) in (nn.Linear, Conv1D) and layer is not output:
                if layer not in made:
                    made[layer] = Int8Linear(layer)
                setattr(parent, name, made[layer])


class Int8Linear(nn.Module):
    """A linear layer, or a `Conv1D` of GPT-2, with its weights rounded.

    Attributes:
        weight: (O, I) int8.
        scale: (O,) float32, what a step of the weights is worth.
        bias: (O,) as the layer had it; None without.
    """

    weight: nn.Parameter
    scale: Tensor

    def __init__(self, layer: nn.Module):
        super().__init__()
        given: Any = layer
        weight = (given.weight.t() if isinstance(layer, Conv1D) else given.weight).detach()
        rounded, scale = rounded_rows(weight)
        self.weight = nn.Parameter(rounded, requires_grad=False)
        self.register_buffer("scale", scale.squeeze(1))
        self.bias = given.bias

    def forward(self, x: Tensor) -> Tensor:
        """(..., I) -> (..., O) in the dtype of x."""
        out: Tensor = _Product.apply(x.flatten(0, -2), self.weight, self.scale)  # type: ignore[no-untyped-call]
        if self.bias is not None:
            out = out + self.bias
        return out.to(x.dtype).unflatten(0, x.shape[:-1])


def rounded_rows(x: Tensor) -> tuple[Tensor, Tensor]:
    """Rows (R, I) as int8, and what a step of each is worth, (R, 1) float32."""
    scale = (x.abs().amax(-1, keepdim=True).float() / _LARGEST).clamp_min(_LEAST)
    return (x / scale).round_().to(torch.int8), scale


class _Product(torch.autograd.Function):
    """x (R, I) times the transpose of int8 weights (O, I) and their scales (O,): (R, O) float32."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, weight: Tensor, scale: Tensor) -> Tensor:
        ctx.save_for_backward(weight, scale)
        ctx.dtype = x.dtype
        rows, step = rounded_rows(x)
        return torch._int_mm(rows, weight.t()).float().mul_(scale).mul_(step)

    @staticmethod
    def backward(ctx: Any, *slopes: Tensor) -> tuple[Tensor, None, None]:
        weight, scale = ctx.saved_tensors
        return (slopes[0] * scale).to(ctx.dtype) @ weight.to(ctx.dtype), None, None


@cache
def multiplies_exactly() -> bool:
    """Whether products of int8 are right: without VNNI instructions those of torch 2.13 are not."""
    if not torch.backends.mkldnn.is_available():
        return False  # right, but a hundred times slower
    generator = torch.Generator().manual_seed(0)
    for n_rows, n_in, n_out in ((1, 64, 96), (20, 768, 64), (3, 7, 5)):
        rows, weight = (
            torch.randint(-127, 128, (n, n_in), generator=generator, dtype=torch.int8)
            for n in (n_rows, n_out)
        )
        rows[0] = weight[0] = 127  # the largest sum
        if not torch.equal(torch._int_mm(rows, weight.t()).long(), rows.long() @ weight.long().t()):
            return False
    return True
