"""Lets vLLM on the CPU take new weights; as a script, trains with TRL's colocate mode."""

import json
import os
import sys
from pathlib import Path

ENVIRONMENT = {
    "VLLM_CPU_KVCACHE_SPACE": "1",
    "VLLM_ENABLE_V1_MULTIPROCESSING": "0",
    "VLLM_LOGGING_LEVEL": "ERROR",
    "HF_HUB_OFFLINE": "1",
    "OMP_NUM_THREADS": "1",
}


def keep_linear_weights() -> None:
    """The CPU backend repacks linear weights after loading; here it leaves them as they are."""
    import torch
    from vllm.model_executor.layers import utils

    def plain(layer, remove_weight):
        layer.cpu_linear = torch.nn.functional.linear

    utils.dispatch_cpu_unquantized_gemm = plain


def do_not_compile() -> None:
    """TRL gives its engine no enforce_eager; compiling takes longer than the test's steps."""
    from functools import partial

    from trl.generation import vllm_generation

    vllm_generation.LLM = partial(vllm_generation.LLM, enforce_eager=True)


def main(folder: str, num_steps: str) -> None:
    """Train RLRT on countdown from the tiny model; prints the metrics of each step as JSON."""
    from lab_llm.datasets.countdown import CountdownDataset
    from lab_llm.datasets.countdown_config import CountdownConfig
    from lab_llm.evaluation.accuracy import AccuracyEvaluator
    from lab_llm.evaluation.config import AccuracyConfig
    from lab_llm.training.run import train
    from lab_rlrt.config import RLRTConfig
    from lab_rlrt.methods import make_objective
    from labrun.runs.context import RunContext
    from labrun.runs.run_dir import RunDir

    ctx = RunContext(
        run=RunDir(Path(folder)),
        seed=0,
        attempt=1,
        devices=(),
        resume_from=None,
        keep_checkpoints=1,
        evaluators=(AccuracyEvaluator(AccuracyConfig(max_problems=8, max_new_tokens=128)),),
    )
    settings = RLRTConfig(
        max_steps=int(num_steps),
        sampler="vllm",
        prompts_per_step=8,
        micro_batch_size=32,
        evaluate_every=1,
        evaluate_start=False,
    )
    data = CountdownDataset(CountdownConfig()).load(ctx)
    objective = make_objective(settings)
    result = train(ctx, data, settings, objective)
    ctx.evaluate(result.model, data, step=result.step)
    with (Path(folder) / "artifacts/completions/in_domain.jsonl").open() as completions:
        print(json.dumps({"engine": json.loads(next(completions))["engine"]}))
    for line in (Path(folder) / "events.jsonl").read_text().splitlines():
        print(json.dumps(json.loads(line).get("metrics")))


if __name__ == "__main__":
    os.environ.update(ENVIRONMENT)
    keep_linear_weights()
    do_not_compile()
    main(*sys.argv[1:])
