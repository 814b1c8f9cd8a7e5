"""The ways of generating with a model, by what its config and the arguments say. Knows no prompts.

The first way is the fastest; whether it is exact is for a trial to find out. The last one needs none.
"""

from __future__ import annotations

import copy
from typing import Any, NamedTuple

from sft.inference.decoder import Decoder

BARE = "without a cache"
_NEED_CACHE = ("prompt_lookup_num_tokens", "prefill_chunk_size", "cache_implementation", "cache_config")


class Way(NamedTuple):
    """A way to generate.

    Attributes:
        decoder: the model; its `windowed` says what the cache is like.
        config: what `generate` is told.
        plain: whether each token comes of a forward without cache and padding; it needs no trial then.
        name: for the log and the result; None: the usual way.
    """

    decoder: Decoder
    config: Any
    plain: bool = False
    name: str | None = None

    @property
    def key(self) -> tuple[Any, ...]:
        """What tells its cache from others."""
        return "generate", self.decoder.windowed, self.config.use_cache, self.config.cache_implementation

    @property
    def is_approximate(self) -> bool:
        """Whether the caller asked for a cache that changes the numbers."""
        return bool(self.config.cache_implementation == "quantized")


def ways(model: Any, longest: int, config: Any) -> list[Way]:
    """The ways to generate texts of up to `longest` tokens, as the arguments say; the last one is always exact."""
    decoder = Decoder(model, longest)
    found = [Way(decoder, config)]
    if decoder.slides and decoder.takes_full_cache and config.use_cache and config.cache_implementation is None:
        # for a model that ignores the window of its config
        full = Decoder(model, longest, windowed=False)
        found.append(Way(full, config, name="without the sliding window of its config"))
    bare = copy.deepcopy(config)
    bare.update(use_cache=False, **dict.fromkeys(_NEED_CACHE))
    return [*found, Way(decoder, bare, plain=True, name=BARE)]
