"""The Meena generator: an Evolved Transformer encoder-decoder as a `transformers` model."""

from chatbot.meena.cache import MeenaCache
from chatbot.meena.configuration import MeenaConfig
from chatbot.meena.modeling import MeenaForConditionalGeneration, MeenaModel

__all__ = ["MeenaCache", "MeenaConfig", "MeenaForConditionalGeneration", "MeenaModel"]
