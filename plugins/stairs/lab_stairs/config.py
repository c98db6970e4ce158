"""Settings of STAIRS-Former."""

from typing import Annotated, Literal

from annotated_types import Ge, Le, Lt
from lab_marl.training.config import OfflineSettings
from labrun import schema


@schema
class NetworkConfig:
    """The network of one agent, shared by all agents."""

    width: Annotated[int, Ge(1)] = 64
    """d, numbers of a token (published: 64)."""
    heads: Annotated[int, Ge(1)] = 1
    """H, attention heads, each of width d (published: 1)."""
    ffn_factor: Annotated[int, Ge(1)] = 4
    """Hidden width of a feed-forward net, in units of d (published: 4)."""
    h_cycles: Annotated[int, Ge(1)] = 2
    """Cycles of the high level (published: 2)."""
    l_cycles: Annotated[int, Ge(1)] = 1
    """Cycles of the low level in each cycle of the high one (published: 1)."""
    schedule: Literal["published", "hrm"] = "published"
    """When block H follows block L inside the recursion: at every h_cycles-th step, as the
    published code does, or at every l_cycles-th, as hierarchical reasoning models do."""
    gradient: Literal["one_step", "full"] = "one_step"
    """Through the last step of the recursion only (published), or through all of it."""
    high_step: Annotated[int, Ge(1)] = 5
    """T_H, time steps between updates of the high-level history (published: 5)."""
    id_bits: Annotated[int, Ge(1), Le(16)] = 4
    """Bits of the code of an agent's number; at most 2^bits - 1 agents (published: 4)."""
    spatial: bool = True
    """False: one transformer block, applied once, in place of the recursion (ablation)."""
    temporal: bool = True
    """False: the low-level history alone, without the high-level one (ablation)."""


@schema
class MixerConfig:
    """The attention mixer, which makes Q_tot of the agents' values (published sizes)."""

    entity_width: Annotated[int, Ge(1)] = 64
    """Numbers of an encoded ally or enemy."""
    attention_width: Annotated[int, Ge(1)] = 8
    """Numbers of a key or query."""
    hyper_width: Annotated[int, Ge(1)] = 64
    """Hidden units of a hypernetwork."""
    mixing_width: Annotated[int, Ge(1)] = 32
    """Hidden units of the mixing network."""


@schema
class StairsConfig(OfflineSettings):
    """STAIRS-Former (arXiv 2603.11691): TD and behaviour cloning on one network."""

    network: NetworkConfig = NetworkConfig()
    """The agents' network."""
    mixer: MixerConfig = MixerConfig()
    """The mixer."""
    token_dropout: Annotated[float, Ge(0), Lt(1)] = 0.1
    """Probability with which an entity token is dropped in training (published: 0.1)."""
    bc_form: Literal["cross_entropy", "q_value"] = "cross_entropy"
    """Behaviour cloning: cross-entropy of the Q values against the dataset's action (published
    code), or minus the Q value of that action (the paper's text)."""
    bc_mask: Literal["published", "filled"] = "published"
    """Steps of the cloning term: all, padding and terminal frames too, as the published code
    sums it, or those with a transition only. The second costs nothing for padding."""
    bc_weight: Annotated[float, Ge(0)] = 1.0
    """lambda, weight of the cloning term (published code: 1)."""
    td_weight: Annotated[float, Ge(0)] = 1.0
    """Weight of the TD term (published: 1); 0 leaves behaviour cloning alone."""
    target_update_every: Annotated[int, Ge(1)] = 80
    """Optimizer steps, counted over all tasks, after which the target networks are copied anew
    (published: 80)."""
    target_copies: Literal["steps", "rounds"] = "steps"
    """When these are counted: at each step, or as the published loop does, in whole rounds over the
    tasks and after the first step of the next one. With 80 and three tasks: after step 82, then
    every 81."""
    no_grad_dtype: Literal["float32", "bfloat16"] = "float32"
    """Precision of the pass that carries no gradient; bfloat16 is faster and not exact."""
    kernel: Literal["auto", "torch", "cpp", "cuda_graph"] = "auto"
    """What computes an update: torch's operations one by one; a kernel in C++ that is compiled
    for this processor on first use (g++, x86-64 with AVX2, float32 on the CPU); or, on a GPU,
    torch's operations as one CUDA graph. Under the same dropped tokens all give the same values but
    for rounding. auto: CUDA graphs on a GPU; on a CPU the kernel in C++ where it can serve and the
    run has 200 steps or more. A resumed run keeps its path; of one with CUDA graphs torch goes on
    where there is no GPU."""
