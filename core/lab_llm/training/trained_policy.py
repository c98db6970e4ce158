"""The policy of a run, from its load to its last save, in one process or several."""

import dataclasses
import os
import socket
from pathlib import Path
from typing import TYPE_CHECKING, Any

from lab_llm.distributed import ranks
from lab_llm.policy.config import PolicyConfig
from lab_llm.policy.policy import Policy, load_policy, save_policy
from lab_llm.training.config import TrainedWeights
from lab_llm.training.precision import trained_model

if TYPE_CHECKING:
    from labrun.runs.context import RunContext


def meet(ctx: "RunContext", settings: TrainedWeights) -> None:
    """Let the processes of the run meet, and DeepSpeed find its place in one."""
    import torch

    cuda = torch.cuda.is_available()
    if settings.deepspeed:
        _rendezvous_alone(cuda=cuda)
    if ctx.world_size > 1:
        ranks.join(cuda=cuda)
        ctx.barrier = ranks.barrier


def loaded(settings: TrainedWeights, *, max_steps: int) -> PolicyConfig:
    """The model as the run loads it: with room for small steps where any are made."""
    if max_steps == 0:
        return settings.model
    return trained_model(
        settings.model,
        master_weights=settings.master_weights,
        deepspeed=bool(settings.deepspeed),
    )


def load_trained(settings: TrainedWeights, *, max_steps: int) -> Policy:
    """The policy as the run loads it. What samples from it computes in `model.dtype`."""
    policy = load_policy(loaded(settings, max_steps=max_steps))
    return dataclasses.replace(policy, products=settings.model.dtype)


def on_gpu(policy: Policy) -> Policy:
    """The policy, its weights on this process's GPU where there is one."""
    import torch

    if torch.cuda.is_available():
        policy.model.to("cuda")  # pyrefly: ignore[bad-argument-type]
    return policy


def keep(
    trainer: Any, policy: Policy, target: Path, *, model: PolicyConfig, template: str
) -> Policy:
    """The trained policy, whole on every rank, left in `target` by the first.

    `model` is the policy at the start, `template` how a solution enters its prompt.
    """
    model_now = trainer.accelerator.unwrap_model(trainer.model)
    trained = trainer.with_engine(dataclasses.replace(policy, model=model_now, engine=None))
    with ranks.whole_weights(trained.model, trainer.optimizer):
        if ranks.is_first():
            save_policy(trained, target, template=template)
    ranks.barrier()
    if not trainer.is_deepspeed_enabled:
        return trained
    # DeepSpeed's engine keeps the weights of stage 3 spread, whoever holds the model
    from transformers.integrations.deepspeed import unset_hf_deepspeed_config

    unset_hf_deepspeed_config()
    saved = load_policy(dataclasses.replace(model, name=str(target), revision=None))
    saved.model.to(trainer.accelerator.device)
    return dataclasses.replace(trained, model=saved.model)


def _rendezvous_alone(*, cuda: bool) -> None:
    """Let DeepSpeed start in one process without a launcher; a launcher's variables win."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    alone = {"RANK": "0", "LOCAL_RANK": "0", "WORLD_SIZE": "1"}
    alone |= {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port)}
    if not cuda:
        alone["DS_ACCELERATOR"] = "cpu"
    for name, value in alone.items():
        os.environ.setdefault(name, value)
