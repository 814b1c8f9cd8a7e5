"""Ways of generating with a model, by its config and the arguments.

The first way is the fastest, and a trial decides whether it is exact. The last one needs no trial.
"""

from __future__ import annotations

import copy
from typing import Any, NamedTuple

from transformers import GenerationConfig

from sft.inference.decoder import Decoder
from sft.protocols import LanguageModel

BARE = "without a cache"
_NEED_CACHE = ("prompt_lookup_num_tokens", "prefill_chunk_size", "cache_implementation", "cache_config")


class Way(NamedTuple):
    """A way to generate.

    Attributes:
        decoder: the model; its `windowed` selects the kind of cache.
        config: the generation config.
        plain: whether each token comes from a forward without cache and padding, which needs no trial.
        name: name for the log and the result; None for the usual way.
    """

    decoder: Decoder
    config: GenerationConfig
    plain: bool = False
    name: str | None = None

    @property
    def key(self) -> tuple[Any, ...]:
        """Key that distinguishes its cache from others."""
        return "generate", self.decoder.windowed, self.config.use_cache, self.config.cache_implementation

    @property
    def is_approximate(self) -> bool:
        """Whether the requested cache changes the numbers."""
        return bool(self.config.cache_implementation == "quantized")


def ways(model: LanguageModel, longest: int, config: GenerationConfig) -> list[Way]:
    """Return the ways to generate texts of up to `longest` tokens, the fastest first; the last one is always exact."""
    decoder = Decoder(model, longest)
    possible = [Way(decoder, config)]
    if decoder.slides and decoder.takes_full_cache and config.use_cache and config.cache_implementation is None:
        # for a model that ignores the window of its config
        full = Decoder(model, longest, windowed=False)
        possible.append(Way(full, config, name="without the sliding window of its config"))
    bare = copy.deepcopy(config)
    bare.update(use_cache=False, **dict.fromkeys(_NEED_CACHE))
    return [*possible, Way(decoder, bare, plain=True, name=BARE)]
