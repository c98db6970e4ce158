"""One rank of two that evaluate twice, each time with a vLLM of its own on the CPU."""

import os
import sys
from pathlib import Path

from vllm_on_cpu import ENVIRONMENT


def main(folder: str) -> None:
    """Prints the ranks that answer and the accuracies, after each evaluation."""
    from lab_llm.datasets.countdown import CountdownDataset
    from lab_llm.datasets.countdown_config import CountdownConfig
    from lab_llm.distributed import ranks
    from lab_llm.evaluation.accuracy import AccuracyEvaluator
    from lab_llm.evaluation.config import AccuracyConfig
    from lab_llm.policy.config import PolicyConfig
    from lab_llm.policy.policy import load_policy
    from labrun.runs.context import RunContext
    from labrun.runs.run_dir import RunDir

    ranks.join(cuda=False)
    rank = int(os.environ["RANK"])
    ctx = RunContext(
        run=RunDir(Path(folder)),
        seed=0,
        attempt=1,
        devices=(),
        resume_from=None,
        keep_checkpoints=1,
        rank=rank,
        world_size=2,
    )
    policy = load_policy(PolicyConfig())
    data = CountdownDataset(CountdownConfig()).load(ctx)
    settings = AccuracyConfig(engine="vllm", max_problems=8, num_samples=1)
    for _ in range(2):
        scores = AccuracyEvaluator(settings).evaluate(ctx, policy, data)
        accuracies = [score.value for score in scores if score.metric == "accuracy"]
        print("evaluated", ranks.gather_objects(rank), accuracies, flush=True)


if __name__ == "__main__":
    os.environ.update(ENVIRONMENT)
    main(*sys.argv[1:])
