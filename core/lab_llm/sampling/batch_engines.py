"""Engines in this process, batch by batch: the toolkit's decoder, and transformers' `generate`."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import torch

from lab_llm.policy.beats import beating_at_passes, no_beat
from lab_llm.policy.engine import Beat, Completions, Sampling, Share
from lab_llm.policy.policy import Policy
from lab_llm.sampling.decoder import Decoder
from lab_llm.sampling.sampler import sample

if TYPE_CHECKING:
    from transformers import GenerationConfig, PreTrainedModel


class _BatchEngine:
    """Whole batches go to the ranks in turn; one generator goes through all batches of a set."""

    def __init__(self, policy: Policy, *, alive: Beat = no_beat) -> None:
        """`alive` is called again and again within a batch."""
        self.policy, self.alive = policy, alive

    def sample(
        self,
        prompts: Sequence[Sequence[int]],
        sampling: Sampling,
        *,
        seed: int,
        share: Share,
        beat: Beat,
    ) -> Completions:
        generator = torch.Generator().manual_seed(seed)
        found: Completions = {}
        size, num = sampling.prompts_at_a_time, sampling.num_samples
        for start in range(0, len(prompts), size):
            batch = prompts[start : start + size]
            if start // size % share.world_size != share.rank:
                self._skip(len(batch), sampling, generator)
                continue
            rows = self._sample(batch, sampling, generator)
            for place in range(len(batch)):
                found[start + place] = rows[place * num : (place + 1) * num]
            beat()
        return found

    def _sample(
        self, prompts: Sequence[Sequence[int]], sampling: Sampling, generator: torch.Generator
    ) -> list[list[int]]:
        """num_samples completions of every prompt, prompt by prompt."""
        raise NotImplementedError

    def _skip(self, num_prompts: int, sampling: Sampling, generator: torch.Generator) -> None:
        """Draw from the generator what `_sample` would for so many prompts."""
        raise NotImplementedError


class DecoderEngine(_BatchEngine):
    """The toolkit's decoder. Raises LabError for an architecture that it does not know."""

    name = "cpu"

    def __init__(self, policy: Policy, *, alive: Beat = no_beat) -> None:
        super().__init__(policy, alive=alive)
        Decoder(policy.model)

    def _sample(
        self, prompts: Sequence[Sequence[int]], sampling: Sampling, generator: torch.Generator
    ) -> list[list[int]]:
        return sample(
            self.policy.model,
            prompts,
            num_samples=sampling.num_samples,
            max_new_tokens=sampling.max_new_tokens,
            temperature=sampling.temperature,
            top_p=sampling.top_p,
            top_k=sampling.top_k,
            eos_token_ids=sampling.end_token_ids,
            pad_token_id=_pad_token(self.policy),
            generator=generator,
            beat=self.alive,
        ).completion_ids

    def _skip(self, num_prompts: int, sampling: Sampling, generator: torch.Generator) -> None:
        if sampling.temperature > 0:
            shape = (sampling.max_new_tokens, num_prompts * sampling.num_samples)
            torch.empty(shape, device=generator.device).uniform_(generator=generator)


class TransformersEngine(_BatchEngine):
    """transformers' `generate`, for every architecture.

    It takes no generator, but reads the global one of the model's device: that is seeded by one
    number a batch, and set back afterwards.
    """

    name = "transformers"

    def _sample(
        self, prompts: Sequence[Sequence[int]], sampling: Sampling, generator: torch.Generator
    ) -> list[list[int]]:
        model, pad = self.policy.model, _pad_token(self.policy)
        longest = max(map(len, prompts))
        ids = torch.tensor([[pad] * (longest - len(prompt)) + [*prompt] for prompt in prompts])
        real = torch.tensor([[0] * (longest - len(p)) + [1] * len(p) for p in prompts])
        generate: Any = model.generate
        seeded = _global_generator(model.device, seed=_draw_seed(generator))
        beating = beating_at_passes(model, self.alive)
        with seeded, beating, _no_settings_of(model), torch.inference_mode():
            rows = generate(
                ids.to(model.device),
                attention_mask=real.to(model.device),
                generation_config=_generation_config(sampling, pad=pad),
                synced_gpus=False,  # the weights are whole, and ranks have other numbers of batches
            )
        return [_until_end(row, sampling.end_token_ids) for row in rows[:, longest:].tolist()]

    def _skip(self, num_prompts: int, sampling: Sampling, generator: torch.Generator) -> None:
        del num_prompts, sampling
        _draw_seed(generator)


def end_tokens(policy: Policy) -> tuple[int, ...]:
    """The tokens that end a completion: the model's, and its tokenizer's."""
    settings = policy.model.generation_config
    own = settings.eos_token_id if settings is not None else None
    listed: list[Any] = [*(own if isinstance(own, list) else [own]), policy.tokenizer.eos_token_id]
    return tuple(sorted({int(token) for token in listed if token is not None}))


def _pad_token(policy: Policy) -> int:
    pad: Any = policy.tokenizer.pad_token_id
    return int(pad)


def _draw_seed(generator: torch.Generator) -> int:
    return int(torch.randint(2**62, (), generator=generator, device=generator.device).item())


@contextmanager
def _global_generator(device: torch.device, *, seed: int) -> Iterator[None]:
    """The device's global generator seeded; its old state comes back at the end."""
    on_gpu = device.type == "cuda"
    own = torch.cuda.default_generators[device.index] if on_gpu else torch.default_generator
    before = own.get_state()
    try:
        own.manual_seed(seed)
        yield
    finally:
        own.set_state(before)


@contextmanager
def _no_settings_of(model: "PreTrainedModel") -> Iterator[None]:
    """The model's own generation config, which fills what a call leaves out, put aside."""
    from transformers import GenerationConfig

    own = model.generation_config
    model.generation_config = GenerationConfig()
    try:
        yield
    finally:
        model.generation_config = own


def _generation_config(sampling: Sampling, *, pad: int) -> "GenerationConfig":
    """Exactly these settings; all else is neutral."""
    from transformers import GenerationConfig

    how: dict[str, Any] = {"do_sample": False}
    if sampling.temperature > 0:
        how = {
            "do_sample": True,
            "temperature": sampling.temperature,
            "top_p": sampling.top_p,
            "top_k": sampling.top_k,
        }
    return GenerationConfig(
        max_new_tokens=sampling.max_new_tokens,
        num_return_sequences=sampling.num_samples,
        eos_token_id=list(sampling.end_token_ids) or None,
        pad_token_id=pad,
        **how,
    )


def _until_end(ids: list[int], ends: Sequence[int]) -> list[int]:
    end = next((place for place, token in enumerate(ids) if token in ends), len(ids))
    return ids[: end + 1]
