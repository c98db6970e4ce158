"""The one text of a completion: what is rewarded, shown to a teacher, counted and written down."""

from collections.abc import Sequence
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase


def completion_text(
    tokenizer: "PreTrainedTokenizerBase",
    completion_ids: Sequence[int],
    *,
    prompt_ids: Sequence[int] = (),
) -> str:
    """The text of a completion's token ids, its end token included, without special tokens."""
    del prompt_ids
    return str(tokenizer.decode(list(completion_ids), skip_special_tokens=True))
