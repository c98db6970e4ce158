"""What thousands of runs, a million events and hundreds of jobs cost the command.

`--what` chooses among: lists (seconds of `lab runs`, `lab status`, `lab runs list --group`,
`lab compare --group` and `lab reindex`, and the store's size), queued (seconds of `lab runs` and
`lab status` where half of the runs wait on another host), tick (CPU seconds and memory of a
look at a run with nothing new), plan (CPU seconds in which the runs of a sweep and of a study are
composed and checked), start (seconds of a no-op run on an existing store), sweep (CPU milliseconds
of the command for a no-op job, planning and the end included). CPU seconds stand beside wall
seconds, which a busy machine makes longer.
"""

import dataclasses
import json
import os
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import harness
from labrun.experiment import Experiment, RunConfig
from labrun.results.store import Mirror
from labrun.runs import index_file, run_dir

EXAMPLE = Path(__file__).parents[1] / "tests" / "example_plugin"
GROUP = 10
"""Runs of a group."""


def experiment(seed: int, group: str) -> Experiment:
    """The settings of a run that was never made."""
    return Experiment(
        plugin="toy",
        run=RunConfig(seed=seed, group=group),
        settings={"trainer": {f"key{i}": i for i in range(30)}},
        components={"trainer": "toy.trainer"},
        choices={"method": "plain"},
        overrides=(f"seed={seed}",),
    )


def new_run(home: Path, index: int, **status: Any) -> run_dir.RunDir:
    label = experiment(index % GROUP, f"g{index // GROUP}")
    return run_dir.create(label, root=home, status=run_dir.Status(**status))


def write_run(home: Path, index: int, *, num_steps: int) -> run_dir.RunDir:
    """A done run with one metric and one score, written without a worker."""
    run = new_run(home, index)
    with open(run.path / "events.jsonl", "w") as out:
        for step in range(num_steps):
            event = {"time": 1e9 + step, "kind": "metrics", "step": step}
            out.write(json.dumps(event | {"metrics": {"loss": 1.0}}) + "\n")
        score = {"task": "test", "metric": "accuracy", "value": 0.5, "n": 1, "items": [0.5]}
        out.write(json.dumps({"time": 2e9, "kind": "score", "step": num_steps, "score": score}))
        out.write("\n")
    status = dataclasses.asdict(run_dir.Status(state="done", step=num_steps, exit_code=0))
    (run.path / "status.json").write_text(json.dumps(status))
    return run


LOOKS = 4
"""Commands after which the store has caught up with the changed runs: each takes half a second of
it, and the next goes on."""


def timed(home: Path, *words: str) -> dict[str, float]:
    """Wall and CPU seconds of one command; workers that it waited for count, too."""
    return harness.timed([sys.executable, "-m", "labrun.cli", *words], LABRUN_HOME=str(home))


def lists(home: Path, options: Any) -> dict[str, Any]:
    for index in range(options.runs):
        write_run(home, index, num_steps=20)
    found: dict[str, Any] = {}
    for name in ("reindex", "reindex again"):
        found[name] = timed(home, "reindex")
        found[name]["store_mb"] = (home / "mlflow.db").stat().st_size / 1e6
    group = ["--group", "g0"]
    found |= listed(home, ["runs"], ["status"], ["runs", "list", *group], ["compare", *group])
    return found


def queued(home: Path, options: Any) -> dict[str, Any]:
    """Half of the runs are done, the others wait for a command on another host."""
    for index in range(options.runs):
        if index % 2:
            new_run(home, index, host="elsewhere", process="7@1@elsewhere")
        else:
            write_run(home, index, num_steps=20)
    timed(home, "reindex")
    return listed(home, ["runs"], ["status"])


def listed(home: Path, *commands: Sequence[str]) -> dict[str, Any]:
    """What each command takes without an index of the runs, when a tenth of the runs has changed
    since it was written, and when nothing has. Their modules are compiled before."""
    for words in commands:
        timed(home, *words)
    found = {}
    for words in commands:
        name = " ".join(words)
        (home / index_file.FILE).unlink(missing_ok=True)
        found[f"{name} (first)"] = timed(home, *words)
        for path in sorted(home.glob("*/status.json"))[::10]:
            path.touch()
        found[f"{name} (changed)"] = timed(home, *words)
        for _ in range(LOOKS):
            timed(home, *words)
        found[name] = timed(home, *words)
    return found


def tick(home: Path, options: Any) -> dict[str, Any]:
    run = write_run(home, 0, num_steps=options.events)
    mirror = Mirror(home)
    found = {}
    for name in ("first look", "look with nothing new"):
        began = time.process_time()
        mirror.update(run)
        found[name] = {"cpu_s": time.process_time() - began}
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    return found | {"peak": {"memory_mb": peak}}


def start(home: Path, options: Any) -> dict[str, Any]:
    words = ["run", "plugin=example", "max_steps=0"]
    timed(home, *words)
    found = [timed(home, *words) for _ in range(options.starts)]
    return {
        f"no-op run, {what}": harness.spread([one[key] for one in found])
        for what, key in (("wall s", "wall_s"), ("CPU s, worker and all", "cpu_s"))
    }


def plan(home: Path, options: Any) -> dict[str, Any]:
    """Composing alone: neither imports nor what the components look at."""
    seeds = ",".join(map(str, range(options.jobs)))
    sweeps = {
        f"{options.jobs} seeds of the example": ["plugin=example", "max_steps=0", f"seed={seeds}"],
        "plugin=epistemic study=coverage": ["plugin=epistemic", "study=coverage"],
    }
    code = (
        "import sys, time; from labrun.launch import session; began = time.process_time()\n"
        "runs = session.plan(sys.argv[1:], sweep=True)\n"
        "print(time.process_time() - began, len(runs))"
    )
    found = {}
    for name, words in sweeps.items():
        command = [sys.executable, "-c", code, *words]
        subprocess.run(command, check=True, capture_output=True)  # the second one counts
        done = subprocess.run(command, check=True, capture_output=True, text=True)
        cpu, num_runs = map(float, done.stdout.split())
        found[name] = {"cpu_s": cpu, "runs": num_runs, "cpu_ms_a_run": 1000 * cpu / num_runs}
    return found


def sweep(home: Path, options: Any) -> dict[str, Any]:
    """The command's own CPU time, from its own clock: workers are its children."""
    timed(home, "run", "plugin=example", "max_steps=0")
    seeds = ",".join(map(str, range(options.jobs)))
    words = ["run", "-m", "plugin=example", "max_steps=0", f"seed={seeds}"]
    code = (
        "import resource, sys; from labrun.cli.main import main; sys.argv[0] = 'lab'\n"
        "try: main()\n"
        "finally:\n"
        "    own = resource.getrusage(resource.RUSAGE_SELF)\n"
        "    print(own.ru_utime + own.ru_stime, own.ru_maxrss / 1024, file=sys.stderr)"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, *words],
        check=True,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
        env=os.environ | {"LABRUN_HOME": str(home)},
    )
    cpu, memory = map(float, done.stderr.split()[-2:])
    return {"a job": {"cpu_ms": 1000 * cpu / options.jobs, "command_memory_mb": memory}}


PARTS: Mapping[str, Callable[[Path, Any], dict[str, Any]]] = {
    "lists": lists,
    "queued": queued,
    "tick": tick,
    "plan": plan,
    "start": start,
    "sweep": sweep,
}


def install_example(folder: Path) -> None:
    """Put the example plugin on the search path of the commands that are started."""
    pip = [sys.executable, "-m", "pip", "install", "--quiet", "--no-deps", "--no-index"]
    how = ["--no-build-isolation", "--disable-pip-version-check", "--target", str(folder)]
    subprocess.run([*pip, *how, str(EXAMPLE)], check=True)
    search = [str(folder), *filter(None, [os.environ.get("PYTHONPATH")])]
    os.environ["PYTHONPATH"] = os.pathsep.join(search)


def main() -> None:
    options = harness.parser("runs_at_scale", __doc__)
    options.add_argument("--what", nargs="+", choices=PARTS, default=list(PARTS))
    options.add_argument("--runs", type=int, default=5000)
    options.add_argument("--events", type=int, default=1_000_000)
    options.add_argument("--jobs", type=int, default=500)
    options.add_argument("--starts", type=int, default=5)
    chosen = options.parse_args()
    before, found = harness.machine(), {}
    with tempfile.TemporaryDirectory() as folder:
        harness.keep_bytecode(Path(folder) / "bytecode")
        if {"plan", "start", "sweep"} & set(chosen.what):
            install_example(Path(folder) / "installed")
        for part in chosen.what:
            found[part] = PARTS[part](Path(folder) / part, chosen)
            for name, figures in found[part].items():
                words = "  ".join(f"{key} {value:.3g}" for key, value in figures.items())
                print(f"{part:<6} {name:<38} {words}", flush=True)
    settings = {"options": vars(chosen) | {"out": None}, "machine": before}
    harness.write(chosen.out, beside_earlier(chosen.out, found, settings))


def beside_earlier(out: Path, found: dict[str, Any], settings: dict[str, Any]) -> dict[str, Any]:
    """The content of the result file: these rows, and those it has of parts not measured now.

    Where it keeps some, `measured` holds the options and the machine of the new ones.
    """
    earlier = json.loads(out.read_text()) if out.exists() else {}
    if not set(earlier.get("found", {})) - set(found):
        return {"claim": "the command's cost at scale", "found": found} | settings
    measured = earlier.get("measured", {}) | dict.fromkeys(found, settings)
    return earlier | {"found": earlier["found"] | found, "measured": measured}


if __name__ == "__main__":
    main()
