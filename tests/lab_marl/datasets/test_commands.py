"""`lab data show` and `lab data convert`, as typed."""

import pickle

from lab_marl.datasets.generated import Recipe, generate


def test_data_are_converted_then_shown_and_faults_end_in_2(lab_here, tmp_path):
    played = generate(Recipe("cn-2", "expert", 3, 0), lambda *_: None).episodes
    source, target = tmp_path / "part_0.pkl", tmp_path / "data"
    source.write_bytes(pickle.dumps(dict(played.arrays())))
    made = lab_here("data", "convert", str(source), str(target), "--task", "cn-2")
    assert made.returncode == 0, made.stderr
    assert made.stdout.startswith("3 episodes, return 1.00, length ")
    assert made.stdout.endswith(f"read it with dataset.path={target} quality=converted\n")
    shown = lab_here("data", "show", str(target))
    assert shown.returncode == 0
    assert shown.stdout.split("\n")[1].split()[:5] == [
        "cn-2",
        "converted",
        "part_0",
        "part_0.h5",
        "3",
    ]
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
