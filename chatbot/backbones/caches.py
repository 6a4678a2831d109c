"""The caches of transformers used as values: a step makes another cache and leaves its own alone.

The layers hold tensors that `update` replaces and never writes into, so a copy of the layers is
enough. Knows nothing of models.
"""

import copy
from collections.abc import Callable
from typing import Any

from torch import Tensor
from transformers import DynamicCache, EncoderDecoderCache
from transformers.cache_utils import DynamicLayer

from chatbot.errors import ModelError
from chatbot.meena import MeenaCache

Change = Callable[[Tensor], Tensor]


def fresh(config: Any, *, has_encoder: bool) -> DynamicCache | EncoderDecoderCache:
    """An empty cache for a decoder.

    Raises:
        ModelError: a layer of it remembers something other than keys and values.
    """
    own = DynamicCache(config=config)
    for layer in own.layers:
        if not isinstance(layer, DynamicLayer):
            raise ModelError(
                f"a layer of this model keeps a {type(layer).__name__}, not keys and values of "
                "each piece; only models that attend in every layer can be used"
            )
    return EncoderDecoderCache(own, DynamicCache(config=config)) if has_encoder else own


def own_layers(cache: DynamicCache | EncoderDecoderCache) -> list[Any]:
    """The layers that remember the pieces of the decoder."""
    return (
        cache.self_attention_cache.layers
        if isinstance(cache, EncoderDecoderCache)
        else cache.layers
    )


def copied(cache: Any, change: Change | None = None) -> Any:
    """A cache that grows by itself from here on, with all keys and values changed if asked."""
    twin = copy.copy(cache)
    if isinstance(cache, EncoderDecoderCache):
        twin.self_attention_cache = copied(cache.self_attention_cache, change)
        twin.cross_attention_cache = copied(cache.cross_attention_cache, change)
        twin.is_updated = dict(cache.is_updated)
        return twin
    twin.layers = [copy.copy(layer) for layer in cache.layers]
    for layer in twin.layers:
        if change is not None and layer.is_initialized:
            layer.keys, layer.values = change(layer.keys), change(layer.values)
    return twin


def detached(cache: Any) -> Any:
    """The same numbers, through which no gradient goes."""
    if isinstance(cache, MeenaCache):
        return MeenaCache([block.detached() for block in cache])
    return copied(cache, Tensor.detach)


def without_own(cache: EncoderDecoderCache, config: Any) -> EncoderDecoderCache:
    """A cache that remembers the encoder only."""
    twin = copied(cache)
    twin.self_attention_cache = DynamicCache(config=config)
    return twin
