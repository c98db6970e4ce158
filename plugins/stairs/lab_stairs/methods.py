"""The methods of this plugin: each one's learner, and what it refuses before it starts."""

from collections.abc import Mapping, Sequence

from lab_marl.episodes.layouts import Layout
from lab_marl.networks.checks import check_tasks
from lab_marl.training.entity_features import check_ids
from lab_marl.training.trainer import OfflineMethod
from labrun import LabError

from lab_stairs.baselines.checks import check_contrast, check_pairs
from lab_stairs.baselines.config import HiSSDConfig, ODISConfig, UPDeTConfig, discovery_updates
from lab_stairs.config import MixerConfig, StairsConfig
from lab_stairs.td3_bc.config import TD3BCConfig

Facts = Mapping[str, object]
Layouts = Sequence[Layout]


def check_stairs(config: StairsConfig, train: Layouts, tasks: Layouts) -> Facts:
    """What computes an update. Raises LabError for a task with continuous actions or too many
    agents, or a kernel that cannot serve."""
    from lab_stairs.kernel_choice import choose

    check_discrete(tasks, id_bits=config.network.id_bits)
    return {"kernel": choose(config, train, "cuda" if config.device == "cuda" else "cpu")}


def unused_by_stairs(config: StairsConfig) -> Mapping[str, str]:
    """Keys of parts that are off."""
    found: dict[str, str] = {}
    if not config.network.spatial:
        recursion = ("h_cycles", "l_cycles", "schedule", "gradient")
        found |= dict.fromkeys(
            (f"network.{key}" for key in recursion), "trainer.network.spatial=false"
        )
    if not config.network.temporal:
        found["network.high_step"] = "trainer.network.temporal=false"
    return found


def check_discrete(tasks: Layouts, *, id_bits: int) -> None:
    """Raises LabError for a task that a discrete method with this code cannot serve."""
    for layout in tasks:
        check_ids(layout, id_bits)
        if layout.continuous:
            raise LabError(f"task {layout.task!r} has continuous actions; use method=td3_bc")


def check_td3_bc(config: TD3BCConfig, train: Layouts, tasks: Layouts) -> Facts:
    """Raises LabError for a task that an actor of joints cannot serve."""
    del train
    for layout in tasks:
        if not layout.continuous:
            raise LabError(
                f"method=td3_bc is for continuous tasks (halfcheetah-2x3, ...), task "
                f"{layout.task!r} has discrete actions; use dataset=mamujoco or method=stairs"
            )
        check_ids(layout, config.network.id_bits)
    return {}


def unused_by_td3_bc(config: TD3BCConfig) -> Mapping[str, str]:
    """Keys of the critics, where there are none."""
    keys = ("gamma", "policy_delay", "target_update_every", "tau")
    noise = ("smoothing_noise", "smoothing_clip")
    return dict.fromkeys((*keys, *noise), "trainer.alpha=0") if config.alpha == 0 else {}


def check_updet(config: UPDeTConfig, train: Layouts, tasks: Layouts) -> Facts:
    """What computes the network. Raises LabError for a mixer that is set and not used, or a task or
    a kernel that cannot serve."""
    from lab_marl.networks.unroll_path import kernel_fact

    if config.mixing == "sum" and config.mixer != MixerConfig():
        raise LabError(
            "trainer.mixer is set, but trainer.mixing=sum has no mixer; set "
            "trainer.mixing=attention or leave it out"
        )
    check_tasks(tasks, method="UPDeT", id_bits=config.transformer.id_bits)
    return kernel_fact(config.transformer, train, config)


def check_odis(config: ODISConfig, train: Layouts, tasks: Layouts) -> Facts:
    """How many updates each stage has, and what computes the networks. Raises LabError where the
    second has none, or a kernel cannot serve."""
    from lab_marl.networks.unroll_path import kernel_fact

    check_tasks(tasks, method="ODIS", id_bits=config.transformer.id_bits)
    first = discovery_updates(config, len(train))
    left = config.max_steps - first
    if config.max_steps and left <= 0:
        raise LabError(
            f"trainer.pretrain_share={config.pretrain_share} leaves none of "
            f"trainer.max_steps={config.max_steps} for the policy; skill discovery takes "
            f"{first}; set a smaller share or more steps"
        )
    path = kernel_fact(config.transformer, train, config)
    return {"discovery_updates": first, "policy_updates": left, **path}


def check_hissd(config: HiSSDConfig, train: Layouts, tasks: Layouts) -> Facts:
    """What computes the networks. Raises LabError for one training task, or for one with one agent:
    no other shares its own skill; and for a kernel that cannot serve."""
    from lab_marl.networks.unroll_path import kernel_fact

    from lab_stairs.baselines.hissd.network import TOKENS_OF_EACH

    check_tasks(tasks, method="HiSSD", id_bits=config.transformer.id_bits)
    check_contrast(train, method="HiSSD")
    check_pairs(train, method="HiSSD")
    return kernel_fact(config.transformer, train, config, of_each=TOKENS_OF_EACH)


stairs = OfflineMethod("lab_stairs.learner:StairsLearner", check_stairs, unused=unused_by_stairs)
td3_bc = OfflineMethod(
    "lab_stairs.td3_bc.learner:TD3BCLearner", check_td3_bc, unused=unused_by_td3_bc
)
updet = OfflineMethod("lab_stairs.baselines.updet:UPDeTLearner", check_updet)
odis = OfflineMethod(
    "lab_stairs.baselines.odis.learner:ODISLearner", check_odis, ("pretrain_share",)
)
hissd = OfflineMethod("lab_stairs.baselines.hissd.learner:HiSSDLearner", check_hissd)
