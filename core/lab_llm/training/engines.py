"""What makes the rollouts of training and scores them for a teacher, by `trainer.sampler`."""

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np
import torch
from jaxtyping import Float
from labrun.errors import LabError
from torch import Tensor

from lab_llm.distributed import ranks
from lab_llm.policy.beats import beat_at_server_tokens, beat_at_steps, beat_at_weights
from lab_llm.policy.location import locate
from lab_llm.policy.policy import Policy
from lab_llm.sampling.engines import (
    DECODER,
    TRANSFORMERS,
    VLLM,
    EngineKind,
    check_temperature,
)
from lab_llm.sampling.scorer import completion_logprobs
from lab_llm.training.config import GRPOSettings
from lab_llm.training.decoding import decoded_rollouts
from lab_llm.training.rollouts import Rollouts
from lab_llm.training.sequences import Ids, score

if TYPE_CHECKING:
    from trl.trainer.grpo_trainer import GRPOTrainer

RolloutFunction = Callable[[list[Any], Any], dict[str, Any]]
"""(prompts, trainer) -> a completion of each: `prompt_ids`, `completion_ids`, `logprobs`."""
KEY = "trainer.sampler"


class RolloutEngine:
    """TRL samples, by transformers' `generate`; the trainer's own forward pass scores."""

    kind: ClassVar[EngineKind] = TRANSFORMERS

    @classmethod
    def missing(cls) -> list[str]:
        """What this machine lacks for it."""
        return cls.kind.missing(key=KEY, instead=f"{KEY}=cpu")

    @classmethod
    def check_settings(cls, settings: GRPOSettings) -> None:
        """Raises LabError where it could not sample with these settings, whatever the model."""
        for words in _asked_of_vllm(settings):
            raise LabError(
                f"trainer.{words} is for a vLLM, and {KEY}={cls.kind.name} has none; leave it out, "
                f"or set {KEY}=vllm"
            )

    @classmethod
    def check_model(cls, settings: GRPOSettings) -> None:
        """Raises LabError where it cannot run the model, which is here."""
        cls.kind.check_model(settings.model, key=KEY)

    @classmethod
    def gpu_share(cls, settings: GRPOSettings) -> float:
        """Share of a GPU's memory that it holds beside the training (fraction)."""
        del settings
        return 0.0

    @classmethod
    def uses_vllm(cls) -> bool:
        """Whether TRL is told to sample with vLLM."""
        return cls.kind is VLLM

    @classmethod
    @contextmanager
    def opening(cls, settings: GRPOSettings) -> Iterator[None]:
        """Within it TRL's trainer is made, which opens what it samples with."""
        del settings
        yield

    def __init__(self, trainer: "GRPOTrainer", settings: GRPOSettings) -> None:
        self._trainer, self._settings = trainer, settings

    @property
    def rollout_function(self) -> RolloutFunction | None:
        """What TRL calls for the rollouts; None: TRL samples."""
        return None

    def begin(self) -> None:
        """What is left to do once TRL has opened what it samples with."""

    def holding(self, policy: Policy) -> Policy:
        """The policy, with this engine where it can sample evaluations too."""
        return policy

    def rest(self) -> None:
        """An evaluation is over: what it held of the GPU is the training's again."""

    def student_logprobs(self, rollouts: Rollouts) -> Float[Tensor, "B T"]:
        """log P_S by what also gives log P_T, so that they are equal where the solution changes
        nothing."""
        if rollouts.old_logprobs is not None:
            return rollouts.old_logprobs
        with torch.no_grad():
            return self._pass(rollouts.ids, rollouts.attention_mask, rollouts.width)

    def score(self, prompts: Ids, completions: Ids, width: int) -> Float[Tensor, "n width"]:
        """Log-probabilities of the completions after the teacher's prompts."""
        return score(
            self._pass,
            prompts,
            completions,
            width=width,
            batch_size=self._batch_size,
            pad_token_id=self._pad,
            num_batches=self.most_batches(len(prompts)),
            device=self._trainer.accelerator.device,
        )

    def _pass(self, ids: Tensor, mask: Tensor, width: int) -> Tensor:
        trainer = self._trainer
        return trainer._get_per_token_logps_and_entropies(
            trainer.model, ids, mask, width, self._batch_size
        )[0]

    @property
    def _batch_size(self) -> int:
        args: Any = self._trainer.args
        return args.per_device_train_batch_size

    @property
    def _pad(self) -> int:
        pad = self._trainer._tokenizer.pad_token_id
        assert isinstance(pad, int)
        return pad

    def most_batches(self, num_rows: int) -> int | None:
        """Batches of the rank that has most, so that all ranks run as many."""
        accelerator = self._trainer.accelerator
        if accelerator.num_processes == 1:
            return None
        mine = torch.tensor([-(-num_rows // self._batch_size)])
        counts: Any = accelerator.gather(mine.to(accelerator.device))
        return int(counts.max())


class DecoderRollouts(RolloutEngine):
    """The toolkit's decoder samples and scores."""

    kind = DECODER

    @property
    def rollout_function(self) -> RolloutFunction:
        return self.sample

    def sample(self, prompts: list[Any], trainer: Any) -> dict[str, Any]:
        """A completion of each prompt, with its log-probabilities."""
        step, rank = trainer.state.global_step, trainer.accelerator.process_index
        with trainer.metrics.timed("sample"), trainer.whole_model() as model:
            return decoded_rollouts(
                replace(trainer.policy, model=model),
                prompts,
                self._settings,
                seed=trainer.ctx.derive_seed("rollout", step, rank),
                eos_token_ids=trainer.eos_token_ids,
                pad_token_id=self._pad,
                beat=trainer.ctx.heartbeat,
            )

    def student_logprobs(self, rollouts: Rollouts) -> Float[Tensor, "B T"]:
        """log P_S as the decoder recorded it when it sampled."""
        assert rollouts.sampled_logprobs is not None
        return rollouts.sampled_logprobs

    def score(self, prompts: Ids, completions: Ids, width: int) -> Float[Tensor, "n width"]:
        """Log-probabilities of the completions after the teacher's prompts."""
        trainer: Any = self._trainer
        assert trainer.model is not None
        with ranks.whole_weights(trainer.model, trainer.optimizer):
            return completion_logprobs(
                trainer.accelerator.unwrap_model(trainer.model),
                prompts,
                completions,
                width=width,
                batch_size=self._batch_size,
                pad_token_id=self._pad,
                temperature=self._settings.temperature,
                beat=trainer.ctx.heartbeat,
            )


class VLLMRollouts(RolloutEngine):
    """TRL samples, by vLLM in this process or in another; the trainer's own forward pass scores."""

    kind = VLLM

    @classmethod
    def check_settings(cls, settings: GRPOSettings) -> None:
        """Raises LabError where vLLM would have no room for a prompt before a whole completion, or
        is another process, which these settings cannot reach."""
        check_temperature(settings.temperature, key="trainer.temperature")
        if not _is_here(settings):
            _check_server(settings)
        limit = settings.vllm_max_model_length
        if limit is None or limit > settings.max_completion_length:
            return
        raise LabError(
            f"trainer.vllm_max_model_length={limit} leaves no room for a prompt beside "
            f"max_completion_length={settings.max_completion_length}; raise it, or lower "
            "trainer.max_completion_length"
        )

    @classmethod
    def check_model(cls, settings: GRPOSettings) -> None:
        path = locate(settings.model)
        if path.suffix == ".gguf":
            raise LabError(
                "trainer.sampler=vllm loads the model by its name, which a GGUF file "
                f"({path.name}) does not allow; use trainer.sampler=cpu, or a directory that the "
                "model was saved to"
            )

    @classmethod
    def gpu_share(cls, settings: GRPOSettings) -> float:
        return settings.vllm_gpu_memory_utilization if _is_here(settings) else 0.0

    @classmethod
    @contextmanager
    def opening(cls, settings: GRPOSettings) -> Iterator[None]:
        """TRL names no precision to vLLM, which would take bfloat16 for float32."""
        if not _is_here(settings):
            yield
            return
        from trl.generation import vllm_generation

        plain = vllm_generation.LLM
        vllm_generation.LLM = partial(plain, dtype=settings.model.dtype)  # pyrefly: ignore
        try:
            yield
        finally:
            vllm_generation.LLM = plain

    def begin(self) -> None:
        """Let vLLM give signs of life, and the run say when weights go to it. It has seeded this
        process's generators by the rank, and draws from them: seed them by the run."""
        trainer: Any = self._trainer
        if _is_here(self._settings):
            beat_at_steps(trainer.vllm_generation.llm, trainer.ctx.heartbeat)
            group = trainer.accelerator.process_index // self._settings.vllm_tensor_parallel_size
            seed = trainer.ctx.derive_seed("rollout", group)
            np.random.seed(seed % 2**32)
            torch.manual_seed(seed)
        elif trainer.accelerator.is_main_process:  # which alone asks the server
            beat_at_server_tokens(trainer.vllm_generation.vllm_client, trainer.ctx.heartbeat)
        beat_at_weights(trainer.vllm_generation, trainer.ctx.heartbeat)
        sync = trainer.vllm_generation.sync_weights

        def staged_sync() -> None:
            trainer.ctx.progress(stage="sync")
            sync()
            trainer.ctx.progress(stage="sample")

        trainer.vllm_generation.sync_weights = staged_sync

    def holding(self, policy: Policy) -> Policy:
        """The policy with the vLLM of this process, which then has its weights."""
        if not _is_here(self._settings):
            return policy
        from lab_llm.sampling.vllm_engine import VLLMEngine

        trainer = self._trainer
        trainer.vllm_generation.sync_weights()
        trainer._last_loaded_step = trainer.state.global_step
        llm, size = trainer.vllm_generation.llm, self._settings.vllm_tensor_parallel_size
        if self._settings.vllm_enable_sleep_mode:
            llm.wake_up(tags=["kv_cache"])
        return replace(policy, engine=VLLMEngine(llm, tensor_parallel=size))

    def rest(self) -> None:
        """Let vLLM sleep, as TRL does after the rollouts; TRL then sends it the weights anew."""
        if _is_here(self._settings) and self._settings.vllm_enable_sleep_mode:
            generation = self._trainer.vllm_generation
            generation.llm.sleep(level=2)
            generation._llm_weights_sleeping = True


def _check_server(settings: GRPOSettings) -> None:
    """LabError for what only the command that starts the server can say."""
    for words in _asked_of_vllm(settings):
        raise LabError(
            f"trainer.{words} is for a vLLM in the training process, and trainer.vllm_mode=server "
            "takes another's; leave it out and say it to `trl vllm-serve`, or set "
            "trainer.vllm_mode=colocate"
        )


def _asked_of_vllm(settings: GRPOSettings) -> list[str]:
    """The settings that only a vLLM in the training process has, where they are set."""
    sleeps, size = settings.vllm_enable_sleep_mode, settings.vllm_tensor_parallel_size
    found = ["vllm_enable_sleep_mode=true"] if sleeps else []
    return [*found, f"vllm_tensor_parallel_size={size}"] if size > 1 else found


def _is_here(settings: GRPOSettings) -> bool:
    """Whether vLLM runs in the training process."""
    return settings.vllm_mode == "colocate"


ENGINES: Mapping[str, type[RolloutEngine]] = {
    engine.kind.name: engine for engine in (DecoderRollouts, RolloutEngine, VLLMRollouts)
}
