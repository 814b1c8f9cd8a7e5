"""Text to token ids; the template's control tokens are kept distinct from the same characters in data.

A private copy of the tokenizer renames every control token to an alias, one private-use character. Template text is
rewritten to the aliases, data is not. So `<|im_end|>` in a tweet is plain text to the copy. Everything else
(normaliser, pre-tokeniser, merges across the boundary between template and data, added tokens that are ordinary words)
works on the whole text exactly as in the original. The caller's tokenizer is never changed. This module uses no
conversations.
"""

from __future__ import annotations

import json
import re
from bisect import bisect_left, bisect_right
from collections.abc import Mapping
from functools import lru_cache
from itertools import pairwise
from typing import Any, NamedTuple

from sft.errors import ModelError
from sft.protocols import Tokenizer

_FIRST_ALIAS = 0x10E000  # the end of Unicode's last private-use plane: 8,190 aliases that no real text contains
_MAX_ALIASES = 0x10FFFE - _FIRST_ALIAS
_CACHED_CHUNKS = 16384
# A letter after a single line feed after a visible character: a boundary in every known byte-level pre-tokeniser.
_NEW_LINE = r"(?<=\S\n)(?=[A-Za-z])"
_LINE_ENDS = ("a word\n", "9\n", "end.\n", "what?!\n", "it's\n", '"\n', ")\n", "é\n", "字\n", "🙂\n", "_\n", "'\n")
_LINE_STARTS = ("Answer:", "a", "S", "t", "ll be", "I'm", "Words of text\n", "x = 1")


class Encoded(NamedTuple):
    """Token ids of a text with the start and end character of each token.

    The text before the character index `last_cut` is encoded in the same way whatever follows the text.
    """

    ids: list[int]
    starts: list[int]
    ends: list[int]
    last_cut: int = 0

    def token_at(self, char: int) -> int:
        """Return the index of the first token that starts at `char` or later."""
        return bisect_left(self.starts, char)

    def token_over(self, char: int) -> int:
        """Return the index of the first token that ends after `char`."""
        return bisect_right(self.ends, char)


class Encoder:
    """Encodes text with separate treatment of template and data.

    Args:
        tokenizer: a transformers tokenizer with a `tokenizers` backend.
        template: source of the chat template ("" without one); added tokens in it count as control tokens.

    Raises:
        ModelError: the tokenizer has no `tokenizers` backend.
    """

    def __init__(self, tokenizer: Tokenizer, template: str = "") -> None:
        backend = getattr(tokenizer, "backend_tokenizer", None)
        if backend is None:
            raise ModelError(
                f"the tokenizer {type(tokenizer).__name__} has no fast form (tokenizer.json); save one with the "
                "model, or set inference.tokenizer_name"
            )
        controls = control_tokens(tokenizer, template)[:_MAX_ALIASES]
        self.aliases = {text: chr(_FIRST_ALIAS + index) for index, text in enumerate(controls)}
        description = json.loads(backend.to_str())
        self._backend = _private_copy(description, self.aliases, {text: backend.token_to_id(text) for text in controls})
        self.controls = re.compile("|".join(re.escape(text) for text in controls) if controls else r"(?!)")
        self._names = {alias: text for text, alias in self.aliases.items()}
        self._aliased = re.compile(f"[{''.join(self._names)}]" if self._names else r"(?!)")
        # the aliases in use, and halves of surrogate pairs; other private-use characters of the data are kept
        self._unusable = re.compile(f"[{''.join(self._names)}\ud800-\udfff]")
        self._cut = re.compile(_safe_aliases(description, self.aliases))
        self._chunk = lru_cache(maxsize=_CACHED_CHUNKS)(self._encode_chunk)
        if self._lines_are_apart(description):
            self._cut = re.compile(f"{self._cut.pattern}|{_NEW_LINE}")
        self._head = lru_cache(maxsize=64)(self._head_now)
        self._alias = lru_cache(maxsize=4096)(self._alias_now)

    def control(self, template_text: str) -> str:
        """Return template text with its control tokens replaced by their aliases."""
        return self._alias(template_text)

    def revealed(self, text: str) -> str:
        """Return text with aliases replaced by the control tokens."""
        return self._aliased.sub(lambda match: self._names[match[0]], text)

    def _alias_now(self, template_text: str) -> str:
        return self.controls.sub(lambda match: self.aliases[match[0]], template_text)

    def data(self, text: str) -> str:
        """Return text from data without aliases and halves of surrogate pairs (both become U+FFFD)."""
        return self._unusable.sub("\ufffd", text) if not text.isascii() else text

    def encode(self, text: str, shared: int = 0) -> Encoded:
        """Encode text made of `control(…)` and `data(…)` parts; nothing is added at its ends.

        The text is encoded in cached chunks. Cuts between chunks never change the ids: they are before control tokens,
        where the tokenizer itself cuts first (unless the token strips the space before it or is matched after
        normalisation), and at line starts where the pre-tokeniser always has a boundary.

        Args:
            text: text to encode.
            shared: length of the prefix that other texts probably share; its ids are cached as a whole.
        """
        head = self._head(text[:shared])
        ids, starts, ends = list(head.ids), list(head.starts), list(head.ends)
        first = head.last_cut
        cuts = [first, *(match.start() for match in self._cut.finditer(text, first + 1)), len(text)]
        for start, end in pairwise(cuts):
            chunk = self._chunk(text[start:end])
            ids += chunk.ids
            starts += [start + at for at in chunk.starts]
            ends += [start + at for at in chunk.ends]
        return Encoded(ids, starts, ends, cuts[-2])

    def _head_now(self, text: str) -> Encoded:
        """Encode the part of `text` before its last cut."""
        cut = max((match.start() for match in self._cut.finditer(text)), default=0)
        return self.encode(text[:cut])._replace(last_cut=cut) if cut else Encoded([], [], [])

    def _lines_are_apart(self, description: dict[str, Any]) -> bool:
        """Whether a text may be cut before a letter at a line start: only with byte-level BPE, and tested here."""
        if not _is_plain_byte_level(description) or any(map(_spans_lines, description["added_tokens"])):
            return False
        for before in _LINE_ENDS:
            for after in _LINE_STARTS:
                parts = [*self._encode_chunk(before).ids, *self._encode_chunk(after).ids]
                if self._encode_chunk(before + after).ids != parts:
                    return False
        return True

    def _encode_chunk(self, text: str) -> Encoded:
        encoding = self._backend.encode(text, add_special_tokens=False)
        offsets = encoding.offsets
        return Encoded(encoding.ids, [start for start, _ in offsets], [end for _, end in offsets])


def control_tokens(tokenizer: Tokenizer, template: str) -> list[str]:
    """Return the added tokens that data must never become: special tokens, and added tokens in the template.

    White space and single characters are excluded: if a tokenizer lists them ("!" as padding, "\\n\\n"), they are
    ordinary text too. The longest come first, as the tokenizer matches them.
    """
    added = tokenizer.added_tokens_decoder.values()
    controls = {
        token.content
        for token in added
        if len(token.content.strip()) > 1 and (token.special or token.content in template)
    }
    return sorted(controls, key=lambda text: (-len(text), text))


def _private_copy(description: dict[str, Any], aliases: Mapping[str, str], ids: Mapping[str, int]) -> Any:
    """Return the tokenizer with renamed control tokens, without truncation, padding and post-processing."""
    import tokenizers

    renamed = dict(description, truncation=None, padding=None, post_processor=None)
    renamed["added_tokens"] = [
        dict(token, content=aliases.get(token["content"], token["content"])) for token in description["added_tokens"]
    ]
    renamed["model"] = _renamed_model(description["model"], aliases)
    copy = tokenizers.Tokenizer.from_str(json.dumps(renamed, ensure_ascii=False))
    for text, alias in aliases.items():
        if copy.token_to_id(alias) != ids[text]:
            raise ModelError(
                f"the tokenizer's control token {text!r} cannot be distinguished from text; use another tokenizer"
            )
    return copy


def _renamed_model(model: dict[str, Any], aliases: Mapping[str, str]) -> dict[str, Any]:
    """Return the model with renamed control tokens, so that no merge and no vocabulary piece spells one."""
    changed = dict(model)
    vocabulary = model.get("vocab")
    if isinstance(vocabulary, dict):
        changed["vocab"] = {aliases.get(piece, piece): index for piece, index in vocabulary.items()}
    elif isinstance(vocabulary, list):
        changed["vocab"] = [[aliases.get(piece, piece), score] for piece, score in vocabulary]
    if isinstance(model.get("unk_token"), str):
        changed["unk_token"] = aliases.get(model["unk_token"], model["unk_token"])
    if model.get("merges"):
        changed["merges"] = [merge for merge in model["merges"] if not _makes(merge, aliases)]
    return changed


def _makes(merge: str | list[str], aliases: Mapping[str, str]) -> bool:
    left, right = merge.split(" ", 1) if isinstance(merge, str) else merge
    return left + right in aliases or left in aliases or right in aliases


def _safe_aliases(description: dict[str, Any], aliases: Mapping[str, str]) -> str:
    """Return a pattern of the control tokens before which a text can be cut without changing its ids."""
    safe = [
        aliases[token["content"]]
        for token in description["added_tokens"]
        if token["content"] in aliases and not (token["lstrip"] or token["normalized"] or token["single_word"])
    ]
    return f"[{''.join(safe)}]" if safe else "(?!)"


def _spans_lines(token: Mapping[str, Any]) -> bool:
    """Whether an added token may span the end of a line and the first letter of the next."""
    text = token["content"]
    return bool(re.search(r"\n[A-Za-z]", text)) or (token["lstrip"] and text[:1].isalpha())


def _is_plain_byte_level(description: dict[str, Any]) -> bool:
    """Whether text is split by patterns and then into bytes, without an added prefix."""
    steps = description.get("pre_tokenizer") or {}
    steps = steps.get("pretokenizers", [steps])
    normalizer = description.get("normalizer")
    return (
        {step.get("type") for step in steps} <= {"Split", "Digits", "ByteLevel"}
        and steps[-1].get("type") == "ByteLevel"
        and not any(step.get("add_prefix_space") for step in steps)
        and (normalizer is None or normalizer.get("type") == "NFC")
    )
