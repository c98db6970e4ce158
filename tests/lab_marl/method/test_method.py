"""An offline method in one call: its description, its trainer, its loss and its learner."""

import pytest
import torch
from baseline_cases import CPU, SMALL, continues_exactly, set_weights, wave_batch
from lab_marl.cloning.config import BCConfig
from lab_marl.cloning.learner import BCLearner
from lab_marl.method import LossSettings, offline_plugin, transitions_of
from lab_marl.method.learner import LossLearner
from lab_marl.method.trainer import LossTrainer
from lab_marl.training.config import OfflineSettings
from labrun.errors import DivergedError, LabError
from labrun.plugins.discovery import resolve
from stairs_cases import grid_layout, marine_layout

MARINES = marine_layout(3, 4)
CLONING = f"{__name__}:cloning"


def cloning(transitions, config):
    return transitions.cross_entropy.mean()


def learner(loss, layout=MARINES) -> LossLearner:
    made = LossLearner([layout], LossSettings(**SMALL), device=CPU, loss=loss)
    set_weights(made.network)
    return made


def test_the_description_names_trainer_presets_and_the_toolkits_baselines():
    info = offline_plugin("mine", summary="mine", loss=CLONING, presets={"slow": {"gamma": 0.5}})
    assert info.defaults == {
        "trainer": "mine",
        "dataset": "marl.offline",
        "evaluator": "marl.rollout",
    }
    methods = {"mine": {}, "slow": {"trainer": {"gamma": 0.5}}}
    assert info.presets_in_python == {"method": methods}
    assert info.presets == ("lab_marl.conf",)
    assert isinstance(resolve(info.components[0].factory)(LossSettings()), LossTrainer)


def test_a_learner_of_the_plugins_own_takes_the_place_of_the_loss():
    info = offline_plugin(
        "mine",
        summary="mine",
        learner="lab_marl.cloning.learner:BCLearner",
        config=BCConfig,
    )
    trainer = resolve(info.components[0].factory)(BCConfig(**SMALL))
    assert isinstance(trainer.learner([MARINES], CPU), BCLearner)


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ({}, "takes either loss= or learner=; name one"),
        ({"loss": "a:b", "learner": "a:b"}, "takes either loss= or learner=; name one"),
        ({"loss": "a:b", "config": OfflineSettings}, "derive it from lab_marl.method.LossSettings"),
        ({"loss": "a:b", "presets": {"bc_t": {}}}, "'bc_t' would hide the baseline; rename it"),
    ],
)
def test_a_description_that_cannot_be_meant_is_refused(given, said):
    with pytest.raises(LabError, match=said):
        offline_plugin("mine", summary="mine", **given)


def test_a_plugin_named_as_the_baseline_is_refused():
    with pytest.raises(LabError, match="'bc' would hide the baseline"):
        offline_plugin("bc", summary="x", loss="x:y")


def test_the_mean_cross_entropy_is_behaviour_cloning():
    batches = [wave_batch(MARINES, [4, 2, 3]), wave_batch(MARINES, [3, 5])]
    known = BCLearner([MARINES], BCConfig(**SMALL, bc_mask="filled"), device=CPU)
    set_weights(known.network)
    made = learner(cloning)
    for step in range(4):
        expected = known.update(batches[step % 2])
        got = made.update(batches[step % 2])
        assert got["loss"] == pytest.approx(expected["loss"], rel=1e-6)
        assert got["grad_norm"] == pytest.approx(expected["grad_norm"], rel=1e-5)


def test_a_transition_holds_what_was_seen_done_and_rewarded():
    layout = grid_layout(3)
    batch = wave_batch(layout, [2, 1])
    rows = learner(cloning, layout).transitions(batch)
    # Time first: step 0 of both episodes, then step 1 of the longer one.
    places = [(0, 0), (0, 1), (1, 0)]
    assert rows.reward.tolist() == [batch.reward[place].item() for place in places]
    assert rows.returns_to_go.tolist() == pytest.approx(
        [batch.reward[:, 0].sum().item(), batch.reward[0, 1].item(), batch.reward[1, 0].item()]
    )
    assert rows.terminated.tolist() == [0.0, 1.0, 1.0]
    for name in ("actions", "avail_actions", "obs", "state"):
        values = torch.stack([getattr(batch, name)[place] for place in places])
        assert torch.equal(getattr(rows, name), values)


def test_training_goes_on_exactly_from_a_saved_state():
    batches = [
        wave_batch(MARINES, [4, 2, 3]),
        wave_batch(MARINES, [3, 5]),
        wave_batch(MARINES, [2]),
    ]

    def fresh() -> LossLearner:
        return LossLearner([MARINES], LossSettings(**SMALL), device=CPU, loss=cloning)

    assert continues_exactly(fresh, batches, saved_after=1)


@pytest.mark.parametrize(
    ("loss", "said"),
    [
        (lambda rows, config: rows.cross_entropy, r"a tensor of shape \(9,\); return one number"),
        (lambda rows, config: rows.reward.mean(), "a number that does not depend on the scores"),
        (lambda rows, config: 0.5, "a float; return one number"),
    ],
)
def test_a_loss_that_is_no_number_to_learn_from_is_refused(loss, said):
    with pytest.raises(LabError, match=said):
        learner(loss).update(wave_batch(MARINES, [4, 2, 3]))


def test_a_loss_that_is_not_finite_ends_the_run():
    made = learner(lambda rows, config: rows.cross_entropy.mean() / 0)
    with pytest.raises(DivergedError, match="loss inf"):
        made.update(wave_batch(MARINES, [4, 2, 3]))


def test_transitions_for_a_test_have_the_scores_and_returns():
    rows = transitions_of(scores=[[0, 2], [1, 1]], actions=[1, 0], returns_to_go=[3, -1])
    assert rows.scores.shape == (2, 1, 2)
    assert rows.returns_to_go.tolist() == rows.reward.tolist() == [3.0, -1.0]
    # -log(e^2 / (1 + e^2)) and -log(1 / 2)
    assert rows.cross_entropy.tolist() == pytest.approx([0.126928, 0.693147], rel=1e-5)
