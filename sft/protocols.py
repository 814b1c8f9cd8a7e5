"""What this package uses of a tokenizer and of a language model, as protocols.

Classes of transformers and PEFT fit them without inheriting, and so does any other class with these members. The type
checker does not read transformers, PEFT and torch, so it checks our code against these protocols instead. They list no
private members and no members of one architecture or library; code that uses one declares the object as `Any` there.
Imports nothing heavy at run time.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, Protocol, Self

if TYPE_CHECKING:
    import torch
    from torch import Tensor
    from transformers import GenerationConfig


class Tokenizer(Protocol):
    """A tokenizer: between text and ids, with the chat template of its model.

    Stands for `transformers.PreTrainedTokenizerBase`.

    Attributes:
        chat_template: the Jinja source, or several by name; None for a base model.
    """

    chat_template: str | dict[str, str] | None

    @property
    def bos_token_id(self) -> int | None:
        """Id of the begin-of-text token, if there is one."""

    @property
    def eos_token(self) -> str | None:
        """End-of-sequence token, if there is one."""

    @property
    def eos_token_id(self) -> int | None:
        """Id of the end-of-sequence token, if there is one."""

    @property
    def pad_token_id(self) -> int | None:
        """Id of the padding token, if there is one."""

    @property
    def added_tokens_decoder(self) -> Mapping[int, AddedToken]:
        """The tokens that were added to the vocabulary, by id."""

    def __call__(self, text: str, *, add_special_tokens: bool = True, verbose: bool = True) -> Encoding:
        """Encode one text."""

    def encode(self, text: str, *, add_special_tokens: bool = True) -> list[int]:
        """Return the ids of a text."""

    def decode(self, token_ids: list[int], *, skip_special_tokens: bool = False) -> Any:
        """Return the text of ids, a string; transformers declares a union, as it also decodes batches."""

    def get_chat_template(self) -> str:
        """Return the source of the chat template that a plain conversation uses."""

    def apply_chat_template(
        self,
        conversation: list[dict[str, Any]],
        *,
        chat_template: str,
        tokenize: Literal[False],
        add_generation_prompt: bool,
        **variables: Any,
    ) -> Any:
        """Render a conversation to a string; transformers declares a union, as it also returns ids."""

    def save_pretrained(self, save_directory: Path) -> object:
        """Write the files of the tokenizer to a folder."""


class AddedToken(Protocol):
    """A token that was added to a vocabulary: its text, and whether it is a control token."""

    content: str
    special: bool


class Encoding(Protocol):
    """The encoding of one text."""

    def __getitem__(self, key: Literal["input_ids"], /) -> list[int]:
        """Return the ids."""


class LanguageModel(Protocol):
    """A language model of torch, causal or encoder-decoder.

    Stands for `transformers.PreTrainedModel` and for `peft.PeftModel`, which also has the members of its base.

    Attributes:
        generation_config: the defaults of `generate`; None on some models, though transformers does not declare it.
    """

    generation_config: GenerationConfig

    @property
    def config(self) -> ArchitectureConfig:
        """Config of the architecture."""

    @property
    def device(self) -> torch.device:
        """Device of the weights."""

    @property
    def dtype(self) -> torch.dtype:
        """Dtype of the weights that are not quantised."""

    @property
    def forward(self) -> Callable[..., ModelOutput]:
        """The function behind a call, whose signature says what the architecture accepts."""

    # not a method: transformers declares it in a mixin that `PreTrainedModel` itself lacks
    @property
    def generate(self) -> Any:
        """The function that generates ids [B, S]; with `return_dict_in_generate` they are the output's `sequences`."""

    def __call__(self, **inputs: Any) -> ModelOutput:
        """Run the model once."""

    def eval(self) -> Self:
        """Switch to evaluation, and return the model."""

    def zero_grad(self, set_to_none: bool) -> None:
        """Remove the gradients."""

    def parameters(self) -> Iterator[torch.nn.Parameter]:
        """Iterate over all weights."""

    def named_parameters(self) -> Iterable[tuple[str, torch.nn.Parameter]]:
        """Iterate over all weights by name."""

    def named_buffers(self) -> Iterable[tuple[str, Tensor]]:
        """Iterate over all buffers by name."""

    def modules(self) -> Iterator[torch.nn.Module]:
        """Iterate over all modules."""

    def named_modules(self) -> Iterable[tuple[str, torch.nn.Module]]:
        """Iterate over all modules by name."""

    def get_submodule(self, target: str, /) -> torch.nn.Module:
        """Return a module by name; the model itself by the empty one."""

    def get_input_embeddings(self) -> torch.nn.Module:
        """Return the embedding of input ids."""

    def get_output_embeddings(self) -> torch.nn.Module | None:
        """Return the layer that computes logits."""

    def set_attn_implementation(self, attn_implementation: str) -> None:
        """Use another implementation of attention."""

    def save_pretrained(self, save_directory: str) -> object:
        """Write config and weights to a folder."""


class ModelOutput(Protocol):
    """The output of a forward."""

    @property
    def logits(self) -> Tensor:
        """Logits [B, S, V]."""


class ArchitectureConfig(Protocol):
    """The config of an architecture (config.json); stands for `transformers.PreTrainedConfig`.

    Settings that only some architectures have are read with `getattr`.
    """

    @property
    def is_encoder_decoder(self) -> bool:
        """Whether an encoder reads the prompt and a decoder writes the answer."""

    @property
    def hidden_size(self) -> int:
        """Numbers of a hidden state."""

    @property
    def vocab_size(self) -> int:
        """Number of logits."""

    def get_text_config(self, *, decoder: bool) -> ArchitectureConfig:
        """Return the part for the text decoder; the config itself where it has no parts."""

    def to_dict(self) -> dict[str, Any]:
        """Return all settings, as JSON."""
