"""The tiny model: a Qwen3 of 266k parameters and its byte-level tokenizer with single digits."""

from collections.abc import Iterable
from dataclasses import dataclass
from importlib.resources import files
from pathlib import Path

import torch
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
from transformers import PreTrainedTokenizerFast, Qwen3Config, Qwen3ForCausalLM

PAD, IM_START, IM_END = "<|pad|>", "<|im_start|>", "<|im_end|>"
CHAT_TEMPLATE = (
    "{% for message in messages %}"
    "<|im_start|>{{ message['role'] }}\n{{ message['content'] }}<|im_end|>\n"
    "{% endfor %}"
    "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)


@dataclass(frozen=True, kw_only=True)
class TinyModelConfig:
    """Sizes of the tiny model. With head_dim 32, the least that vLLM's CPU backend loads."""

    vocab_size: int = 300
    """Upper bound on the tokens of the tokenizer: 3 special, 256 bytes, the rest merges (count)."""
    hidden_size: int = 64
    """Width of the residual stream (units)."""
    intermediate_size: int = 192
    """Width of the gated MLP (units)."""
    num_layers: int = 4
    """Decoder blocks (count)."""
    num_heads: int = 4
    """Query heads (count)."""
    num_kv_heads: int = 2
    """Key and value heads (count)."""
    head_dim: int = 32
    """Width of a head (units); independent of hidden_size, as in Qwen3."""
    max_positions: int = 1024
    """Longest sequence, prompt and completion together (tokens)."""


def train_tokenizer(corpus: Iterable[str], config: TinyModelConfig) -> PreTrainedTokenizerFast:
    """A byte-level BPE tokenizer learned on `corpus`: every digit is a token of its own.

    It has a ChatML template, pads on the left with `<|pad|>` (id 0) and ends with `<|im_end|>`
    (id 2). The corpus is plain text, with no special tokens in it.
    """
    bpe = Tokenizer(models.BPE())
    bpe.pre_tokenizer = pre_tokenizers.Sequence(
        [
            pre_tokenizers.Digits(individual_digits=True),
            pre_tokenizers.ByteLevel(add_prefix_space=False),
        ]
    )
    bpe.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=config.vocab_size,
        special_tokens=[PAD, IM_START, IM_END],
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    bpe.train_from_iterator(corpus, trainer)
    tokenizer = PreTrainedTokenizerFast(
        tokenizer_object=bpe,
        pad_token=PAD,
        eos_token=IM_END,
        additional_special_tokens=[IM_START],
        padding_side="left",
        model_max_length=config.max_positions,
        clean_up_tokenization_spaces=False,
    )
    tokenizer.chat_template = CHAT_TEMPLATE
    return tokenizer


def build_model(
    tokenizer: PreTrainedTokenizerFast, config: TinyModelConfig, *, seed: int
) -> Qwen3ForCausalLM:
    """A new float32 Qwen3 with random weights, a pure function of its arguments.

    The global random state is left as it was.
    """
    sizes = Qwen3Config(
        vocab_size=len(tokenizer),
        hidden_size=config.hidden_size,
        intermediate_size=config.intermediate_size,
        num_hidden_layers=config.num_layers,
        num_attention_heads=config.num_heads,
        num_key_value_heads=config.num_kv_heads,
        head_dim=config.head_dim,
        max_position_embeddings=config.max_positions,
        tie_word_embeddings=True,
        bos_token_id=None,
        eos_token_id=tokenizer.get_vocab()[IM_END],
        pad_token_id=tokenizer.get_vocab()[PAD],
    )
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return Qwen3ForCausalLM(sizes)


def shipped_path() -> Path:
    """The directory of the warm-started model that comes with the package."""
    return Path(str(files("lab_llm") / "data" / "tiny"))
