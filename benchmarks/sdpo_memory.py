"""Peak memory of SDPO's loss with logits in chunks, against whole (N, V) distributions.

Each variant runs in a process of its own on equal hidden states: V is Qwen3-4B's vocabulary,
H a narrow stand-in for its width, N the tokens of a micro-batch. The peak is the process's largest
resident set less what it held before the loss; loss and gradient of both are compared first.
"""

import argparse
import json
import resource
import subprocess
import sys
import time
from functools import partial
from typing import Any

import harness
import torch
from lab_llm.training.distillation import compare_hidden, compared, divergence

VOCABULARY, WIDTH = 151_936, 64
SETTINGS: dict[str, Any] = {"alpha": 0.5, "top_k": 100, "tail": True}


def main() -> None:
    parser = harness.parser("sdpo_memory", __doc__)
    parser.add_argument("--tokens", type=int, default=1024, help="N, tokens of the micro-batch")
    parser.add_argument(
        "--chunk", type=int, default=64, help="tokens whose logits are held at once"
    )
    parser.add_argument("--variant", choices=["whole", "chunked"], help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.variant:
        print(json.dumps(measure(arguments.variant, arguments.tokens, arguments.chunk)))
        return
    before = harness.machine()
    found = {name: run(name, arguments) for name in ("whole", "chunked")}
    whole, chunked = found["whole"], found["chunked"]
    if abs(whole["loss"] - chunked["loss"]) > 1e-4 * abs(whole["loss"]):
        raise SystemExit(f"the losses differ: {found}")
    if abs(whole["grad_norm"] - chunked["grad_norm"]) > 1e-3 * whole["grad_norm"]:
        raise SystemExit(f"the gradients differ: {found}")
    ratio = whole["peak_gib"] / chunked["peak_gib"]
    for name, values in found.items():
        print(f"{name:8}  peak {values['peak_gib']:.2f} GiB  {values['seconds']:.1f} s")
    print(f"ratio     {ratio:.1f}")
    facts = {"tokens": arguments.tokens, "chunk": arguments.chunk, "vocabulary": VOCABULARY}
    harness.write(
        arguments.out, {"claim": __doc__, "machine": before, **facts, **found, "ratio": ratio}
    )


def run(variant: str, arguments: argparse.Namespace) -> dict[str, float]:
    sizes = ["--tokens", str(arguments.tokens), "--chunk", str(arguments.chunk)]
    command = [sys.executable, __file__, "--variant", variant, *sizes]
    return json.loads(subprocess.run(command, check=True, capture_output=True, text=True).stdout)


def measure(variant: str, num_tokens: int, chunk: int) -> dict[str, float]:
    """The loss, the norm of the student's gradient, peak memory (GiB) and time (s)."""
    torch.manual_seed(0)
    torch.set_num_threads(1)
    heads = [torch.nn.Linear(WIDTH, VOCABULARY, bias=False) for _ in range(2)]
    student = torch.randn(num_tokens, WIDTH, requires_grad=True)
    teacher = student.detach() + 0.3 * torch.randn(num_tokens, WIDTH)
    tokens = torch.randint(VOCABULARY, (num_tokens,))
    heads[0].requires_grad_(False)
    before, began = peak_gib(), time.perf_counter()
    if variant == "whole":
        p = heads[0](student).log_softmax(-1)
        with torch.no_grad():
            q = heads[1](teacher).log_softmax(-1)
        loss = divergence(*compared(p, q, top_k=100, tail=True), alpha=0.5).mean()
    else:
        compare = partial(compare_hidden, heads=(heads[0], heads[1]), temperature=1.0)
        found = compare(student, teacher, tokens, chunk_size=chunk, **SETTINGS)
        loss = found.divergences.mean()
    loss.backward()
    assert student.grad is not None
    return {
        "loss": loss.item(),
        "grad_norm": student.grad.norm().item(),
        "peak_gib": peak_gib() - before,
        "seconds": time.perf_counter() - began,
    }


def peak_gib() -> float:
    """The largest resident set of this process so far (Linux reports KiB)."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20


if __name__ == "__main__":
    main()
