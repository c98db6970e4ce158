"""ODIS: its own losses, its two stages, its rounds over the tasks."""

import dataclasses
import math

import pytest
import torch
from baseline_cases import CPU, MIXED, best, continues_exactly, replay, set_weights, wave_batch
from lab_marl.datasets.config import OfflineDataConfig
from lab_marl.datasets.offline import OfflineDataset
from lab_marl.networks.embedding import batch_features
from lab_marl.networks.rows import filled_rows
from lab_stairs.baselines.acted_entities import acted_entities
from lab_stairs.baselines.config import ODISConfig, discovery_updates
from lab_stairs.baselines.odis.learner import ODISLearner
from lab_stairs.baselines.odis.objectives import relaxed_log_sample, skill_labels, skill_prior_loss
from lab_stairs.methods import odis
from labrun import LabError, Setup
from labrun.config.components import build
from labrun.config.experiments import compose
from stairs_cases import grid_layout, marine_layout
from torch.nn import functional

tensor = torch.tensor
GRID, MARINES = grid_layout(3), marine_layout(3, 4)


def learner(*layouts, **settings) -> ODISLearner:
    config = ODISConfig(**{**MIXED, "max_steps": 4, "pretrain_share": 0.5, **settings})
    made = ODISLearner(layouts, config, device=CPU)
    set_weights(made.network)
    set_weights(made.mixer)
    made.target.load_state_dict(made.online.state_dict())
    return made


def updated(made: ODISLearner, batches) -> list[dict[str, float]]:
    metrics = []
    for step, batch in enumerate(batches):
        torch.manual_seed(step)
        metrics.append(made.update(batch))
    return metrics


def test_each_stage_minimises_the_weighted_sum_of_its_terms():
    weights = {"prior_weight": 2.0, "conservative_weight": 3.0, "consistency_weight": 7.0}
    first, _, second, _ = updated(learner(GRID, **weights), [wave_batch(GRID, [3])] * 4)
    assert first["loss"] == pytest.approx(first["decoder_loss"] + 2 * first["prior_loss"])
    terms = 3 * second["conservative_loss"] + 7 * second["consistency_loss"]
    assert second["loss"] == pytest.approx(second["td_loss"] + terms)


def test_skill_prior_is_zero_for_even_skills_and_a_k_th_of_log_k_for_a_sure_one():
    even = torch.full((1, 2, 3), math.log(1 / 3))
    assert skill_prior_loss(even).item() == pytest.approx(0, abs=1e-7)
    # p = (1/2, 1/4, 1/4): (log(3/2) / 2 + 2 * log(3/4) / 4) / 3
    p = tensor([[[0.5, 0.25, 0.25]]])
    expected = (math.log(1.5) / 2 + math.log(0.75) / 2) / 3
    assert skill_prior_loss(p.log()).item() == pytest.approx(expected)
    sure = tensor([[[0.0, -200.0, -200.0]]])
    assert skill_prior_loss(sure).item() == pytest.approx(math.log(3) / 3)


def test_relaxed_samples_are_distributions_whose_maxima_follow_the_logits():
    torch.manual_seed(0)
    logits = tensor([0.0, math.log(3)]).expand(20_000, 1, 2)
    sample = relaxed_log_sample(logits)
    torch.testing.assert_close(sample.exp().sum(-1), torch.ones(20_000, 1))
    # Gumbel-max: skill 1 wins with probability 3/4; standard error .003.
    assert sample.argmax(-1).float().mean().item() == pytest.approx(0.75, abs=0.01)


def test_a_label_is_the_likeliest_skill():
    assert skill_labels(tensor([[[0.0, 2.0, 1.0], [3.0, 2.0, 1.0]]])).tolist() == [[1, 0]]


def test_state_entities_show_the_present_actions_and_who_is_attacked():
    layout = marine_layout(3, 2)
    actions = functional.one_hot(tensor([[7, 1, 7]]), layout.num_actions).float()
    allies, enemies = acted_entities(layout, torch.zeros(1, layout.state_size), actions)
    # Agents 0 and 2 attack enemy 1 (no move, the bit "attacks"); agent 1 takes action 1.
    assert allies[0, 0, -7:].tolist() == [0, 0, 0, 0, 0, 0, 1]
    assert allies[0, 1, -7:].tolist() == [0, 1, 0, 0, 0, 0, 0]
    assert enemies[0, :, -1].tolist() == [0, 1]  # a bit, however many attack it


def test_discovery_takes_its_share_in_whole_rounds():
    assert discovery_updates(ODISConfig(max_steps=50_000), 3) == 15_000
    assert discovery_updates(ODISConfig(max_steps=10, pretrain_share=0.3), 2) == 4
    assert discovery_updates(ODISConfig(max_steps=10, pretrain_share=0.0), 2) == 0


def test_each_stage_trains_its_own_parts_only():
    made = learner(GRID)
    batch = wave_batch(GRID, [3, 2])
    parts = {
        "discovery": made.network.decoder.head,
        "skills": made.network.skill_head,
        "states": made.network.state_encoder.allies,
        "observations": made.network.observation_encoder.transformer.output,
        "values": made.network.value_head,
        "mixer": made.mixer.allies,
    }
    moved = []
    for _ in range(4):
        before = {name: part.weight.detach().clone() for name, part in parts.items()}
        made.update(batch)
        changed = {n for n, part in parts.items() if not torch.equal(part.weight, before[n])}
        moved.append(changed)
    first, second = {"discovery", "skills", "states"}, {"observations", "values", "mixer"}
    assert moved == [first, first, second, second]


def test_the_gradient_gathers_over_a_round_of_the_tasks():
    other = dataclasses.replace(GRID, task="other")
    made = learner(GRID, other, max_steps=8)
    one, two = wave_batch(GRID, [3, 2]), wave_batch(other, [4])
    before = made.network.decoder.head.weight.detach().clone()
    assert "grad_norm" not in made.update(one)
    assert torch.equal(made.network.decoder.head.weight, before)
    assert "grad_norm" in made.update(two)
    assert not torch.equal(made.network.decoder.head.weight, before)


def test_targets_are_copied_by_updates_of_the_policy_stage():
    made = learner(GRID, max_steps=6, pretrain_share=1 / 6, target_update_every=2)
    batch = wave_batch(GRID, [3])
    online, target = made.online.head.weight, made.target.head.weight
    equal = []
    for _ in range(4):
        made.update(batch)
        equal.append(torch.equal(online, target))
    # Discovery leaves both as they were; the second update of the policy copies.
    assert equal == [True, False, True, False]


def test_filled_mask_does_not_see_padding():
    batch = wave_batch(MARINES, [4, 2])
    obs, state = batch.obs.clone(), batch.state.clone()
    obs[~batch.packed()] = 100
    state[~batch.packed()] = 100
    padded = dataclasses.replace(batch, obs=obs, state=state)
    made = learner(MARINES, bc_mask="filled", target_update_every=100)
    for losses in (made.discovery_losses, made.policy_losses):
        torch.manual_seed(0)
        expected = losses(batch)["loss"]
        torch.manual_seed(0)
        torch.testing.assert_close(losses(padded)["loss"], expected)


def test_filled_consistency_counts_transitions_only():
    batch = wave_batch(GRID, [3])
    made = learner(GRID, bc_mask="filled")
    rows = filled_rows(batch)
    features = batch_features(batch, rows, id_bits=4)
    logits = made.network.skill_head(made.network.observation_encoder(features, rows.counts))
    labels = skill_labels(made._skill_logits(batch, rows))
    # Three transitions; the fourth frame begins none.
    loss = functional.cross_entropy(logits[:3].flatten(0, 1), labels[:3].flatten())
    torch.testing.assert_close(made.policy_losses(batch)["consistency_loss"], loss)


def test_policy_decodes_the_skill_of_the_highest_value():
    made = learner(MARINES)
    played = replay(made.policy(), wave_batch(MARINES, [5, 5]))
    rows = filled_rows(played)
    features = batch_features(played, rows, id_bits=4)
    codes = made.network.observation_encoder(features, rows.counts)
    skills = functional.one_hot(made.network.value_head(codes).argmax(-1), 3).float()
    scores = made.network.decoder(MARINES, features, skills, rows.counts)
    assert torch.equal(played.actions, best(scores, played))


@pytest.mark.parametrize("saved_after", [2, 3, 5, 6])
def test_resumed_training_is_exact_in_both_stages_and_inside_a_round(saved_after):
    other = dataclasses.replace(MARINES, task="other")
    config = ODISConfig(**MIXED, max_steps=8, pretrain_share=0.5, target_update_every=2)
    batches = [wave_batch(MARINES, [3, 2]), wave_batch(other, [4])] * 4
    assert continues_exactly(
        lambda: ODISLearner([MARINES, other], config, device=CPU), batches, saved_after=saved_after
    )


def test_a_continuous_task_is_refused():
    with pytest.raises(LabError, match="ODIS chooses among discrete actions"):
        learner(dataclasses.replace(GRID, continuous=True))


def test_a_share_that_leaves_nothing_for_the_policy_is_refused():
    data = OfflineDataset(OfflineDataConfig(train_tasks=("cn-2", "cn-4")))
    trainer = odis(ODISConfig(max_steps=2, pretrain_share=0.4))
    with pytest.raises(LabError, match=r"leaves none of trainer\.max_steps=2 for the policy"):
        trainer.plan(Setup(dataset=data))


@pytest.mark.parametrize(("method", "keys"), [("odis", ("pretrain_share",)), ("hissd", ())])
def test_the_share_of_max_steps_is_named_for_longer_runs(method, keys):
    experiment = compose(["plugin=stairs", f"method={method}"])
    said = build(experiment).plan(experiment.run.resources)["trainer"].continues
    assert said is not None
    assert said.follow_max_steps == keys
    assert {*said.free, *keys} <= set(experiment.settings["trainer"])
