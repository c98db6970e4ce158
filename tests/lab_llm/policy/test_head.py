"""Logits from hidden states are those of the model itself, whatever follows its output layer."""

import pytest
import torch
from lab_llm.policy.head import logits_head
from lab_llm.training.teacher_scoring import token_logprobs
from transformers import (
    Cohere2Config,
    CohereConfig,
    FalconH1Config,
    Gemma2Config,
    GraniteConfig,
    LlamaConfig,
    RecurrentGemmaConfig,
)
from transformers.models.auto.modeling_auto import AutoModelForCausalLM

SIZES = {
    "vocab_size": 40,
    "hidden_size": 16,
    "intermediate_size": 16,
    "num_hidden_layers": 1,
    "num_attention_heads": 2,
    "num_key_value_heads": 2,
    "head_dim": 8,
    "pad_token_id": 0,
    "bos_token_id": 1,
    "eos_token_id": 2,
}
CONFIGS = {
    "llama": LlamaConfig(**SIZES),
    "granite": GraniteConfig(**SIZES, logits_scaling=8.0),
    "cohere": CohereConfig(**SIZES, logit_scale=0.25),
    "cohere2": Cohere2Config(**SIZES, logit_scale=0.25),
    "gemma2": Gemma2Config(**SIZES, final_logit_softcapping=0.5),
    "recurrent_gemma": RecurrentGemmaConfig(
        **{**SIZES, "num_key_value_heads": 1},
        logits_soft_cap=0.5,
        lru_width=16,
        block_types=("recurrent",),
    ),
    "falcon_h1": FalconH1Config(
        **SIZES, lm_head_multiplier=0.5, mamba_d_ssm=16, mamba_n_heads=2, mamba_d_head=8
    ),
}


@pytest.mark.parametrize("name", CONFIGS)
def test_the_logits_are_the_models_own(name):
    torch.manual_seed(0)
    model = AutoModelForCausalLM.from_config(CONFIGS[name]).eval()
    ids = torch.randint(3, 40, (2, 6))
    with torch.no_grad():
        model.get_output_embeddings().weight.mul_(30)  # logits that a cap bends
        wanted = model(input_ids=ids, use_cache=False).logits
        hidden = model.base_model(input_ids=ids, use_cache=False).last_hidden_state
        torch.testing.assert_close(logits_head(model)(hidden), wanted)
        found = token_logprobs(model, ids, torch.ones_like(ids), 3, temperature=0.7)
    sampled = (wanted[:, 2:5] / 0.7).log_softmax(-1).gather(-1, ids[:, 3:, None])[..., 0]
    torch.testing.assert_close(found, sampled)


def test_a_plain_output_layer_is_taken_as_it_is():
    model = AutoModelForCausalLM.from_config(CONFIGS["llama"])
    assert logits_head(model) is model.get_output_embeddings()
