"""Play the trials, and say in one line what was found; exit code 1 where anything was wrong."""

import argparse
import os
import shutil
import sys
import tempfile
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from campaign.findings import Findings
from campaign.kills import kills_of
from campaign.on_ray import OnRay
from campaign.on_slurm import OnSlurm
from campaign.places import Here, Place
from campaign.subjects import install_example, subject_of
from campaign.trial import Trial, Whole, whole

PLACES = {"local": Here, "slurm": OnSlurm, "ray": OnRay}


def main() -> int:
    options = _options()
    place = PLACES[options.launcher]()
    try:
        return _campaign(options, place)
    finally:
        place.stop()


def _campaign(options: argparse.Namespace, place: Place) -> int:
    folder = Path(tempfile.mkdtemp(prefix="labrun-faults-"))
    search = install_example(folder / "example")
    seeds = range(options.seed, options.seed + options.trials)
    chosen = [subject_of(seed, place.turns) for seed in seeds]
    subjects = {subject.name: subject for subject in chosen}
    found = Findings()
    with ThreadPoolExecutor(options.jobs) as pool:
        ends = pool.map(
            lambda subject: whole(
                subject, folder=folder / subject.name, search=search, place=place
            ),
            subjects.values(),
        )
        wholes = dict(zip(subjects, ends, strict=True))
        for one in pool.map(lambda seed: _play(seed, wholes, folder, search, place), seeds):
            found.add(one)
    if found.clean:
        shutil.rmtree(folder)
    else:
        print(f"the folders of the trials that went wrong: {folder}", file=sys.stderr)
    print(found.line())
    return 0 if found.clean else 1


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="campaign", description=__doc__)
    parser.add_argument("--trials", type=int, default=12)
    parser.add_argument("--seed", type=int, default=0, help="of the first trial; each has its own")
    parser.add_argument("--launcher", choices=PLACES, default="local")
    parser.add_argument("--jobs", type=int, default=min(8, os.cpu_count() or 1), help="at once")
    return parser.parse_args()


def _play(
    seed: int, wholes: dict[str, Whole], folder: Path, search: Sequence[Path], place: Place
) -> Findings:
    subject, began = subject_of(seed, place.turns), time.monotonic()
    kills = kills_of(subject, seed=seed, targets=place.targets)
    own = folder / f"seed-{seed}"
    found = Trial(subject, kills, wholes[subject.name], own, search, place).play()
    where = "" if isinstance(place, Here) else f" {place.words[0].replace('launcher', 'LAUNCHER')}"
    took = f"{time.monotonic() - began:.1f} s"
    print(f"seed {seed} {subject.name}: {'; '.join(map(str, kills))}: {took}", file=sys.stderr)
    for sentence in found.sentences:
        again = f"make faults SEED={seed} N=1{where}"
        print(f"  {sentence:.500}; again: {again}", file=sys.stderr)
    if found.clean:
        shutil.rmtree(own)
    return found


if __name__ == "__main__":
    sys.exit(main())
