"""Compiles the decoder's steps of one conversation: they take less time, and loading takes longer.

Knows which steps are worth compiling. What was compiled when the model was loaded is all that ever
is, so that no reply waits for a compiler: every other call of a block (several conversations in a
batch, the first pieces, whole replies, gradients) runs as without it. Weights, their names and the
hooks of the blocks stay as they are.

Shapes as in `chatbot.backbones.base`.
"""

from collections.abc import Callable, Sequence
from types import MethodType
from typing import TYPE_CHECKING, Any

import torch
from torch import nn
from torch.fx.experimental import _config

from chatbot.errors import ModelError, reason_of
from chatbot.even_rows import even_rows

if TYPE_CHECKING:
    from chatbot.backbone import Backbone

Forward = Callable[..., Any]

_CANDIDATES = 4
_UNLIKE_OTHERS = 2
"""Steps that are not compiled: sizes 0 and 1 of what is remembered are special to torch."""

_UNCOMPILABLE = (RuntimeError, OSError, ImportError, AssertionError, NotImplementedError)
"""What torch raises where it has no compiler, or meets what it cannot compile."""


def compile_steps(backbone: "Backbone") -> None:
    """Compiles the blocks of the decoder, with one graph for all numbers of rows and pieces.

    Call it after whatever replaces layers: what is compiled is what is found now.

    Raises:
        ModelError: torch cannot compile here, or not this model; the message says why.
    """
    blocks = backbone.network.blocks
    forward = type(blocks[0]).forward
    _run(blocks, forward)
    try:
        _warm_up(backbone, forward)
    except _UNCOMPILABLE as error:
        for block in blocks:
            del block.forward
        raise ModelError(
            f"torch cannot compile {backbone.source}: {_cause(error)}. On a CPU it needs a C++ "
            "compiler (install g++ or clang, or name one in CXX), on a GPU Triton; or leave out "
            "compile (--compile)"
        ) from error
    _run(blocks, _among_known(forward))


@torch.inference_mode()
def _warm_up(backbone: "Backbone", forward: Forward) -> None:
    """Compiles while a few steps are made, then makes sure that others need nothing new."""
    blocks = backbone.network.blocks
    prompt = backbone.prompt(["Hello! How are you?"]).ids
    state, ids = backbone.start([prompt], _CANDIDATES), backbone.first([prompt], _CANDIDATES)
    compiled = torch.compile(forward, dynamic=True, fullgraph=True)

    def step(n: int = 1) -> None:
        nonlocal state
        for _ in range(n):
            _, state = backbone.step(ids, state)

    step(_UNLIKE_OTHERS)
    with (
        # Sizes that are equal by chance, as rows and heads, are not taken for the same.
        _config.patch(use_duck_shape=False),  # type: ignore[attr-defined]  # put there at import
        # A block of transformers knows its number, so that each has a graph of its own.
        torch._dynamo.config.patch(recompile_limit=4 * len(blocks)),
    ):
        _run(blocks, compiled)
        step(2)
        ids = ids[1:]
        backbone.keep_rows(state, torch.arange(1, _CANDIDATES, device=ids.device))
        _run(blocks, _among_known(forward))
        step()  # rows that were just chosen lie otherwise in memory
        _run(blocks, compiled)
        with torch.compiler.set_stance("fail_on_recompile"):
            step(2)


@torch.compiler.substitute_in_graph(even_rows)
def _as_they_come(rows: int) -> int:
    """Rows are not added in a graph, which is for one conversation: they come in few numbers."""
    return rows


def _among_known(forward: Forward) -> Forward:
    """Runs what was compiled where it fits and gradients are out of question, else `forward`."""
    known: Forward = torch._dynamo.run(forward)

    def run(self: nn.Module, *args: Any, **kwargs: Any) -> Any:
        chosen = known if torch.is_inference_mode_enabled() else forward
        return chosen(self, *args, **kwargs)

    return run


def _run(blocks: Sequence[nn.Module], forward: Forward) -> None:
    for block in blocks:
        block.forward = MethodType(forward, block)


def _cause(error: BaseException) -> str:
    """The reason behind what the compiler wraps it in."""
    return reason_of(getattr(error, "inner_exception", error))
