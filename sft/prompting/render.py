"""Rows to prompts: the only place where what a model reads is put together.

Training, in-context examples, generation, label scoring and calibration probes (rows with other text in their input
columns) all use one `Renderer`. A row becomes a conversation (instruction; examples as earlier turns; the row), the
template's layout turns it into text of which every character's origin is known, the encoder into ids. The loss mask is
`completion_ids`: what the model has to write, the answer and the end of turn. `template.py` says what is right for
templates that do unusual things. It knows nothing of models, batches or data sets.

Where the border of prompt and answer is not a border of tokens (no control token there, and the tokenizer merges across
it), the prompt ends at the last border of tokens that it shares with all the answers, and each completion starts with
the characters left over: prompt + completion are always the ids of the whole text.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from datetime import date
from functools import cache, lru_cache, partial
from typing import Any, NamedTuple

from sft.config.prompting import PromptingConfig
from sft.errors import DataError, did_you_mean
from sft.log import get_logger
from sft.prompting.check import Checker
from sft.prompting.conversation import Content, Conversation, Layout, Piece, text_of
from sft.prompting.encode import Encoder
from sft.prompting.plain import PlainTemplate
from sft.prompting.prompt import Example, LabelledPrompt, Prompt, Span
from sft.prompting.template import ChatTemplate, Shape
from sft.prompting.truncate import Cut, Item, Row, count_rounds, cut_text, keep_rounds, largest, rounds_that_fit, share
from sft.prompting.words import OwnWords, Words
from sft.prompting.write import Ending, Finish, Written, finish, write

__all__ = ["Example", "LabelledPrompt", "Prompt", "Renderer", "Span"]

logger = get_logger(__name__)


class _Tokens(NamedTuple):
    """A prompt, its possible completions, and the text of the first of them."""

    prompt: Prompt
    finish: Finish
    said: str

    @property
    def length(self) -> int:
        return len(self.prompt.ids) + max(map(len, self.finish.completions), default=0)


class Renderer:
    """Puts prompts together for one tokenizer and one `prompting` section.

    Args:
        tokenizer: a transformers tokenizer; never changed.
        prompting: the config section.
        max_seq_length: most tokens of prompt and completion together; None for no limit.
        generation: whether answers are free text, which `max_output_length` cuts; labels are never cut.
        round_size: in-context examples that go together when there are too many (one for each label).
        reserve: tokens kept free for the answer when a prompt is rendered without one.

    Raises:
        ModelError: the tokenizer or its chat template cannot be used.
    """

    def __init__(
        self,
        tokenizer: Any,
        prompting: PromptingConfig,
        max_seq_length: int | None = None,
        *,
        generation: bool = False,
        round_size: int = 1,
        reserve: int = 0,
    ) -> None:
        self.prompting = prompting
        self.max_seq_length = max_seq_length
        self.limit_name = "max_seq_length"  # what messages call it; whoever sets another limit says which
        self.last_stay = False  # of too many examples: whoever shows the nearest one last sets it
        self.whole: frozenset[str] = frozenset()  # columns that are never cut: whoever puts its own words there sets it
        self.generation = generation
        self.round_size = max(round_size, 1)
        self.reserve = reserve
        source = tokenizer.get_chat_template() if tokenizer.chat_template else ""
        self._encoder = Encoder(tokenizer, source)
        self._template: ChatTemplate | PlainTemplate
        own_words = None
        if source:
            day = date.fromisoformat(prompting.date)
            self._template = ChatTemplate(tokenizer, prompting.chat_template_kwargs, self._encoder.controls, day)
            own_words = OwnWords(self._template, self._encoder)
            self._words = own_words.write
        else:
            self._template = PlainTemplate(tokenizer, single_column=len(prompting.input_columns) == 1)
            self._words = self._template.words
        self._checker = Checker(tokenizer, own_words, self._encoder)
        self._cut = lru_cache(maxsize=8192)(partial(cut_text, self._encoder))
        self._finish = lru_cache(maxsize=8192)(partial(finish, self._encoder))
        self._warned: set[str] = set()
        self.stop_ids = self._stop_ids(tokenizer)
        self._notice_thinking(source)

    @property
    def end_of_turn(self) -> str:
        """What the model writes after its answer; where `stop_ids` lacks it (a longer text), look for this text."""
        return self._template.layout(Shape(system=False, rounds=0)).end

    def render(
        self, row: Row, examples: Sequence[Example] = (), answer: str | None = None, among: Sequence[str] = ()
    ) -> Prompt:
        """The prompt of a row, with `answer` as its completion when one is given.

        Args:
            row: holds the input columns.
            examples: in-context examples, in rounds of `round_size`.
            answer: the text to be learned; None for a prompt to generate from.
            among: all labels, when the answer is one: the prompt is then that of `render_labels`, which ends where all
                labels agree and leaves room for the longest.

        Raises:
            DataError: an absent column, an empty answer, or a row that cannot fit.
        """
        if answer is None:
            return self._fitted(row, examples, ()).prompt
        tokens = self._fitted(row, examples, tuple(self._answer(text, row) for text in (answer, *among)))
        text = tokens.prompt.text + tokens.said
        return replace(tokens.prompt, completion_ids=list(tokens.finish.completions[0]), text=text)

    def render_labels(self, row: Row, examples: Sequence[Example], answers: Sequence[str]) -> LabelledPrompt:
        """The prompt of a row and the tokens of each of `answers` after it.

        Raises:
            DataError: as `render`.
        """
        tokens = self._fitted(row, examples, tuple(self._answer(answer, row) for answer in answers))
        label_ids = [list(completion) for completion in tokens.finish.completions]
        return LabelledPrompt(tokens.prompt, label_ids, tokens.finish.end_tokens, tokens.finish.lead_tokens)

    def rounds_that_fit(
        self, rows: Sequence[Row], examples: Sequence[Example], answers: Sequence[Sequence[str]] = ()
    ) -> int:
        """How many rounds of fixed examples every one of `rows` can be shown: decided once, so the prefix is shared.

        Args:
            rows: all the rows of the run.
            examples: the fixed examples, in rounds.
            answers: for each row its possible answers, of which the longest counts; nothing for generation.
        """
        possible = answers or [()] * len(rows)

        def length(row: Row, texts: Sequence[str], rounds: int) -> int:
            kept = self.keep(examples, rounds)
            return self._length(self._tokens(row, self._inputs(row), kept, tuple(texts)))

        lengths = (partial(length, row, texts) for row, texts in zip(rows, possible, strict=True))
        return rounds_that_fit(lengths, count_rounds(examples, self.round_size), self.max_seq_length)

    def keep(self, examples: Sequence[Item], rounds: int) -> Sequence[Item]:
        """Of too many examples those that stay."""
        return keep_rounds(examples, rounds, self.round_size, self.last_stay)

    def cut(self, text: str, tokens: int | None) -> Cut:
        """The beginning of `text` that takes at most `tokens` tokens, and how many tokens were lost."""
        return self._cut(text, tokens)

    # Limits

    def _fitted(self, row: Row, examples: Sequence[Example], answers: tuple[str, ...]) -> _Tokens:
        """Drop rounds, then cut the row's texts, until prompt and longest answer fit."""
        inputs = self._inputs(row)
        rounds = count_rounds(examples, self.round_size)

        @cache
        def with_rounds(number: int) -> _Tokens:
            return self._tokens(row, inputs, self.keep(examples, number), answers)

        tokens = with_rounds(rounds)
        limit = self.max_seq_length
        if limit is not None and rounds and self._length(tokens) > limit:
            rounds = largest(lambda number: self._length(with_rounds(number)), limit, below=rounds)
            tokens = with_rounds(rounds)
        dropped = len(examples) - len(self.keep(examples, rounds))
        lost = sum(cut.lost for cut in inputs)
        if limit is not None and self._length(tokens) > limit:
            tokens, more = self._squeezed(row, inputs, answers, limit)
            lost += more
        return tokens._replace(prompt=replace(tokens.prompt, dropped_examples=dropped, cut_tokens=lost))

    def _squeezed(self, row: Row, inputs: Sequence[Cut], answers: tuple[str, ...], limit: int) -> tuple[_Tokens, int]:
        """The row alone, its texts cut so far that it fits; and how many tokens they lost."""
        wholes = [name in self.whole for name in self.prompting.input_columns]
        sizes = [
            0 if whole else len(self._encoder.encode(self._encoder.data(cut.text)).ids)
            for cut, whole in zip(inputs, wholes, strict=True)
        ]
        room = sum(sizes)
        tokens = self._tokens(row, inputs, (), answers)
        while (excess := self._length(tokens) - limit) > 0:
            if not room:
                raise DataError(
                    f"the row {_brief(row)} does not fit: without any input text, its prompt and answer take "
                    f"{self._length(tokens)} tokens, and {self.limit_name} is {limit}"
                )
            room = max(room - excess, 0)
            kept = [
                cut if whole else self._cut(cut.text, keep)
                for cut, keep, whole in zip(inputs, share(sizes, room), wholes, strict=True)
            ]
            tokens = self._tokens(row, kept, (), answers)
        return tokens, sum(cut.lost for cut in kept)

    def _length(self, tokens: _Tokens) -> int:
        return tokens.length + (0 if tokens.finish.completions else self.reserve)

    # Texts

    def _inputs(self, row: Row) -> list[Cut]:
        """The row's input texts, each cut to `max_input_length`."""
        most = self.prompting.max_input_length
        return [
            self._cut(self._column(row, name), None if name in self.whole else most)
            for name in self.prompting.input_columns
        ]

    def _column(self, row: Row, name: str) -> str:
        if name not in row:
            raise DataError(f'no column "{name}" in the data (it has: {", ".join(row)}){did_you_mean(name, list(row))}')
        return row[name]

    def _answer(self, answer: str, row: Row | None) -> str:
        """An answer as it is shown: cut when it is free text."""
        if row is not None and not answer.strip():
            raise DataError(f"the answer of the row {_brief(row)} is empty: there is nothing to train on or to score")
        cut = self._cut(answer, self.prompting.max_output_length)
        if cut.lost and not self.generation:
            self._warn(f"the label {answer!r} is longer than prompting.max_output_length; labels are never cut")
            return answer
        return cut.text

    def _user(self, inputs: Sequence[Cut], kind: str) -> Content:
        """A user turn: the text of the only column, or one line `column: text` for each."""
        if len(inputs) == 1:
            return (Piece(inputs[0].text, kind),)
        pieces: list[Piece] = []
        for name, cut in zip(self.prompting.input_columns, inputs, strict=True):
            pieces += [Piece(f"\n{name}: " if pieces else f"{name}: "), Piece(cut.text, kind)]
        return tuple(pieces)

    def _conversation(self, inputs: Sequence[Cut], examples: Sequence[Example]) -> Conversation:
        instruction = self.prompting.instruction
        rounds = tuple(
            (
                self._user(self._inputs(example.row), "example_input"),
                (Piece(self._answer(example.answer, None), "example_answer"),),
            )
            for example in examples
        )
        system = (Piece(instruction, "instruction"),) if instruction.strip() else ()
        return self._template.place(Conversation(system, rounds, self._user(inputs, "input")))

    # Tokens

    def _tokens(
        self, row: Row, inputs: Sequence[Cut], examples: Sequence[Example], answers: tuple[str, ...]
    ) -> _Tokens:
        conversation = self._conversation(inputs, examples)
        contents = conversation.contents()
        texts = [text_of(content) for content in contents]
        blanks = frozenset((index, text) for index, text in enumerate(texts) if not text.strip())
        shape = Shape(bool(conversation.system), len(conversation.rounds), blanks)
        layout = self._template.layout(shape)
        words = self._words(shape, layout, contents, answers)
        written = write(words.contents, layout, self._encoder)
        self._checker.check(conversation, layout, written, answers, words)
        return self._encoded(written, layout, words)

    def _encoded(self, written: Written, layout: Layout, words: Words) -> _Tokens:
        encoded = self._encoder.encode(written.text, shared=written.own)
        ids = [*self._template.bos_ids, *encoded.ids]
        ending, said = Finish(0, (), 0, 0), ""
        if words.answers:
            end = self._encoder.control(layout.end)
            endings = tuple(
                Ending(self._encoder.control(lead), self._encoder.data(answer), end)
                for lead, answer in zip(words.leads, words.answers, strict=True)
            )
            ending = self._finish(written.text[encoded.last_cut :], endings)
            ids = ids[: len(ids) - ending.moved]
            said = words.leads[0] + words.answers[0] + layout.end
        shift = len(self._template.bos_ids)
        spans = []
        for mark in written.marks:
            start, stop = encoded.token_over(mark.start) + shift, encoded.token_at(mark.end) + shift
            if min(stop, len(ids)) > start:
                spans.append(Span(start, min(stop, len(ids)), mark.kind))
        return _Tokens(Prompt(ids, [], tuple(spans), written.shown), ending, said)

    def _stop_ids(self, tokenizer: Any) -> tuple[int, ...]:
        """Tokens at which generation stops: the end of turn's last one, unless that is a longer text, and eos."""
        ids = self._encoder.encode(self._encoder.control(self.end_of_turn)).ids
        is_token = len(ids) == 1 or bool(self._encoder.controls.search(self.end_of_turn))
        eos = [] if tokenizer.eos_token_id is None else [tokenizer.eos_token_id]
        return tuple(dict.fromkeys([*(ids[-1:] if is_token else []), *eos]))

    def _notice_thinking(self, source: str) -> None:
        layout = self._template.layout(Shape(system=False, rounds=0))
        thinks = layout.lead.strip() or not layout.whole
        if thinks and "enable_thinking" in source and "enable_thinking" not in self.prompting.chat_template_kwargs:
            self._warn(
                "the chat template leaves room for thinking before the answer; answers without it are asked for by "
                'prompting.chat_template_kwargs: {"enable_thinking": false}'
            )

    def _warn(self, message: str) -> None:
        if message not in self._warned:
            self._warned.add(message)
            logger.warning(message)


def _brief(row: Row) -> str:
    """A row in a few words, for messages."""
    text = ", ".join(f"{name}: {value}" for name, value in row.items())
    return f"({text[:60]}…)" if len(text) > 60 else f"({text})"
