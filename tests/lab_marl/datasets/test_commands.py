"""`lab data show`, `lab data convert` and `lab data record`, as typed."""

import pickle
import shlex
from pathlib import Path

import torch
from lab_marl import environments
from lab_marl.datasets.generated import Recipe, generate
from lab_marl.training import loop
from labrun.config.components import build
from labrun.config.experiments import compose
from labrun.runs import run_dir

SMAX_PAGE = Path(__file__).parents[3] / "docs" / "how-to" / "smax.md"


def test_data_are_converted_then_shown_and_faults_end_in_2(lab_here, tmp_path):
    played = generate(Recipe("cn-2", "expert", 3, 0), lambda *_: None).episodes
    source, target = tmp_path / "part_0.pkl", tmp_path / "data"
    source.write_bytes(pickle.dumps(dict(played.arrays())))
    made = lab_here("data", "convert", str(source), str(target), "--task", "cn-2")
    assert made.returncode == 0, made.stderr
    assert made.stdout.startswith("3 episodes, return 1.00, length ")
    assert made.stdout.endswith(f"read it with dataset.path={target} quality=converted\n")
    words = ("data", "convert", str(source), str(tmp_path / "o"), "--task", "cn-2")
    refused = lab_here(*words, "--episode-length", "5")
    assert (refused.returncode, refused.stdout) == (2, "")
    assert refused.stderr.endswith("says where its episodes end; leave out --episode-length\n")
    shown = lab_here("data", "show", str(target))
    assert shown.returncode == 0
    assert shown.stdout.split("\n")[1].split()[:5] == [
        "cn-2",
        "converted",
        "part_0",
        "part_0.h5",
        "3",
    ]
    unconverted = lab_here("data", "show", str(source))
    assert (unconverted.returncode, unconverted.stderr) == (0, "")
    assert unconverted.stdout.endswith(f"lab data convert {source} TARGET --task NAME\n")
    (target / "cn-2" / "converted" / "part_0" / "part_1.h5").write_text("no data")
    faulty = lab_here("data", "show", str(target))
    assert faulty.returncode == 2
    assert "part_1.h5 cannot be read as HDF5 (file signature not found)" in faulty.stdout
    assert faulty.stderr == f"lab: 1 fault(s) in {target}; the other files can be used\n"


def test_words_that_cannot_work_are_one_line(lab_here, tmp_path):
    lost = lab_here("data", "show", str(tmp_path / "lost"))
    assert (lost.returncode, lost.stderr) == (2, f"lab: no file or folder {tmp_path}/lost\n")
    other = lab_here("data", "show", str(tmp_path), "--dataset", "marl.offlin")
    assert other.returncode == 2
    assert other.stderr.startswith("lab: no dataset that reads files 'marl.offlin'; did you mean")
    unknown = lab_here("data", "convert", str(tmp_path), str(tmp_path / "o"), "--task", "cn-99")
    assert unknown.stderr.startswith("lab: no task 'cn-99'; known are names such as: ")


def test_the_run_of_the_page_on_smax_reads_the_data_that_the_page_makes():
    lines = [shlex.split(line) for line in SMAX_PAGE.read_text().splitlines() if line[:4] == "lab "]
    make, run = (next(words for words in lines if name in words) for name in ("make", "run"))
    making, reading = (build(compose(words)).dataset for words in (make[3:], run[2:]))
    assert {"smax-3m"} == set(reading.tasks.train) <= set(making.tasks.train)
    assert reading._recipe("smax-3m") == making._recipe("smax-3m")


def test_a_run_that_is_done_plays_episodes(lab_here, home, tmp_path):
    words = ["plugin=stairs", "method=bc_t", "dataset.train_tasks=[cn-2]", "transformer.width=8"]
    run = run_dir.create(compose(words), root=home)
    trained = build(run.experiment()).trainer.learner(
        [environments.layout_of("cn-2")], torch.device("cpu")
    )
    loop.save(trained, 1, run.artifacts)
    target = tmp_path / "data"
    early = lab_here("data", "record", run.id, str(target))
    assert (early.returncode, early.stderr) == (
        2,
        f"lab: {run.id} is queued; episodes are recorded of a run that is done\n",
    )
    run.write_status(state="done")
    made = lab_here("data", "record", "last", str(target), "--num-episodes", "3", "--noise", "1")
    assert made.returncode == 0, made.stderr
    assert made.stdout.startswith("cn-2  3 episodes, won ")
    assert made.stdout.endswith(
        f"/cn-2/trained/{run.id}-s0/part_0.h5\nread it with dataset.path={target} quality=trained\n"
    )


def test_a_run_whose_dataset_records_nothing_is_named(lab_here, home, example, tmp_path):
    run = run_dir.create(compose(["plugin=example"]), root=home)
    refused = lab_here("data", "record", run.id, str(tmp_path))
    assert refused.stderr == (
        f"lab: {run.id}: its dataset 'example.line' records no episodes of a trained model\n"
    )
