"""The paper's scale on a fixture in the formats of its models and data: planned, refused, run."""

import shutil

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from huggingface_hub import constants
from lab_llm.policy.tiny_model import shipped_path
from labrun.config.components import build
from labrun.config.experiments import compose

PREFIX = (
    "Solve the following math problem step by step. The last line of your response should be of "
    "the form Answer: $Answer (without quotes) where $Answer is the answer to the problem.\n\n"
)
SUFFIX = '\n\nRemember to put your answer on its own line after "Answer:".'
EVALUATION = {
    "math-ai/aime24": ("problem", "solution"),
    "math-ai/aime25": ("problem", "answer"),
    "MathArena/aime_2026": ("problem", "answer"),
    "MathArena/hmmt_feb_2026": ("problem", "answer"),
    "math-ai/amc23": ("question", "answer"),
    "HuggingFaceH4/MATH-500": ("problem", "answer"),
}
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
    "resources.num_gpus=0",
    "accuracy.num_samples=1",
    "accuracy.pass_k=[1]",
    "accuracy.max_new_tokens=8",
    "trainer.evaluate_start=false",
)


def snapshot(cache, kind, repo):
    """An empty snapshot in the layout of the Hugging Face cache."""
    root = cache / "hub" / f"{kind}--{repo.replace('/', '--')}"
    (root / "refs").mkdir(parents=True)
    (root / "refs/main").write_text("c0ffee")
    folder = root / "snapshots/c0ffee"
    folder.mkdir(parents=True)
    return folder


def cached_data(cache):
    rows = [
        {
            "data_source": "math_dapo",
            "prompt": [{"content": f"{PREFIX}{n}+1?{SUFFIX}", "role": "user"}],
            "ability": "MATH",
            "reward_model": {"ground_truth": str(n + 1), "style": "rule-lighteval/MATH_v2"},
            "extra_info": {"index": str(n)},
        }
        for n in (1, 2, 3, 1, 2)
    ]
    folder = snapshot(cache, "datasets", "BytedTsinghua-SIA/DAPO-Math-17k") / "data"
    folder.mkdir()
    pq.write_table(pa.Table.from_pylist(rows), folder / "dapo-math-17k.parquet")
    for repo, (question, answer) in EVALUATION.items():
        row = {question: "5+1?", answer: "\\boxed{6}" if answer == "solution" else "6"}
        folder = snapshot(cache, "datasets", repo)
        pq.write_table(pa.Table.from_pylist([row]), folder / "test-00000-of-00001.parquet")


@pytest.fixture
def cache(tmp_path, monkeypatch):
    path = tmp_path / "hf"
    path.mkdir()
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(path / "hub"))
    return path


@pytest.fixture
def model(tmp_path):
    """The shipped tiny model as a directory: Qwen3, safetensors, a chat template."""
    return shutil.copytree(shipped_path(), tmp_path / "model")


def test_without_weights_and_data_the_plan_is_printed_and_a_run_is_refused(lab_here, home, cache):
    planned = lab_here("run", "plugin=rlrt", "scale=paper", "model=qwen3_8b", "--dry-run")
    assert planned.returncode == 0, planned.stderr
    assert "hf download Qwen/Qwen3-8B" in planned.stdout
    assert "hf download --repo-type dataset BytedTsinghua-SIA/DAPO-Math-17k" in planned.stdout
    assert "hf download --repo-type dataset HuggingFaceH4/MATH-500" in planned.stdout
    assert "resources.num_gpus=8" in planned.stdout
    assert "8190735360" in planned.stdout
    words = planned.stdout.split()
    assert words[words.index("eps_w") + 1] == "0.2"
    refused = lab_here("run", "plugin=rlrt", "scale=paper", "model=qwen3_8b")
    assert refused.returncode == 2
    assert "hf download Qwen/Qwen3-8B" in refused.stderr
    assert "hf download --repo-type dataset BytedTsinghua-SIA/DAPO-Math-17k" in refused.stderr
    assert not home.exists()


@pytest.mark.usefixtures("cache")
def test_each_headline_is_the_gpu_on_which_process_and_vllm_both_have_room():
    experiment = compose(["plugin=rlrt", "scale=paper", "trainer.deepspeed=zero3"])
    facts = build(experiment).plan(experiment.run.resources)["trainer"].facts
    # 15.9 GiB of the process beside a share of 0.3: 22.7; but vLLM's 11 need a GPU of 11 / 0.3
    assert facts["gpu_memory_gib, 8 processes"] == (
        "36.7 (weights 0.937, gradients 1.87, optimizer 5.62, activations 3.5, head 1.95, "
        "gathered 2.05, vllm 11, free 9.8)"
    )
    assert facts["vllm_needs_gib"] == (
        "11 (weights 7.49, sequence 2.53, work 1), the least that a share of 0.3 must hold"
    )
    # one process has 75 GiB: vLLM gets more than it needs
    alone = str(facts["gpu_memory_gib, 1 process"])
    assert alone.startswith("107 (")
    assert alone.endswith("vllm 32.1)")


def test_a_fixture_in_the_papers_formats_is_planned_and_trains_one_step(
    lab_here, fit_here, cache, model
):
    cached_data(cache)
    words = ("plugin=rlrt", "scale=paper", f"model.name={model}")
    too_long = lab_here("run", *words, "trainer.max_completion_length=256", "--dry-run")
    assert "evaluator.accuracy.max_new_tokens=16384: with the prompt of" in too_long.stderr
    short = ("trainer.max_completion_length=256", "accuracy.max_new_tokens=256")
    planned = lab_here("run", *words, *short, "--dry-run")
    assert planned.returncode == 0, planned.stderr
    assert "3 problems from" in planned.stdout  # of 5 rows
    assert "hf download" not in planned.stdout
    assert lab_here("run", *words, *SMALL, "--dry-run").returncode == 0
    code, run = fit_here(*words, *SMALL)
    assert code == 0
    events = list(run.events())
    assert [e["step"] for e in events if e["kind"] == "metrics"] == [1]
    tasks = {e["score"]["task"] for e in events if e["kind"] == "score"}
    assert tasks == {"aime24", "aime25", "aime26", "hmmt26", "amc23", "math500"}


def test_the_published_and_quoted_values_are_the_presets():
    settings = compose(["plugin=rlrt", "scale=paper", "model=qwen3_4b_base"]).settings
    trainer, data = settings["trainer"], settings["dataset"]
    # quoted of the paper's table
    assert (trainer["learning_rate"], trainer["weight_decay"]) == (1e-6, 0.01)
    assert (trainer["temperature"], trainer["lam"], trainer["eps_w"]) == (1.0, 0.5, 1.0)
    # 10 steps are quoted: batches, of 2 optimizer steps each
    assert (trainer["warmup_steps"], trainer["num_minibatches"]) == (20, 2)
    assert trainer["lr_schedule"] == "constant_with_warmup"
    # of the other study's code
    assert (trainer["loss_type"], trainer["dual_clip"]) == ("grpo", 3.0)
    assert trainer["max_prompt_length"] == 2048
    assert trainer["vllm_importance_sampling"] == "token_truncate"
    assert (data["reward"], data["evaluation_reward"]) == ("published", "math_verify")
