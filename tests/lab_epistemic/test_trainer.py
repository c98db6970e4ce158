"""SDPO and GRPO as this plugin runs them: presets, studies, credit, refusals."""

import dataclasses

import pytest
from lab_epistemic.config import EpistemicConfig
from lab_epistemic.trainer import EpistemicTrainer, make_objective
from lab_llm.text.epistemic_words import epistemic_count, epistemic_words
from lab_llm.training.distillation_config import DistillationConfig
from lab_llm.training.objective import Surrogate
from lab_llm.training.self_distillation import SelfDistillation
from lab_llm.training.teacher import Teacher
from labrun import LabError, Plan
from labrun.config.components import build
from labrun.config.experiments import compose, studied
from labrun.runs import run_dir
from labrun.runs.context import RunContext
from setups import setup_of

SDPO = DistillationConfig()


def trainer_settings(*words):
    return compose(["plugin=epistemic", *words]).settings["trainer"]


@pytest.mark.parametrize(
    ("method", "changed"),
    [
        ("sdpo", {}),
        ("sdpo_ema", {"teacher": "ema"}),
        ("sdpo_live", {"teacher": "live"}),
        ("sdpo_without_thinking", {"richness": "without_thinking"}),
        ("sdpo_answer", {"richness": "answer"}),
        ("sdpo_kl", {"alpha": 0.0}),
        ("sdpo_reverse_kl", {"alpha": 1.0}),
        ("sdpo_top_5", {"top_k": 5, "tail": False}),
        ("sdpo_own_success", {"dont_reprompt_on_self_success": False}),
    ],
)
def test_a_method_is_sdpo_with_one_change(method, changed):
    settings = trainer_settings(f"method={method}")
    assert settings["objective"] == "sdpo"
    expected = dataclasses.asdict(dataclasses.replace(SDPO, **changed))
    assert settings["distillation"] == expected
    rest = trainer_settings("method=sdpo")
    differing = {key for key in rest if settings[key] != rest[key]}
    assert differing <= {"distillation"}


def test_the_main_setting_is_the_published_one():
    assert SDPO.teacher == "frozen"
    assert (SDPO.alpha, SDPO.top_k, SDPO.tail, SDPO.ratio_clip) == (0.5, 100, True, 2.0)
    assert SDPO.dont_reprompt_on_self_success
    assert trainer_settings("method=grpo")["objective"] == "grpo"


@pytest.mark.parametrize(
    ("study", "methods", "count"),
    [
        ("main", {"grpo", "sdpo"}, 2),
        ("tuning", {"grpo", "sdpo"}, 2 * 3 * 2),
        ("onpolicy", None, 6 * 5),
        ("objective", None, 5 * 5),
        ("coverage", {"grpo", "sdpo", "sdpo_answer"}, 3 * 5 * 5),
        ("offpolicy", {"sft_unguided", "sft_guided"}, 2 * 5),
        ("richness", {"sdpo"}, 5),
    ],
)
def test_a_study_is_the_runs_of_its_sweep(study, methods, count):
    found = studied(["plugin=epistemic", f"study={study}"])
    assert len(found) == count
    if methods is not None:
        assert {e.choices["method"] for e in found} == methods
    assert len(studied(["plugin=epistemic", f"study={study}", "seed=7", "method=grpo"])) >= 1


def test_coverage_counts_and_scores_the_training_problems():
    found = studied(["plugin=epistemic", "study=coverage", "seed=0", "method=grpo"])
    data = [e.settings["dataset"] for e in found]
    assert [d["train_size"] for d in data] == [1, 8, 64, 128, 215]
    assert all(d["score_seen"] for d in data)
    assert len({e.settings["trainer"]["max_steps"] for e in found}) == 1


def test_tuning_sees_the_validation_split_and_seeds_of_its_own():
    found = studied(["plugin=epistemic", "study=tuning"])
    assert {e.settings["dataset"]["eval_split"] for e in found} == {"validation"}
    others = studied(["plugin=epistemic", "study=onpolicy"])
    assert not {e.run.seed for e in found} & {e.run.seed for e in others}


def test_grpo_is_the_plain_surrogate_without_a_teacher():
    config = EpistemicConfig(objective="grpo", epsilon=0.1)
    assert make_objective(config) == Surrogate(config)


def test_sdpo_is_told_its_settings():
    chosen = DistillationConfig(teacher="ema", richness="answer", max_context_length=7)
    config = EpistemicConfig(
        distillation=chosen,
        teacher_context="reference_solution",
        teacher_template="{prompt}{solution}",
        temperature=0.7,
    )
    objective = make_objective(config)
    assert isinstance(objective, SelfDistillation)
    assert objective.config == chosen
    assert objective.temperature == 0.7
    assert objective.teacher == Teacher(
        context="reference_solution",
        template="{prompt}{solution}",
        scored="every",
        gives="sequences",
        allow_itself=False,
        richness="answer",
        max_context_length=7,
    )


@pytest.mark.parametrize("method", ["sdpo", "grpo"])
def test_a_run_counts_its_own_words_while_it_trains(tmp_path, method):
    words = ["plugin=epistemic", f"method={method}", "trainer.words=[yes]", "max_steps=1"]
    words += ["prompts_per_step=2", "micro_batch_size=16", "evaluate_start=false"]
    experiment = compose(words)
    run = run_dir.create(experiment, root=tmp_path)
    ctx = RunContext(run=run, seed=0, attempt=0, devices=(), resume_from=None, keep_checkpoints=1)
    parts = build(experiment)
    texts: list[str] = []
    sets = parts.dataset.sets

    def verify(problem, text):
        texts.append(text)
        return sets.verify(problem, text)

    parts.trainer.fit(ctx, dataclasses.replace(sets, verify=verify))
    logged = {name: series[1] for name, series in run.series().items()}
    for name, count in (("epistemic_words", epistemic_words), ("epistemic_count", epistemic_count)):
        expected = sum(count(text, ("yes",)) for text in texts) / 16
        assert logged[name] == pytest.approx(expected)
        assert expected > 0
    assert ("teacher_context_fraction" in logged) == (method == "sdpo")


def test_problems_without_solutions_are_refused_where_the_teacher_needs_them():
    class Unsolved:
        def __init__(self) -> None:
            whole = build(compose(["plugin=epistemic"])).dataset.sets
            train = [dataclasses.replace(p, solution=None) for p in whole.train]
            self.sets = dataclasses.replace(whole, train=train)

        def plan(self, setup):
            return Plan(offers=self.sets)

        def load(self, ctx):
            return self.sets

        def fingerprint(self):
            return ""

    how = {"teacher_context": "reference_solution"}
    with pytest.raises(
        LabError, match=r"trainer\.teacher_context=reference_solution, but 215 of 215"
    ):
        EpistemicTrainer(EpistemicConfig(**how)).plan(setup_of(Unsolved()))
    EpistemicTrainer(EpistemicConfig(**how, objective="grpo")).plan(setup_of(Unsolved()))
    EpistemicTrainer(EpistemicConfig()).plan(setup_of(Unsolved()))
