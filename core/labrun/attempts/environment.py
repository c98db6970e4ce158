"""Variables of the shell that change a job's numbers, though its spec does not hold them."""

import json
import os
import re
from collections.abc import Mapping

from labrun.attempts.ranks import PLACE

DROPPED = "LABRUN_DROPPED"
"""Variable that tells a job which variables were removed, as a JSON object."""
CHANGES_NUMBERS = re.compile(
    # accelerate: precision, accumulation, compilation, sharding of whatever Trainer runs
    r"(ACCELERATE|FSDP|MEGATRON_LM|PARALLELISM_CONFIG)_\w+|FORK_LAUNCHED|SHARDED_STATE_DICT"
    # other launchers' ranks, which accelerate and DeepSpeed take for this job's
    r"|(OMPI_COMM_WORLD|MV2_COMM_WORLD|PMI|TORCHELASTIC)_\w+|(GROUP|ROLE|NODE)_(RANK|WORLD_SIZE)"
    r"|DS_ACCELERATOR|DEEPSPEED_\w+"
    # precision and kernels of torch and the libraries below it
    r"|NVIDIA_TF32_OVERRIDE|TORCH_ALLOW_TF32\w*|TORCH_BLAS_\w+|TORCH_CUDNN_\w+|TORCH_LINALG_\w+"
    r"|TORCH_MKLDNN_\w+|TORCH_LINEAR_\w+|TORCH_ROCM_\w+|PYTORCH_TUNABLEOP_\w+|PYTORCH_TENSOREXPR\w*"
    r"|PYTORCH_MIOPEN_\w+|TORCH_COMPILE_\w+|TORCH_DEVICE_\w+"
    r"|DISABLE_ADDMM_\w+|CUBLASLT?_(?!WORKSPACE_CONFIG|LOG)\w+|CUDNN_(?!LOG)\w+"
    r"|ATEN_CPU_CAPABILITY|MKL_(CBWR|ENABLE_INSTRUCTIONS|DEBUG_CPU_TYPE)|(ONEDNN|DNNL)_\w+"
    r"|XLA_(USE|DOWNCAST)_BF16|USE_TORCH_XLA|PJRT_DEVICE"
    # what transformers and attention kernels take in place of the model's own
    r"|USE_HUB_KERNELS|TRANSFORMERS_DISABLE_\w+|FLASH_ATTENTION_\w+|HCCL_DETERMINISTIC"
)
KEPT = re.compile(r"CUBLAS_WORKSPACE_CONFIG|VLLM_(?!LOGGING|LOG_|CACHE|CONFIG|NO_USAGE|API)\w+")
"""Left to jobs, since a machine may need them, and noted in the run."""


def for_job(shell: Mapping[str, str]) -> dict[str, str]:
    """The shell's variables for a job: without those that change numbers, and without the places
    of other jobs' processes. What was left out stands in DROPPED."""
    left = {name: value for name, value in shell.items() if name not in (*PLACE, DROPPED)}
    dropped = {name: left.pop(name) for name in sorted(left) if CHANGES_NUMBERS.fullmatch(name)}
    return left | ({DROPPED: json.dumps(dropped)} if dropped else {})


def notes(job: Mapping[str, str] = os.environ) -> list[str]:
    """What a run must say of its variables: which it was started without, and which still act.

    One that changes numbers acts only where a job was started by hand, say by
    `accelerate launch -m labrun.worker RUN_DIR`.
    """
    dropped = json.loads(job.get(DROPPED, "{}"))
    acting = {
        name: job[name]
        for name in sorted(job)
        if CHANGES_NUMBERS.fullmatch(name) or KEPT.fullmatch(name)
    }
    said: list[str] = []
    if dropped:
        said.append(f"the job was started without variables of the shell: {_listed(dropped)}")
    if acting:
        said.append(f"variables that may change numbers are set: {_listed(acting)}")
    return said


def _listed(variables: Mapping[str, str]) -> str:
    return ", ".join(f"{name}={value:.80}" for name, value in variables.items())
