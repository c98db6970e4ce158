"""Golden values on the device: RLRT's advantages, SDPO's loss, the networks of STAIRS-Former."""

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import stairs_reference as reference
import stairs_throughput as episodes
import torch
from lab_llm.training.distillation import compared, distillation_loss, divergence, importance_weight
from lab_llm.training.rollouts import Rollouts
from lab_marl.environments import grid
from lab_marl.episodes.batches import Batch
from lab_marl.training.entity_features import entity_features, last_actions
from lab_rlrt.config import RLRTConfig
from lab_rlrt.methods import make_objective
from lab_stairs.blocks import stacked
from lab_stairs.config import MixerConfig, NetworkConfig
from lab_stairs.learner import StairsLearner
from lab_stairs.mixer import AttentionMixer
from lab_stairs.network import StairsNetwork, q_values, unroll
from torch import Tensor

from gpu.place import Place, Rows
from gpu.stairs_updates import drawn

FOLDER = Path(__file__).parents[2] / "tests" / "golden"
METHODS = ("rlrt", "rlrt_all", "following", "rlsd")


def rows(place: Place) -> Rows:
    """Largest difference from the golden file, for each dtype; for SDPO and RLRT the bound is 1e-6
    in float64, for STAIRS 1e-4 of the value in float32."""
    torch.backends.cuda.matmul.allow_tf32 = False
    for dtype in (torch.float64, torch.float32):
        bound = 1e-6 if dtype == torch.float64 else 1e-5
        for name, found in (("rlrt", rlrt(place, dtype)), ("sdpo", sdpo(place, dtype))):
            yield row(name, dtype, found, bound)
    for task in ("cn-2", "cn-4"):
        q, q_tot = stairs(place, task)
        yield row(f"stairs {task} Q", torch.float32, q, 1e-4)
        yield row(f"stairs {task} Q_tot", torch.float32, q_tot, 1e-4)
    if place.device == "cuda":
        for mask in episodes.MASKS:
            yield row(f"stairs, CUDA graphs, {mask}", torch.float32, graphs(mask), 1e-4)


def row(name: str, dtype: torch.dtype, difference: float, bound: float) -> dict[str, object]:
    kind = str(dtype).removeprefix("torch.")
    return {
        "golden": name,
        "dtype": kind,
        "difference": difference,
        "bound": bound,
        "holds": difference <= bound,
    }


def rlrt(place: Place, dtype: torch.dtype) -> float:
    """Largest difference of any token's advantage, over cases and methods."""
    cases = json.loads((FOLDER / "rlrt_advantages.json").read_text())["cases"]
    return max(_advantages(case, m, place, dtype) for case in cases for m in METHODS)


def _advantages(case: Any, method: Any, place: Place, dtype: torch.dtype) -> float:
    def tensor(name: str) -> Tensor:
        return torch.tensor(case[name], dtype=dtype, device=place.device)

    tokens = torch.tensor(case["tokens"], device=place.device)[..., None]
    mask, advantages = tensor("completion_mask"), tensor("advantages")
    ids = torch.zeros(mask.shape[0], mask.shape[1] + 1, dtype=torch.long, device=place.device)
    rollouts = Rollouts(
        ids=ids,
        attention_mask=torch.ones_like(ids),
        loss_mask=mask,
        rewards=tensor("rewards"),
        rollout_advantages=advantages,
        advantages=advantages[:, None] * mask,
        num_tokens=mask.sum(),
        student_logprobs=tensor("student_logprobs").gather(2, tokens)[..., 0],
        teacher_logprobs=tensor("teacher_logprobs").gather(2, tokens)[..., 0],
    )
    objective = make_objective(RLRTConfig(credit=method, lam=case["lam"], eps_w=case["eps_w"]))
    found = objective.annotate(rollouts).advantages.cpu().double()
    return float((found - torch.tensor(case["expected"][method]).double()).abs().max())


def sdpo(place: Place, dtype: torch.dtype) -> float:
    """Largest difference of a case's loss."""
    cases = json.loads((FOLDER / "sdpo_loss.json").read_text())["cases"]
    return max(abs(_distillation(case, place, dtype) - case["loss"]) for case in cases)


def _distillation(case: Any, place: Place, dtype: torch.dtype) -> float:
    def tensor(name: str) -> Tensor:
        return torch.tensor(case[name], dtype=dtype, device=place.device)

    student, teacher = tensor("student_logprobs"), tensor("teacher_logprobs")
    tokens = torch.tensor(case["tokens"], device=place.device)
    pair = compared(
        student.flatten(0, 1),
        teacher.flatten(0, 1),
        top_k=case["topk"] or 0,
        tail=case["add_tail"],
    )
    found = divergence(*pair, alpha=case["alpha"]).view(tokens.shape)
    sampled = student.gather(2, tokens[..., None])[..., 0].flatten()
    old = tensor("old_logprobs_of_tokens").flatten()
    weight = importance_weight(sampled, old, clip=case["is_clip"]).view(tokens.shape)
    mask, has_context = tensor("completion_mask"), tensor("has_teacher_context")
    return float(distillation_loss(found, weight, mask, has_context))


@torch.no_grad()
def stairs(place: Place, task: str) -> tuple[float, float]:
    """Differences of Q and of Q_tot, relative to the largest published value."""
    golden = dict(np.load(FOLDER / "stairs_cn.npz"))
    batch = _batch(golden, task, place)
    layout, frames = batch.layout, torch.ones_like(batch.filled).bool()
    network = StairsNetwork(layout, NetworkConfig(width=16, heads=2), outputs=layout.num_non_attack)
    mixer = AttentionMixer(layout, MixerConfig(entity_width=16))
    network.load_state_dict(reference.fast_names(_weights(golden, "agent")))
    mixer.load_state_dict(reference.fast_names(_weights(golden, "mixer")))
    network.to(place.device)
    mixer.to(place.device)
    features = entity_features(layout, batch.obs[frames], last_actions(batch)[frames], id_bits=4)
    weights, counts = stacked([network]), [int(count) for count in frames.sum(1)]
    q = q_values(weights, layout, unroll(weights, network.config, layout, features, counts))[0]
    taken = q.gather(-1, batch.actions.flatten(0, 1)[..., None])[..., 0]
    q_tot = mixer(layout, taken, batch.state.flatten(0, 1)).view(batch.filled.shape)
    q = q.view(*batch.actions.shape, -1)
    published = golden[f"{task}/q"], golden[f"{task}/q_tot"].squeeze(-1)
    return _apart(q, published[0]), _apart(q_tot, published[1])


def graphs(mask: str) -> float:
    """Largest relative difference of a loss or a gradient's norm between twelve updates by CUDA
    graphs and twelve by single orders, on batches of four lengths."""
    layout = episodes.LAYOUTS["3m"]
    batches = drawn(layout, torch.device("cuda"), 4) * 3
    found = []
    for path in ("torch", "cuda_graph"):
        torch.manual_seed(0)
        dropout = 0.1 if mask == "published" else 0.0  # of `filled` the paths draw other frames
        settings = replace(episodes.MASKS[mask], kernel=path, token_dropout=dropout)
        settings = replace(settings, target_update_every=3)
        learner = StairsLearner([layout], settings, device=torch.device("cuda"))
        metrics = []
        for step, batch in enumerate(batches):
            torch.manual_seed(step)
            metrics.append(learner.update(batch))
        found.append([[each["loss"], each["grad_norm"]] for each in metrics])
    single, graphed = np.array(found)
    return float(np.abs(graphed / single - 1).max())


def _apart(found: Tensor, published: np.ndarray) -> float:
    ours = found.transpose(0, 1).cpu().numpy()
    return float(np.abs(ours - published).max() / np.abs(published).max())


def _weights(golden: dict[str, np.ndarray], part: str) -> dict[str, Tensor]:
    names = [name for name in golden if name.startswith(f"{part}/")]
    return {name.removeprefix(f"{part}/"): torch.from_numpy(golden[name]) for name in names}


def _batch(golden: dict[str, np.ndarray], task: str, place: Place) -> Batch:
    """The file's episodes, time first."""

    def values(name: str) -> Tensor:
        return torch.from_numpy(golden[f"{task}/{name}"]).transpose(0, 1).to(place.device)

    obs = values("obs")
    return Batch(
        layout=grid.layout(task),
        obs=obs,
        state=values("state"),
        actions=values("actions").squeeze(-1),
        avail_actions=values("avail_actions").bool(),
        reward=values("reward").squeeze(-1),
        terminated=values("terminated").squeeze(-1).float(),
        filled=values("filled").squeeze(-1).float(),
        counts=(obs.shape[1],) * obs.shape[0],
    )
