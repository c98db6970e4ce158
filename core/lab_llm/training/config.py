"""Settings of every GRPO run, and of a teacher beside it."""

from typing import Annotated, ClassVar, Literal

from annotated_types import Ge, Gt, Le, Lt
from labrun.schema import schema

from lab_llm.policy.config import PolicyConfig
from lab_llm.text.config import TeacherPrompt
from lab_llm.training.distillation_config import DistillationConfig

Context = Literal["sibling", "reference_solution", "answer"]
"""The solution that a teacher is shown."""


@schema
class TrainedWeights:
    """The policy that is trained, and how its weights are held: the keys of every trainer of it."""

    model: PolicyConfig = PolicyConfig()
    """The policy at the start."""
    master_weights: Literal["float32", "none"] = "float32"
    """The weights that the optimizer updates where `model.dtype` is bfloat16. float32: float32
    weights with bfloat16 products (autocast), or DeepSpeed's masters. none: the bfloat16 weights
    themselves, which round small steps away; refused for rates below 6.1e-5."""
    weight_decay: Annotated[float, Ge(0)] = 0.0
    """AdamW's decoupled weight decay."""
    max_grad_norm: Annotated[float, Gt(0)] = 1.0
    """Norm to which the gradient is clipped."""
    deepspeed: str = ""
    """`zero2` or `zero3`, which come with the package, or the path of a DeepSpeed JSON
    configuration; empty: none."""
    gradient_checkpointing: bool = False
    """Recompute activations in the backward pass: less memory, more time."""


@schema
class GRPOSettings(TrainedWeights):
    """What every method on this trainer shares. Defaults are the tiny scale's."""

    SAMPLES: ClassVar[tuple[str, ...]] = ("prompts_per_step", "num_generations")

    max_steps: Annotated[int, Ge(0)] = 80
    """Optimizer steps; 0 only evaluates."""
    learning_rate: Annotated[float, Gt(0)] = 5e-4
    """Peak learning rate of AdamW (1e-6 at paper scale). The tiny scale's is the best of 2e-4, 5e-4
    and 1e-3 by in-domain accuracy on the validation split, the mean of grpo, rlrt and rlsd."""
    lr_schedule: Literal["constant", "constant_with_warmup", "linear", "cosine"] = "constant"
    """Shape of the learning rate over steps."""
    warmup_steps: Annotated[int, Ge(0)] = 0
    """Steps over which the learning rate rises from 0."""
    prompts_per_step: Annotated[int, Ge(1)] = 32
    """Prompts of one batch of rollouts, all processes together (count)."""
    num_generations: Annotated[int, Ge(2)] = 8
    """G, rollouts of one prompt (count)."""
    num_minibatches: Annotated[int, Ge(1)] = 1
    """Optimizer steps made of one batch of rollouts (count), each of an equal share of it.
    `max_steps` counts optimizer steps. With 1 the importance ratio is 1 and is never clipped."""
    micro_batch_size: Annotated[int, Ge(1)] = 64
    """Most rollouts of one forward and backward pass of one process (count). The largest divisor
    of a process's rollouts of one optimizer step up to it is taken; the plan says which."""
    max_completion_length: Annotated[int, Ge(1)] = 64
    """Longest rollout (tokens)."""
    mask_truncated: bool = False
    """Leave out of the loss the rollouts that reach `max_completion_length` without an end token
    (DAPO, arXiv 2503.14476: overlong filtering). Their rewards still count in their groups."""
    max_prompt_length: Annotated[int, Ge(1)] | None = None
    """Longest prompt of a training problem (tokens of the rendered chat); problems with a longer
    one are left out and counted (arXiv 2603.24472's code: 2,048). None: all are used."""
    temperature: Annotated[float, Gt(0)] = 1.0
    """Divides the logits when sampling and scoring."""
    top_p: Annotated[float, Gt(0), Le(1)] = 1.0
    """Probability mass of the nucleus when sampling (fraction)."""
    top_k: Annotated[int, Ge(0)] = 0
    """Tokens that may be sampled (count); 0: all."""
    epsilon: Annotated[float, Gt(0)] = 0.2
    """Lower clip of the importance ratio, and the upper one unless `epsilon_high` is set."""
    epsilon_high: Annotated[float, Gt(0)] | None = None
    """Upper clip of the importance ratio (clip-higher, DAPO: 0.28); not below `epsilon`."""
    dual_clip: Annotated[float, Gt(1)] | None = None
    """Largest importance ratio of a token whose advantage is negative (arXiv 1912.09729, c;
    arXiv 2603.24472's code: 3); above 1 + the upper clip. None: no bound."""
    beta: Annotated[float, Ge(0)] = 0.0
    """Weight of the KL to the model at the start; self-distillation takes 0 only."""
    entropy_coef: Annotated[float, Ge(0)] = 0.0
    """Weight of the entropy bonus; self-distillation takes 0 only."""
    scale_rewards: Literal["group", "batch", "none"] = "group"
    """Divide the centred reward by the standard deviation (ddof 1) of its group or of the batch."""
    loss_type: Literal["dapo", "grpo", "dr_grpo"] = "dapo"
    """Reduction over tokens: dapo, the mean over all tokens of the step; grpo, over each rollout's
    and then over rollouts; dr_grpo, the sum over max_completion_length (arXiv 2503.20783). With
    several minibatches dapo divides each one's sum by the batch's tokens / num_minibatches, not by
    its own tokens (TRL)."""
    sampler: Literal["cpu", "transformers", "vllm"] = "cpu"
    """What makes rollouts: the toolkit's decoder, transformers' generate, or vLLM."""
    vllm_mode: Literal["colocate", "server"] = "colocate"
    """With vLLM: in the training process, or a vLLM server (`trl vllm-serve`)."""
    vllm_server: str = ""
    """Base URL of that process, such as http://host:8000; empty: TRL's default on this machine."""
    vllm_max_model_length: Annotated[int, Ge(1)] | None = None
    """Longest prompt with its completion in vLLM (tokens); None: the longest of the run, its
    evaluations included, which sample with the same vLLM."""
    vllm_gpu_memory_utilization: Annotated[float, Gt(0), Lt(1)] = 0.3
    """Share of the GPU's memory that a colocated vLLM takes; the rest is the training's."""
    vllm_enable_sleep_mode: bool = False
    """A colocated vLLM gives its weights and its cache back while the policy is updated: the whole
    GPU is the training's then, and each batch of rollouts begins with sending it the weights. Its
    start needs the share free, and the training's own state stays beside it while it samples."""
    vllm_tensor_parallel_size: Annotated[int, Ge(1)] = 1
    """Processes over which a colocated vLLM spreads one copy of the model (count). It divides the
    run's processes and the model's heads; each of its GPUs holds that part of weights and cache."""
    vllm_importance_sampling: Literal[
        "none", "sequence_mask", "sequence_truncate", "token_mask", "token_truncate"
    ] = "sequence_mask"
    """With vLLM, weigh each rollout (or token) by p of the training's own pass over p of vLLM,
    which differ by rounding: above `vllm_importance_clip` the weight is 0 (mask) or the clip
    (truncate); none: no weight. TRL's default."""
    vllm_importance_clip: Annotated[float, Gt(0)] = 3.0
    """The largest such weight (TRL's default)."""
    save_every: Annotated[int, Ge(1)] = 25
    """Steps between checkpoints, rounded up to whole batches of rollouts; the last step always has
    one."""
    evaluate_every: Annotated[int, Ge(0)] = 0
    """Steps between evaluations during training; 0: only before and after it."""
    evaluate_start: bool = True
    """Score the model before the first step."""

    @property
    def template(self) -> str:
        """How a solution enters the policy's prompt; it is kept beside the trained model."""
        return TeacherPrompt().template_for(self.model.name)


@schema
class TeacherSettings(TeacherPrompt, GRPOSettings):
    """GRPO's settings, and those of a teacher that is shown a solution."""

    teacher_context: Context = "sibling"
    """What the teacher is given: a correct rollout of the same group (another one where there is
    one), the dataset's solution (its answer where it has none), or the answer."""
    teacher_copy_every: Annotated[int, Ge(0)] = 0
    """Batches of rollouts after which the policy is copied into the teacher, again and again, whose
    weights stay in between (count; public RLSD settings: 20). 0: never; the teacher is the
    policy itself or, of sdpo, what `distillation.teacher` says."""
    teacher_offload: bool = False
    """Keep a teacher that has weights of its own in the machine's memory, and bring one layer at a
    time to the GPU while it reads: less memory, more time. Under ZeRO-3 the GPUs share them out."""
    distillation: DistillationConfig = DistillationConfig()
    """The loss and the teacher of sdpo; no other method reads it."""

    @property
    def template(self) -> str:
        """How a solution enters the teacher's prompt."""
        return self.template_for(self.model.name)
