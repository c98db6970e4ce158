"""The decode loop against transformers' own forward pass and `generate`."""

import math

import pytest
import torch
from lab_llm.sampling.decoder import Decoder
from lab_llm.sampling.sampler import Picker, sample
from labrun.errors import DivergedError, LabError
from transformers import (
    GPT2Config,
    GPT2LMHeadModel,
    LlamaConfig,
    LlamaForCausalLM,
    Qwen3Config,
    Qwen3ForCausalLM,
)

VOCAB, PAD = 23, 0
PROMPTS = [[3, 4, 5, 6, 7], [8, 9], [10, 11, 12, 13], [14]]
SIZES = {
    "vocab_size": VOCAB,
    "hidden_size": 24,
    "intermediate_size": 40,
    "num_hidden_layers": 3,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "max_position_embeddings": 64,
    "pad_token_id": PAD,
    "bos_token_id": None,
    "eos_token_id": None,
    "initializer_range": 0.4,
}


def make(kind, **changes):
    with torch.random.fork_rng():
        torch.manual_seed(0)
        if kind == "qwen3":
            settings = Qwen3Config(
                **{**SIZES, "head_dim": 8, "tie_word_embeddings": True, **changes}
            )
            model = Qwen3ForCausalLM(settings)
        else:
            model = LlamaForCausalLM(LlamaConfig(**{**SIZES, **changes}))
        for name, weight in model.named_parameters():
            if name.endswith("norm.weight"):
                torch.nn.init.uniform_(weight, 0.5, 1.5)
    return model.eval()


@pytest.fixture(scope="module", params=["qwen3", "llama"])
def model(request):
    return make(request.param)


def draw(model, prompts=PROMPTS, *, seed=0, num_samples=1, max_new_tokens=12, eos=(), **settings):
    return sample(
        model,
        prompts,
        num_samples=num_samples,
        max_new_tokens=max_new_tokens,
        eos_token_ids=list(eos),
        pad_token_id=PAD,
        generator=torch.Generator().manual_seed(seed),
        **settings,
    )


def forward_logprobs(model, prompt, completion, temperature=1.0):
    with torch.no_grad():
        logits = model(torch.tensor([[*prompt, *completion]])).logits[0, len(prompt) - 1 : -1]
    every = (logits.float() / temperature).log_softmax(-1)
    return every.gather(1, torch.tensor(completion)[:, None])[:, 0]


def generated_greedily(model, prompt, eos):
    with torch.no_grad():
        ids = torch.tensor([prompt])
        row = model.generate(
            ids,
            attention_mask=torch.ones_like(ids),
            do_sample=False,
            max_new_tokens=12,
            eos_token_id=eos,
            pad_token_id=PAD,
        )
    return row[0, len(prompt) :].tolist()


def test_greedy_output_equals_that_of_generate(model):
    eos = draw(model, temperature=0).completion_ids[0][4]
    expected = [generated_greedily(model, prompt, eos) for prompt in PROMPTS]
    rollouts = draw(model, temperature=0, eos=[eos])
    assert rollouts.completion_ids == expected
    assert rollouts.finished == [row[-1] == eos for row in expected]
    assert any(rollouts.finished)


def test_logprobs_are_those_of_a_full_forward_pass_at_the_sampling_temperature(model):
    for temperature in (1.0, 0.7):
        rollouts = draw(model, temperature=temperature, num_samples=3, eos=[5, 6])
        for row, ids in enumerate(rollouts.completion_ids):
            expected = forward_logprobs(model, PROMPTS[row // 3], ids, temperature)
            assert rollouts.logprobs[row] == pytest.approx(expected.tolist(), abs=1e-4)


def test_greedy_logprobs_are_those_at_temperature_1(model):
    rollouts = draw(model, temperature=0)
    expected = forward_logprobs(model, PROMPTS[1], rollouts.completion_ids[1])
    assert rollouts.logprobs[1] == pytest.approx(expected.tolist(), abs=1e-4)


def test_logprobs_with_top_k_and_top_p_are_over_the_whole_vocabulary(model):
    rollouts = draw(model, top_k=5, top_p=0.8)
    expected = forward_logprobs(model, PROMPTS[0], rollouts.completion_ids[0])
    assert rollouts.logprobs[0] == pytest.approx(expected.tolist(), abs=1e-4)


def test_tokens_come_as_often_as_the_softmax_says(model):
    num, temperature = 20_000, 1.3
    rollouts = draw(model, [PROMPTS[0]], num_samples=num, max_new_tokens=1, temperature=temperature)
    with torch.no_grad():
        logits = model(torch.tensor([PROMPTS[0]])).logits[0, -1]
    probs = (logits / temperature).softmax(-1)
    counts = torch.tensor(rollouts.completion_ids).flatten().bincount(minlength=VOCAB)
    # Five standard errors of a binomial share.
    assert ((counts / num - probs).abs() < 5 * (probs * (1 - probs) / num).sqrt() + 1e-6).all()


def test_rows_that_end_and_leave_do_not_change_the_others(model):
    ends = {5, 6, 7}
    endless = draw(model, num_samples=8, max_new_tokens=20)
    ending = draw(model, num_samples=8, max_new_tokens=20, eos=ends)
    for row, ids in enumerate(endless.completion_ids):
        stop = next((i + 1 for i, token in enumerate(ids) if token in ends), len(ids))
        assert ending.completion_ids[row] == ids[:stop]
        assert ending.logprobs[row] == pytest.approx(endless.logprobs[row][:stop], abs=1e-4)
        assert ending.finished[row] == (ids[stop - 1] in ends)
    lengths = {len(ids) for ids in ending.completion_ids}
    assert len(lengths) > 4
    assert ending.num_tokens == sum(map(len, ending.completion_ids))


def test_samples_of_one_prompt_equal_those_of_the_prompt_repeated(model):
    grouped = draw(model, PROMPTS[:2], num_samples=3)
    repeated = draw(model, [p for p in PROMPTS[:2] for _ in range(3)])
    assert grouped.completion_ids == repeated.completion_ids
    assert len({tuple(ids) for ids in grouped.completion_ids[:3]}) == 3


def test_a_prompt_is_answered_alike_alone_and_beside_longer_ones(model):
    together = draw(model, temperature=0)
    alone = draw(model, [PROMPTS[1]], temperature=0)
    assert together.completion_ids[1] == alone.completion_ids[0]
    assert together.logprobs[1] == pytest.approx(alone.logprobs[0], abs=1e-4)


def test_equal_generators_give_equal_rollouts_and_the_global_state_stays(model):
    before = torch.get_rng_state()
    first, again, other = (draw(model, seed=seed) for seed in (1, 1, 2))
    assert first == again
    assert first.completion_ids != other.completion_ids
    assert torch.equal(torch.get_rng_state(), before)


def test_new_weights_are_used_at_the_next_call():
    model = make("qwen3")
    before = draw(model, temperature=0)
    with torch.no_grad():
        for weight in model.parameters():
            weight.mul_(-0.7)
    after = draw(model, temperature=0)
    assert after.completion_ids[0] == generated_greedily(model, PROMPTS[0], None)
    assert before.completion_ids != after.completion_ids


def test_bfloat16_logprobs_are_close_to_the_models_own(model):
    half = make(model.config.model_type, initializer_range=0.1).to(torch.bfloat16)
    rollouts = draw(half, num_samples=2)
    for row, ids in enumerate(rollouts.completion_ids):
        expected = forward_logprobs(half, PROMPTS[row // 2], ids)
        # bfloat16 keeps 8 bits: logits of a few units are right to some hundredths.
        assert rollouts.logprobs[row] == pytest.approx(expected.tolist(), abs=0.1)


def test_llama3_frequencies_are_the_models_own():
    scaling = {
        "rope_type": "llama3",
        "rope_theta": 10000.0,
        "factor": 8.0,
        "low_freq_factor": 1.0,
        "high_freq_factor": 4.0,
        "original_max_position_embeddings": 32,
    }
    model = make("llama", rope_parameters=scaling)
    rollouts = draw(model)
    expected = forward_logprobs(model, PROMPTS[0], rollouts.completion_ids[0])
    assert rollouts.logprobs[0] == pytest.approx(expected.tolist(), abs=1e-4)


LOGITS = torch.tensor([[0.15, 0.5, 0.05, 0.3]]).log()


@pytest.mark.parametrize(
    ("settings", "uniform", "token"),
    [
        # Cumulative .15 .65 .70 1.
        ((1.0, 1.0, 0), 0.14, 0),
        ((1.0, 1.0, 0), 0.16, 1),
        ((1.0, 1.0, 0), 0.66, 2),
        ((1.0, 1.0, 0), 0.71, 3),
        # The two largest: .5 and .3 of .8, so that token 1 ends at .625.
        ((1.0, 1.0, 2), 0.0, 1),
        ((1.0, 1.0, 2), 0.62, 1),
        ((1.0, 1.0, 2), 0.63, 3),
        # The nucleus of .6 is .5 and .3, that of .5 is .5 alone.
        ((1.0, 0.6, 0), 0.63, 3),
        ((1.0, 0.5, 0), 0.999, 1),
        # top_k first: of the kept .8, .5 is a share of .625.
        ((1.0, 0.62, 2), 0.999, 1),
        ((1.0, 0.63, 2), 0.999, 3),
        # Temperature .5 squares: .0225 .25 .0025 .09 of .365; cumulative .062 .747 .753 1.
        ((0.5, 1.0, 0), 0.06, 0),
        ((0.5, 1.0, 0), 0.74, 1),
        ((0.5, 1.0, 0), 0.76, 3),
        ((0.0, 1.0, 0), 0.99, 1),
    ],
)
def test_a_uniform_number_picks_the_token_where_the_distribution_reaches_it(
    settings, uniform, token
):
    picked, logprob = Picker(*settings)(LOGITS, torch.tensor([uniform]))
    assert picked.tolist() == [token]
    share = {0: 0.15, 1: 0.5, 2: 0.05, 3: 0.3}[token]
    if settings[0] == 0.5:
        share = share**2 / 0.365
    assert logprob.tolist() == pytest.approx([math.log(share)], abs=1e-5)


def test_other_architectures_are_refused_with_what_is_supported():
    model = GPT2LMHeadModel(GPT2Config(n_embd=8, n_head=2, n_layer=1, vocab_size=VOCAB))
    with pytest.raises(LabError, match="architecture 'gpt2'; supported: llama, qwen3"):
        draw(model)


def test_settings_that_the_loop_lacks_are_refused():
    with pytest.raises(LabError, match="does not support attention_bias of this model"):
        draw(make("llama", attention_bias=True))
    with pytest.raises(LabError, match="does not support hidden_act='gelu'"):
        draw(make("qwen3", hidden_act="gelu"))


@pytest.mark.parametrize("temperature", [0.0, 1.0])
def test_a_weight_that_is_nan_is_a_divergence(temperature):
    model = make("qwen3")
    with torch.no_grad():
        model.model.layers[1].mlp.down_proj.weight[3, 5] = math.nan
    with pytest.raises(DivergedError, match="the model's logits are not finite"):
        draw(model, temperature=temperature)


@pytest.mark.parametrize("temperature", [0.0, 1.0])
def test_logits_that_turn_nan_after_the_prompt_are_a_divergence(monkeypatch, temperature):
    decode = Decoder.decode
    monkeypatch.setattr(Decoder, "decode", lambda *given: decode(*given) * math.nan)
    with pytest.raises(DivergedError, match="the model's logits are not finite"):
        draw(make("llama"), temperature=temperature)


def test_requests_that_cannot_be_met_are_refused(model):
    with pytest.raises(LabError, match="tokens; the model takes 64"):
        draw(model, max_new_tokens=60)
    with pytest.raises(LabError, match="prompts of at least one token"):
        draw(model, [[1], []])
    with pytest.raises(LabError, match="temperature >= 0"):
        draw(model, temperature=-1)
    with pytest.raises(LabError, match="needs a generator"):
        sample(model, PROMPTS, max_new_tokens=1, eos_token_ids=[], pad_token_id=PAD)
