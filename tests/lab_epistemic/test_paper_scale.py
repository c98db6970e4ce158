"""The published setting: planned for each model, and a step of it on a fixture that thinks."""

import json
import shutil

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from huggingface_hub import constants
from lab_llm.policy.tiny_model import shipped_path
from labrun.config.components import build
from labrun.config.experiments import compose, studied

PARAMETERS = {
    "qwen3_8b": 8_190_735_360,
    "qwen3_8b_no_thinking": 8_190_735_360,
    "qwen3_1_7b": 1_720_574_976,
    "r1_distill_qwen_7b": 7_615_616_512,
    "olmo3_7b_instruct": 7_298_011_136,
}
"""As the models' own files add up to."""
TEMPLATE = (
    "{%- for message in messages -%}<|im_start|>{{ message.role }}\n"
    "{{ message.content }}<|im_end|>\n"
    "{%- endfor -%}{%- if add_generation_prompt -%}<|im_start|>assistant\n"
    "{%- if enable_thinking is defined and enable_thinking is false -%}"
    "{{- '<think>\\n\\n</think>\\n\\n' -}}{%- endif -%}{%- endif -%}"
)
"""Thinking as Qwen3's template switches it."""
SMALL = (
    "trainer.sampler=cpu",
    "trainer.deepspeed=''",
    "trainer.prompts_per_step=4",
    "trainer.num_generations=2",
    "trainer.num_minibatches=1",
    "trainer.micro_batch_size=4",
    "trainer.max_completion_length=16",
    "trainer.max_steps=1",
    "trainer.warmup_steps=0",
    "trainer.lr_schedule=constant",
    "trainer.evaluate_start=false",
    "resources.num_gpus=0",
    "verbalization.num_samples=1",
    "verbalization.pass_k=[1]",
    "verbalization.max_new_tokens=8",
)


@pytest.fixture
def cache(tmp_path, monkeypatch):
    """An empty Hugging Face cache."""
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "hub"))


@pytest.fixture
def model(tmp_path):
    """The shipped model as a directory, with a template that thinks."""
    path = shutil.copytree(shipped_path(), tmp_path / "model")
    (path / "chat_template.jinja").write_text(TEMPLATE)
    return path


@pytest.fixture
def rows(tmp_path):
    """Three problems to train on and one to score, as words of a command."""
    problems = [
        {
            "prompt": [{"content": f"{n}+1?", "role": "user"}],
            "reward_model": {"ground_truth": str(n + 1)},
        }
        for n in (1, 2, 3)
    ]
    pq.write_table(pa.Table.from_pylist(problems), tmp_path / "rows.parquet")
    (tmp_path / "test.jsonl").write_text(
        '{"prompt": "5+1?", "reward_model": {"ground_truth": 6}}\n'
    )
    files = ("dataset=rows", f"dataset.path={tmp_path}/rows.parquet")
    columns = ("dataset.answer_column=reward_model.ground_truth",)
    return (*files, *columns, f"dataset.evaluation={{amc23: {tmp_path}/test.jsonl}}")


def settings_of(*words):
    return compose(["plugin=epistemic", "scale=paper", *words]).settings


@pytest.mark.usefixtures("cache")
@pytest.mark.parametrize("model", list(PARAMETERS))
def test_every_published_model_is_planned(model):
    experiment = compose(["plugin=epistemic", "scale=paper", f"model={model}"])
    plan = build(experiment).plan(experiment.run.resources)["trainer"]
    assert plan.facts["parameters"] == PARAMETERS[model]
    assert any("hf download" in str(line) for line in plan.missing)
    assert "copies" in str(plan.facts["gpu_memory_gib, 8 processes"])  # the frozen teacher


def test_each_objective_has_its_published_rate():
    rates = {m: settings_of(f"method={m}")["trainer"]["learning_rate"] for m in ("sdpo", "grpo")}
    assert rates == {"sdpo": 1e-5, "grpo": 1e-6}
    assert settings_of("method=sdpo_ema")["trainer"]["learning_rate"] == 1e-5
    assert settings_of("method=grpo", "learning_rate=3e-6")["trainer"]["learning_rate"] == 3e-6


def test_thinking_on_and_off_have_their_published_sampling():
    for model, thinking, sampling in (
        ("qwen3_8b", True, (0.6, 0.95, 0)),  # the published code passes no top_k on
        ("qwen3_8b_no_thinking", False, (0.7, 0.8, 0)),
    ):
        settings = settings_of(f"model={model}")
        assert settings["trainer"]["model"]["thinking"] is thinking
        scored = settings["evaluator.verbalization"]
        assert (scored["temperature"], scored["top_p"], scored["top_k"]) == sampling
        assert (scored["num_samples"], scored["max_new_tokens"]) == (16, 38912)


def test_objectives_share_the_settings_of_the_published_code():
    for method in ("sdpo", "grpo"):
        trainer = settings_of(f"method={method}")["trainer"]
        batch = trainer["prompts_per_step"], trainer["num_generations"], trainer["num_minibatches"]
        assert batch == (256, 8, 2)
        assert (trainer["epsilon"], trainer["epsilon_high"]) == (0.2, 0.28)
        weight = trainer["vllm_importance_sampling"], trainer["vllm_importance_clip"]
        assert weight == ("token_truncate", 2.0)
        assert (trainer["weight_decay"], trainer["scale_rewards"]) == (0.01, "none")
        assert (trainer["max_steps"], trainer["warmup_steps"]) == (200, 20)
        assert (trainer["loss_type"], trainer["dual_clip"]) == ("grpo", 3.0)
        assert (trainer["max_prompt_length"], trainer["mask_truncated"]) == (2048, False)
        distillation = trainer["distillation"]
        assert (distillation["reduction"], distillation["ema_every"]) == ("rollouts", "batch")
    data = settings_of()["dataset"]
    assert (data["reward"], data["evaluation_reward"]) == ("published", "math_verify")


def test_study_1_is_as_the_published_code_has_it():
    (one,) = studied(["plugin=epistemic", "scale=paper_richness", "study=richness", "seed=0"])
    study = one.settings["evaluator.richness"]
    assert one.settings["trainer"]["model"]["name"] == "deepseek-ai/DeepSeek-R1-Distill-Qwen-7B"
    assert (study["response_choice"], study["rounds"], study["num_problems"]) == ("first", 1, 100)
    assert (study["num_probes"], study["min_passes"], study["max_passes"]) == (8, 1, 4)
    assert (study["temperature"], study["top_p"], study["top_k"]) == (0.6, 0.95, 20)
    assert study["max_new_tokens"] == 32768
    assert study["template"] == (
        "{prompt}\n\nCorrect solution: {solution}\n\nCorrectly solve the original question."
    )


@pytest.mark.parametrize("scale", ["paper", "paper_richness"])
def test_study_1_is_planned_with_a_model_that_is_here(scale, model, rows):
    config = model / "config.json"
    fields = json.loads(config.read_text()) | {"max_position_embeddings": 131072}  # R1-Distill's
    config.write_text(json.dumps(fields))
    words = (f"scale={scale}", "study=richness", "seed=0", f"model.name={model}", *rows)
    (one,) = studied(["plugin=epistemic", *words])
    facts = build(one).plan(one.run.resources)["trainer"].facts
    assert facts["context_length"] == 131072
    assert "vllm_max_model_length" not in facts  # nothing is trained


def test_coverage_on_the_published_sets_has_a_file_for_each_size():
    words = ["plugin=epistemic", "scale=paper", "study=coverage_published", "method=sdpo"]
    paths = [str(one.settings["dataset"]["path"]) for one in studied(words)]
    names = [path.rpartition("seen_")[2] for path in paths]
    assert names == [f"{n}.parquet" for n in ("1x64", "8x8", "64", "128", "512")]


def test_coverage_of_files_is_equal_updates_on_more_and_more_problems():
    found = studied(["plugin=epistemic", "scale=paper", "study=coverage_rows", "method=sdpo"])
    assert [e.settings["dataset"]["limit"] for e in found] == [1, 8, 64, 128, 512, None]
    assert {e.settings["trainer"]["prompts_per_step"] for e in found} == {64}
    assert {e.settings["trainer"]["max_steps"] for e in found} == {200}


def test_the_other_studies_compose_at_this_scale():
    for words in (("study=richness",), ("study=onpolicy",)):
        assert studied(["plugin=epistemic", "scale=paper", *words, "seed=0"])
    (one, other) = studied(["plugin=epistemic", "scale=paper_sft", "study=offpolicy", "seed=0"])
    assert one.settings["trainer"]["model"]["name"] == "deepseek-ai/DeepSeek-R1-Distill-Qwen-7B"
    assert other.settings["trainer"]["guidance"] == "solution"
    # a guided prompt holds a whole response: 131072 tokens less two leave room for the question
    assert 131072 - 2 * one.settings["trainer"]["max_completion_length"] >= 4096
    window = [one.settings["trainer"][n] for n in ("min_passes", "max_passes", "num_problems")]
    assert window == [1, 4, 100]
    assert one.settings["trainer"]["system_prompt"].startswith("Please reason step by step")


def test_a_fixture_that_thinks_trains_one_step_and_is_saved_with_its_switch(
    lab_here, fit_here, model, rows
):
    data = (*rows, "dataset.score_seen=true")
    chosen = ("method=sdpo", "model.thinking=false", f"model.name={model}")
    words = ("plugin=epistemic", "scale=paper", *chosen, *data, *SMALL)
    planned = lab_here("run", *words, "--dry-run")
    assert planned.returncode == 0, planned.stderr
    code, run = fit_here(*words)
    assert code == 0
    assert {e["score"]["task"] for e in run.events() if e["kind"] == "score"} == {"seen", "amc23"}
    saved = (run.artifacts / "model/chat_template.jinja").read_text()
    assert saved == "{%- set enable_thinking = false -%}\n" + TEMPLATE
