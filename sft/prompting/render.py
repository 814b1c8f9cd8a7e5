"""Rows to prompts: everything that a model reads is built here.

Training, in-context examples, generation, label scoring and calibration probes (rows with other text in their input
columns) all use one `Renderer`. A row becomes a conversation (instruction, examples as earlier turns, the row). The
template's layout converts it to text with a known origin for every character, and the encoder converts the text to ids.
The loss mask is `completion_ids`: the tokens that the model has to write, the answer and the end of turn. `template.py`
defines the treatment of unusual templates. This module uses no models, batches or data sets.

The boundary between prompt and answer may be inside a token (no control token there, and the tokenizer merges across
it). Then the prompt ends at the last token boundary that it shares with all answers, and each completion starts with
the remaining characters: prompt + completion are always the ids of the whole text.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from functools import cache, lru_cache, partial

from sft.config.sections.prompting import PromptingConfig
from sft.errors import DataError, did_you_mean
from sft.log import get_logger
from sft.prompting.conversation import Content, Conversation, Piece
from sft.prompting.encoding.long_text import WHOLE, encode_data, estimate_tokens, substitute
from sft.prompting.encoding.tokens import Tokeniser, Tokens
from sft.prompting.encoding.truncate import (
    Cut,
    Item,
    Row,
    count_rounds,
    cut_text,
    keep_rounds,
    largest,
    rounds_that_fit,
    share,
)
from sft.prompting.prompt import Example, LabelledPrompt, Prompt, Span
from sft.protocols import Tokenizer

__all__ = ["Example", "LabelledPrompt", "Prompt", "Renderer", "Span"]

logger = get_logger(__name__)


class Renderer:
    """Builds prompts for one tokenizer and one `prompting` section.

    Args:
        tokenizer: a transformers tokenizer; never changed.
        prompting: the config section.
        max_seq_length: maximum number of tokens of prompt and completion; None for no limit.
        generation: whether answers are free text, which `max_output_length` cuts; labels are never cut.
        round_size: number of in-context examples that are dropped together if not all fit (one for each label).
        reserve: tokens reserved for the answer if a prompt is rendered without one.

    Raises:
        ModelError: the tokenizer or its chat template cannot be used.
    """

    def __init__(
        self,
        tokenizer: Tokenizer,
        prompting: PromptingConfig,
        max_seq_length: int | None = None,
        *,
        generation: bool = False,
        round_size: int = 1,
        reserve: int = 0,
    ) -> None:
        self.prompting = prompting
        self.max_seq_length = max_seq_length
        self.limit_name = "max_seq_length"  # name of the limit in messages; set by the caller of another limit
        self.last_stay = False  # which examples are kept if not all fit; True if the nearest is shown last
        self.whole: frozenset[str] = frozenset()  # columns that are never cut; set by the caller that adds a column
        self.generation = generation
        self.round_size = max(round_size, 1)
        self.reserve = reserve
        self._tokeniser = Tokeniser(tokenizer, prompting)
        self.stop_ids = self._tokeniser.stop_ids
        self._cut = lru_cache(maxsize=8192)(partial(cut_text, self._tokeniser.encoder))
        self._substitute = lru_cache(maxsize=1024)(partial(substitute, self._tokeniser.encoder))
        self._warned: set[str] = set()
        self._warn_of_thinking()

    @property
    def end_of_turn(self) -> str:
        """Text that the model writes after its answer; stop at this text if `stop_ids` lacks it (a longer text)."""
        return self._tokeniser.end_of_turn

    def render(
        self, row: Row, examples: Sequence[Example] = (), answer: str | None = None, among: Sequence[str] = ()
    ) -> Prompt:
        """Return the prompt of a row, with `answer` as its completion unless it is None.

        Args:
            row: the input columns.
            examples: in-context examples, in rounds of `round_size`.
            answer: the target text; None for a prompt to generate from.
            among: all labels, if the answer is a label: the prompt is then that of `render_labels`, which ends at the
                common prefix of all labels and leaves room for the longest.

        Raises:
            DataError: a missing column, an empty answer, or a row that does not fit.
        """
        if answer is None:
            return self._fitted(row, examples, ()).prompt
        tokens = self._fitted(row, examples, tuple(self._answer(text, row) for text in (answer, *among)))
        text = tokens.prompt.text + tokens.completion_text
        return replace(tokens.prompt, completion_ids=list(tokens.finish.completions[0]), text=text)

    def render_labels(self, row: Row, examples: Sequence[Example], answers: Sequence[str]) -> LabelledPrompt:
        """Return the prompt of a row and the tokens of each of `answers` after it.

        Raises:
            DataError: as in `render`.
        """
        tokens = self._fitted(row, examples, tuple(self._answer(answer, row) for answer in answers))
        label_ids = [list(completion) for completion in tokens.finish.completions]
        return LabelledPrompt(tokens.prompt, label_ids, tokens.finish.end_tokens, tokens.finish.lead_tokens)

    def rounds_that_fit(
        self, rows: Sequence[Row], examples: Sequence[Example], answers: Sequence[Sequence[str]] = ()
    ) -> int:
        """Return the number of rounds of fixed examples that fit with every row: decided once, so the prefix is shared.

        Args:
            rows: all rows of the run.
            examples: the fixed examples, in rounds.
            answers: possible answers of each row, of which the longest counts; empty for generation.
        """
        possible = answers or [()] * len(rows)

        def length(row: Row, texts: Sequence[str], rounds: int) -> int:
            kept = self.keep(examples, rounds)
            return self._length(self._tokens(self._inputs(row), kept, tuple(texts), self.max_seq_length))

        lengths = (partial(length, row, texts) for row, texts in zip(rows, possible, strict=True))
        return rounds_that_fit(lengths, count_rounds(examples, self.round_size), self.max_seq_length)

    def keep(self, examples: Sequence[Item], rounds: int) -> Sequence[Item]:
        """Return the examples kept when not all fit."""
        return keep_rounds(examples, rounds, self.round_size, self.last_stay)

    def cut(self, text: str, tokens: int | None) -> Cut:
        """Return the longest prefix of `text` of at most `tokens` tokens, and the number of tokens lost."""
        return self._cut(text, tokens)

    # Limits

    def _fitted(self, row: Row, examples: Sequence[Example], answers: tuple[str, ...]) -> Tokens:
        """Drop rounds, then cut the row's texts, until the prompt and the longest answer fit."""
        inputs = self._inputs(row)
        limit, rounds = self.max_seq_length, count_rounds(examples, self.round_size)

        @cache
        def with_rounds(number: int) -> Tokens:
            return self._tokens(inputs, self.keep(examples, number), answers, limit)

        if limit is not None and rounds and self._length(with_rounds(rounds)) > limit:
            rounds = largest(lambda number: self._length(with_rounds(number)), limit, below=rounds)
        kept = self.keep(examples, rounds)
        lost = sum(cut.lost for cut in inputs)
        tokens = with_rounds(rounds)
        if limit is not None and self._length(tokens) > limit:
            tokens, more = self._squeezed(row, inputs, answers, limit)
            lost += more
        elif self._has_substitutes(inputs, kept, limit):  # the template shortened the long texts, so that they fit
            tokens = self._tokens(inputs, kept, answers)
        return tokens._replace(
            prompt=replace(tokens.prompt, dropped_examples=len(examples) - len(kept), cut_tokens=lost)
        )

    def _squeezed(self, row: Row, inputs: Sequence[Cut], answers: tuple[str, ...], limit: int) -> tuple[Tokens, int]:
        """Return the row without examples, its texts cut until it fits, and the number of tokens lost."""
        encoder = self._tokeniser.encoder
        wholes = [name in self.whole for name in self.prompting.input_columns]
        sizes = [0 if whole else estimate_tokens(encoder, cut.text) for cut, whole in zip(inputs, wholes, strict=True)]
        short = [self._substitute(cut.text, limit) for cut in inputs]
        room = sum(len(encode_data(encoder, text).ids) for text, size in zip(short, sizes, strict=True) if size)
        tokens = self._tokens(inputs, (), answers, limit)
        while (excess := self._length(tokens) - limit) > 0:
            if not room:
                raise DataError(
                    f"the row {_brief(row)} does not fit: even without input text, its prompt and answer take "
                    f"{self._length(tokens)} tokens, and {self.limit_name} is {limit}"
                )
            room = max(room - excess, 0)
            kept = [
                cut if whole else self._cut(cut.text, keep)
                for cut, keep, whole in zip(inputs, share(sizes, room), wholes, strict=True)
            ]
            tokens = self._tokens(kept, (), answers)
        return tokens, sum(cut.lost for cut in kept)

    def _has_substitutes(self, inputs: Sequence[Cut], examples: Sequence[Example], limit: int | None) -> bool:
        if limit is None:
            return False
        long = [
            example
            for example in examples
            if any(len(self._column(example.row, name)) > WHOLE for name in self.prompting.input_columns)
        ]
        every = [*inputs, *(cut for example in long for cut in self._inputs(example.row))]
        return any(self._short(cut, limit) is not cut for cut in every)

    def _short(self, cut: Cut, limit: int | None) -> Cut:
        """Return a text to measure: if it is too long by itself, a shorter text that is still too long."""
        if limit is None or len(cut.text) <= WHOLE:
            return cut
        text = self._substitute(cut.text, limit)
        return cut if text is cut.text else cut._replace(text=text)

    def _length(self, tokens: Tokens) -> int:
        return tokens.length + (0 if tokens.finish.completions else self.reserve)

    # Texts

    def _inputs(self, row: Row) -> list[Cut]:
        """Return the row's input texts, each cut to `max_input_length`."""
        limit = self.prompting.max_input_length
        return [
            self._cut(self._column(row, name), None if name in self.whole else limit)
            for name in self.prompting.input_columns
        ]

    def _column(self, row: Row, name: str) -> str:
        if name not in row:
            raise DataError(f'no column "{name}" in the data (it has: {", ".join(row)}){did_you_mean(name, list(row))}')
        return row[name]

    def _answer(self, answer: str, row: Row | None) -> str:
        """Return an answer as shown: cut if it is free text."""
        if row is not None and not answer.strip():
            raise DataError(f"the answer of the row {_brief(row)} is empty; remove the row or choose another column")
        cut = self._cut(answer, self.prompting.max_output_length)
        if cut.lost and not self.generation:
            self._warn(f"the label {answer!r} is longer than prompting.max_output_length, but labels are never cut")
            cut = Cut(answer, 0)
        if row is not None and self._short(cut, self.max_seq_length) is not cut:
            raise DataError(
                f"the row {_brief(row)} does not fit: its answer alone has more than {self.max_seq_length} tokens "
                f"({self.limit_name})"
            )
        return cut.text

    def _user(self, inputs: Sequence[Cut], kind: str) -> Content:
        """Return a user turn: the text of a single column, or a line `column: text` for each column."""
        if len(inputs) == 1:
            return (Piece(inputs[0].text, kind),)
        pieces: list[Piece] = []
        for name, cut in zip(self.prompting.input_columns, inputs, strict=True):
            pieces += [Piece(f"\n{name}: " if pieces else f"{name}: "), Piece(cut.text, kind)]
        return tuple(pieces)

    def _tokens(
        self,
        inputs: Sequence[Cut],
        examples: Sequence[Example],
        answers: tuple[str, ...],
        measured: int | None = None,
    ) -> Tokens:
        """Return the tokens of a prompt.

        Args:
            inputs: the row's texts.
            examples: in-context examples.
            answers: possible answers.
            measured: a limit: of a longer prompt, only the fact that it is longer is used.
        """
        instruction = self.prompting.instruction
        rounds = tuple(
            (
                self._user([self._short(cut, measured) for cut in self._inputs(example.row)], "example_input"),
                (Piece(self._short(Cut(self._answer(example.answer, None), 0), measured).text, "example_answer"),),
            )
            for example in examples
        )
        system = (Piece(instruction, "instruction"),) if instruction.strip() else ()
        user = self._user([self._short(cut, measured) for cut in inputs], "input")
        return self._tokeniser.tokens(Conversation(system, rounds, user), answers)

    def _warn_of_thinking(self) -> None:
        if self._tokeniser.may_think() and "enable_thinking" not in self.prompting.chat_template_kwargs:
            self._warn(
                "the chat template allows thinking before the answer; to request answers without thinking, set "
                'prompting.chat_template_kwargs: {"enable_thinking": false}'
            )

    def _warn(self, message: str) -> None:
        if message not in self._warned:
            self._warned.add(message)
            logger.warning(message)


def _brief(row: Row) -> str:
    """Return a short form of a row for messages."""
    text = ", ".join(f"{name}: {value}" for name, value in row.items())
    return f"({text[:60]}…)" if len(text) > 60 else f"({text})"
