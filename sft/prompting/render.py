"""Rows to prompts: the only place where what a model reads is put together.

Training, in-context examples, generation, label scoring and calibration probes (rows with other text in their input
columns) all use one `Renderer`. A row becomes a conversation (instruction; examples as earlier turns; the row), the
template's layout turns it into text of which every character's origin is known, the encoder into ids. The loss mask is
`completion_ids`: what the model has to write, the answer and the end of turn. `template.py` says what is right for
templates that do unusual things. It knows nothing of models, batches or data sets.

Where the boundary of prompt and answer is not a boundary of tokens (no control token there, and the tokenizer merges across
it), the prompt ends at the last boundary of tokens that it shares with all the answers, and each completion starts with
the characters left over: prompt + completion are always the ids of the whole text.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from functools import cache, lru_cache, partial
from typing import Any

from sft.config.sections.prompting import PromptingConfig
from sft.errors import DataError, did_you_mean
from sft.log import get_logger
from sft.prompting.conversation import Content, Conversation, Piece
from sft.prompting.long_text import WHOLE, encode_data, estimate_tokens, stand_in
from sft.prompting.prompt import Example, LabelledPrompt, Prompt, Span
from sft.prompting.tokens import Tokeniser, Tokens
from sft.prompting.truncate import Cut, Item, Row, count_rounds, cut_text, keep_rounds, largest, rounds_that_fit, share

__all__ = ["Example", "LabelledPrompt", "Prompt", "Renderer", "Span"]

logger = get_logger(__name__)


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
        self._tokeniser = Tokeniser(tokenizer, prompting)
        self.stop_ids = self._tokeniser.stop_ids
        self._cut = lru_cache(maxsize=8192)(partial(cut_text, self._tokeniser.encoder))
        self._stand_in = lru_cache(maxsize=1024)(partial(stand_in, self._tokeniser.encoder))
        self._warned: set[str] = set()
        self._notice_thinking()

    @property
    def end_of_turn(self) -> str:
        """What the model writes after its answer; where `stop_ids` lacks it (a longer text), look for this text."""
        return self._tokeniser.end_of_turn

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
            return self._length(self._tokens(self._inputs(row), kept, tuple(texts), self.max_seq_length))

        lengths = (partial(length, row, texts) for row, texts in zip(rows, possible, strict=True))
        return rounds_that_fit(lengths, count_rounds(examples, self.round_size), self.max_seq_length)

    def keep(self, examples: Sequence[Item], rounds: int) -> Sequence[Item]:
        """Of too many examples those that stay."""
        return keep_rounds(examples, rounds, self.round_size, self.last_stay)

    def cut(self, text: str, tokens: int | None) -> Cut:
        """The beginning of `text` that takes at most `tokens` tokens, and how many tokens were lost."""
        return self._cut(text, tokens)

    # Limits

    def _fitted(self, row: Row, examples: Sequence[Example], answers: tuple[str, ...]) -> Tokens:
        """Drop rounds, then cut the row's texts, until prompt and longest answer fit."""
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
        elif self._has_stand_ins(inputs, kept, limit):  # the template left so little of them that they fit
            tokens = self._tokens(inputs, kept, answers)
        return tokens._replace(
            prompt=replace(tokens.prompt, dropped_examples=len(examples) - len(kept), cut_tokens=lost)
        )

    def _squeezed(self, row: Row, inputs: Sequence[Cut], answers: tuple[str, ...], limit: int) -> tuple[Tokens, int]:
        """The row alone, its texts cut so far that it fits; and how many tokens they lost."""
        encoder = self._tokeniser.encoder
        wholes = [name in self.whole for name in self.prompting.input_columns]
        sizes = [0 if whole else estimate_tokens(encoder, cut.text) for cut, whole in zip(inputs, wholes, strict=True)]
        short = [self._stand_in(cut.text, limit) for cut in inputs]
        room = sum(len(encode_data(encoder, text).ids) for text, size in zip(short, sizes, strict=True) if size)
        tokens = self._tokens(inputs, (), answers, limit)
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
            tokens = self._tokens(kept, (), answers)
        return tokens, sum(cut.lost for cut in kept)

    def _has_stand_ins(self, inputs: Sequence[Cut], examples: Sequence[Example], limit: int | None) -> bool:
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
        """A text that is only measured: where it alone is too long, a shorter one that is too long too."""
        if limit is None or len(cut.text) <= WHOLE:
            return cut
        text = self._stand_in(cut.text, limit)
        return cut if text is cut.text else cut._replace(text=text)

    def _length(self, tokens: Tokens) -> int:
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
            cut = Cut(answer, 0)
        if row is not None and self._short(cut, self.max_seq_length) is not cut:
            raise DataError(
                f"the row {_brief(row)} does not fit: its answer alone takes more than {self.max_seq_length} tokens "
                f"({self.limit_name})"
            )
        return cut.text

    def _user(self, inputs: Sequence[Cut], kind: str) -> Content:
        """A user turn: the text of the only column, or one line `column: text` for each."""
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
        """The tokens of a prompt.

        Args:
            inputs: the row's texts.
            examples: shown before it.
            answers: what may follow it.
            measured: a limit, where all that matters of a longer prompt is that it is longer.
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

    def _notice_thinking(self) -> None:
        if self._tokeniser.may_think() and "enable_thinking" not in self.prompting.chat_template_kwargs:
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
