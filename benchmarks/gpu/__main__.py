"""Every section in turn, each under its limit: one table, and JSON as the results come.

`make gpu` takes at most ten minutes on one GPU of 80 GB. It needs no network and no vLLM.
"""

import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path
from typing import Any

import harness
import psutil
import torch

LIMITS = {
    "doctor": 30,
    "golden": 40,
    "stairs_updates": 110,
    "sampler_rates": 60,
    "memory": 100,
    "steps": 300,
    "side_by_side": 300,
}
"""Section -> seconds that it has at most, in the order in which they run."""
TOGETHER = ("steps", "side_by_side")
"""The last two measure no speed, so they run at the same time and share what is left."""
ALL_S = 590.0


def main() -> int:
    options = harness.parser("gpu", __doc__)
    devices = ("cuda", "cpu")
    options.add_argument(
        "--device", choices=devices, default=devices[not torch.cuda.is_available()]
    )
    options.add_argument("--small", action="store_true", help="a short form, for a CPU")
    options.add_argument("--sections", nargs="+", choices=LIMITS, default=list(LIMITS))
    options.add_argument("--seconds", type=float, default=ALL_S, help="for all sections together")
    chosen = options.parse_args()
    if chosen.device == "cuda" and not torch.cuda.is_available():
        options.error("torch finds no CUDA device; --device cpu --small runs the short form")
    result: dict[str, Any] = {
        "device": chosen.device,
        "small": chosen.small,
        "machine": harness.machine() | card(),
        "sections": {},
    }
    began = psutil.Process().create_time()  # imports take seconds
    ends = time.monotonic() + chosen.seconds - (time.time() - began)
    ordered = [name for name in LIMITS if name in chosen.sections]
    alone = [(name,) for name in ordered if name not in TOGETHER]
    for names in (*alone, tuple(name for name in ordered if name in TOGETHER)):
        limits = [min(LIMITS[name], ends - time.monotonic()) for name in names]
        with ThreadPoolExecutor(max_workers=len(TOGETHER)) as threads:
            ask = partial(section, device=chosen.device, small=chosen.small)
            for name, found in zip(names, threads.map(ask, names, limits), strict=True):
                result["sections"][name] = found
                show(name, found)
                harness.write(chosen.out, result)
    return int(any(found["ended"] != "done" for found in result["sections"].values()))


def card() -> dict[str, object]:
    """Name, memory (GiB) and driver's CUDA version of the GPU; nothing without one."""
    if not torch.cuda.is_available():
        return {}
    facts = torch.cuda.get_device_properties(0)
    memory = round(facts.total_memory / 2**30, 1)
    return {"gpu": facts.name, "gpu_memory_gib": memory, "cuda": torch.version.cuda}


def section(name: str, seconds: float, device: str, small: bool) -> dict[str, Any]:
    """Its rows, how it ended (`done`, `failed`, `out of time`) and how long it took (s)."""
    if seconds < 1:
        return {"ended": "out of time", "seconds": 0.0, "rows": []}
    with tempfile.TemporaryDirectory() as folder:
        out = Path(folder) / "rows"
        command = [sys.executable, "-m", "gpu.section", name, str(out), "--device", device]
        command += ["--seconds", str(seconds), *(["--small"] if small else [])]
        here = {**os.environ, "LABRUN_HOME": str(Path(folder) / "runs"), "HF_HUB_OFFLINE": "1"}
        began = time.monotonic()
        with subprocess.Popen(command, env=here, start_new_session=True) as process:
            try:
                ended = "done" if process.wait(seconds) == 0 else "failed"
            except subprocess.TimeoutExpired:
                ended = "out of time"
                os.killpg(process.pid, 9)
        took = time.monotonic() - began
        lines = out.read_text().splitlines() if out.exists() else []
    rows = [json.loads(line) for line in lines if line.endswith("}")]  # the last may be cut
    return {"ended": ended, "seconds": round(took, 1), "rows": rows}


def show(name: str, found: Mapping[str, Any]) -> None:
    print(f"\n== {name}: {found['ended']}, {found['seconds']} s")
    for line in table(found["rows"]):
        print(line, flush=True)


def table(rows: Sequence[Mapping[str, Any]]) -> list[str]:
    """The rows in columns, in the order in which their names first come."""
    names = list(dict.fromkeys(n for row in rows for n in row if not isinstance(row[n], list)))
    cells = [names, *([text(row.get(name)) for name in names] for row in rows)]
    widths = [max(len(line[i]) for line in cells) for i in range(len(names))]
    return [
        "  ".join(c.ljust(w) for c, w in zip(line, widths, strict=True)).rstrip() for line in cells
    ]


def text(value: object) -> str:
    if value is None:
        return "-"
    return f"{value:.4g}" if isinstance(value, float) else str(value)


if __name__ == "__main__":
    sys.exit(main())
