"""Scoring shared prompts equals one full forward pass a row."""

import pytest
import torch
from lab_llm.sampling.scorer import completion_logprobs
from transformers import LlamaConfig, LlamaForCausalLM, Qwen3Config, Qwen3ForCausalLM

SIZES = {
    "vocab_size": 50,
    "hidden_size": 16,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "intermediate_size": 32,
    "max_position_embeddings": 64,
}
PROMPTS = [[5, 6, 7, 8], [9, 10], [5, 6, 7, 8], [9, 10], [11]]
COMPLETIONS = [[1, 2, 3], [4], [3, 3, 2, 1, 9], [20, 21], [30, 31, 32]]


def models():
    torch.manual_seed(0)
    yield Qwen3ForCausalLM(Qwen3Config(**SIZES, head_dim=8))
    yield LlamaForCausalLM(LlamaConfig(**SIZES))


def expected(model, prompt, completion, temperature):
    ids = torch.tensor([prompt + completion])
    logits = model(ids).logits[0, len(prompt) - 1 : -1] / temperature
    return logits.log_softmax(-1)[range(len(completion)), completion]


@pytest.mark.parametrize("temperature", [1.0, 0.7])
@pytest.mark.parametrize("batch_size", [2, 64])
def test_each_row_equals_its_own_forward_pass(temperature, batch_size):
    for model in models():
        got = completion_logprobs(
            model,
            PROMPTS,
            COMPLETIONS,
            width=6,
            batch_size=batch_size,
            pad_token_id=0,
            temperature=temperature,
        )
        assert got.shape == (5, 6)
        for row, (prompt, completion) in enumerate(zip(PROMPTS, COMPLETIONS, strict=True)):
            with torch.no_grad():
                want = expected(model, prompt, completion, temperature)
            torch.testing.assert_close(got[row, : len(completion)], want, atol=1e-5, rtol=1e-5)
            assert not got[row, len(completion) :].any()


def test_no_rows_give_an_empty_result():
    model = next(models())
    got = completion_logprobs(model, [], [], width=4, batch_size=2, pad_token_id=0)
    assert got.shape == (0, 4)
