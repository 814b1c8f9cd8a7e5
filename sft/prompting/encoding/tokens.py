"""Conversations to token ids, with the loss mask and the origin of every token.

Holds everything that depends on the tokenizer: its chat template (or the plain form), its encoder, its stop tokens. It
uses no rows, columns or limits.
"""

from __future__ import annotations

from datetime import date
from functools import lru_cache, partial
from typing import NamedTuple

from sft.config.sections.prompting import PromptingConfig
from sft.prompting.conversation import Conversation, Layout, text_of
from sft.prompting.encoding.check import Checker
from sft.prompting.encoding.encode import Encoder
from sft.prompting.encoding.plain import PlainTemplate
from sft.prompting.encoding.words import OwnWords, Words
from sft.prompting.encoding.write import Ending, Finish, Written, finish, write
from sft.prompting.prompt import Prompt, Span
from sft.prompting.templates.template import ChatTemplate, Shape
from sft.protocols import Tokenizer


class Tokens(NamedTuple):
    """A prompt, its possible completions, and the text of the first completion."""

    prompt: Prompt
    finish: Finish
    completion_text: str

    @property
    def length(self) -> int:
        """The number of tokens of the prompt and its longest completion."""
        return len(self.prompt.ids) + max(map(len, self.finish.completions), default=0)


class Tokeniser:
    """Turns conversations into tokens.

    Args:
        tokenizer: a transformers tokenizer; never changed.
        prompting: the config section.

    Attributes:
        encoder: encoder of the tokenizer.
        stop_ids: tokens at which generation stops.

    Raises:
        ModelError: the tokenizer or its chat template cannot be used.
    """

    def __init__(self, tokenizer: Tokenizer, prompting: PromptingConfig) -> None:
        self._source = tokenizer.get_chat_template() if tokenizer.chat_template else ""
        self.encoder = Encoder(tokenizer, self._source)
        self._template: ChatTemplate | PlainTemplate
        own_words = None
        if self._source:
            day = date.fromisoformat(prompting.date)
            self._template = ChatTemplate(tokenizer, prompting.chat_template_kwargs, self.encoder.controls, day)
            own_words = OwnWords(self._template, self.encoder)
            self._words = own_words.write
        else:
            self._template = PlainTemplate(tokenizer, single_column=len(prompting.input_columns) == 1)
            self._words = self._template.words
        self._checker = Checker(tokenizer, own_words, self.encoder)
        self._finish = lru_cache(maxsize=8192)(partial(finish, self.encoder))
        self.stop_ids = self._stop_ids(tokenizer)

    @property
    def end_of_turn(self) -> str:
        """Text that the model writes after its answer; stop at this text if `stop_ids` lacks it (a longer text)."""
        return self._template.layout(Shape(system=False, rounds=0)).end

    def may_think(self) -> bool:
        """Whether the template allows thinking before the answer and has a variable to turn it off."""
        layout = self._template.layout(Shape(system=False, rounds=0))
        return bool(layout.lead.strip() or not layout.whole) and "enable_thinking" in self._source

    def tokens(self, conversation: Conversation, answers: tuple[str, ...]) -> Tokens:
        """Return the tokens of a prompt and of each of `answers` after it."""
        conversation = self._template.adapt(conversation)
        contents = conversation.contents()
        texts = [text_of(content) for content in contents]
        blanks = frozenset((index, text) for index, text in enumerate(texts) if not text.strip())
        shape = Shape(bool(conversation.system), len(conversation.rounds), blanks)
        layout = self._template.layout(shape)
        words = self._words(shape, layout, contents, answers)
        written = write(words.contents, layout, self.encoder)
        self._checker.check(conversation, layout, written, answers, words)
        return self._encoded(written, layout, words)

    def _encoded(self, written: Written, layout: Layout, words: Words) -> Tokens:
        encoded = self.encoder.encode(written.text, shared=written.own)
        ids = [*self._template.bos_ids, *encoded.ids]
        ending, completion_text = Finish(0, (), 0, 0), ""
        if words.answers:
            end = self.encoder.control(layout.end)
            endings = tuple(
                Ending(self.encoder.control(lead), self.encoder.data(answer), end)
                for lead, answer in zip(words.leads, words.answers, strict=True)
            )
            ending = self._finish(written.text[encoded.last_cut :], endings)
            ids = ids[: len(ids) - ending.moved]
            completion_text = words.leads[0] + words.answers[0] + layout.end
        shift = len(self._template.bos_ids)
        spans = []
        for mark in written.marks:
            start, stop = encoded.token_over(mark.start) + shift, encoded.token_at(mark.end) + shift
            if min(stop, len(ids)) > start:
                spans.append(Span(start, min(stop, len(ids)), mark.kind))
        return Tokens(Prompt(ids, [], tuple(spans), written.shown), ending, completion_text)

    def _stop_ids(self, tokenizer: Tokenizer) -> tuple[int, ...]:
        """Return the stop tokens: the last token of the end of turn (unless that is a longer text), and eos."""
        ids = self.encoder.encode(self.encoder.control(self.end_of_turn)).ids
        is_token = len(ids) == 1 or bool(self.encoder.controls.search(self.end_of_turn))
        eos = [] if tokenizer.eos_token_id is None else [tokenizer.eos_token_id]
        return tuple(dict.fromkeys([*(ids[-1:] if is_token else []), *eos]))
