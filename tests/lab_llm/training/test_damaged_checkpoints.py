"""A damaged file of a trainer's checkpoint whose manifest was made to fit it."""

import json
from pathlib import Path

import pytest
import torch
from lab_llm.training.checkpoint_files import first_unreadable
from labrun import worker
from labrun.config.experiments import compose
from labrun.runs import checkpoints, run_dir
from labrun.runs.run_dir import RunDir
from safetensors.torch import save_file

SETTINGS = [
    "plugin=rlrt",
    "method=grpo",
    "max_steps=2",
    "save_every=1",
    "prompts_per_step=2",
    "num_generations=2",
    "micro_batch_size=4",
    "evaluate_every=0",
    "evaluate_start=false",
    "accuracy.num_samples=1",
    "max_problems=2",
]


def refit(folder: Path) -> None:
    """Make the manifest fit the files, without the key that signed it."""
    files = [p for p in folder.rglob("*") if p.is_file() and p.name != "manifest.json"]
    sums = {str(p.relative_to(folder)): checkpoints._sha256(p) for p in files}
    (folder / "manifest.json").write_text(json.dumps({"step": int(folder.name), "sha256": sums}))


@pytest.fixture(scope="module")
def trained(tmp_path_factory) -> RunDir:
    run = run_dir.create(compose(SETTINGS), root=tmp_path_factory.mktemp("home"))
    assert worker.main([str(run.path)]) == 0
    return run


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("optimizer.pt", b"\x80\x04damaged"),
        ("scheduler.pt", b""),
        ("rng_state.pth", b"PK\x03\x04"),
        ("trainer_state.json", b"null"),
        ("optimizer.pt", None),
    ],
)
def test_the_checkpoint_before_is_used_and_the_file_is_named(trained, name, text):
    expected = {k: v for k, v in trained.series().items() if not k.startswith("time/")}
    weights = (trained.artifacts / "model" / "model.safetensors").read_bytes()
    trained.write_status(state="failed", exit_code=1)
    file = trained.checkpoints / "00000002" / "checkpoint-2" / name
    if text is None:
        file.unlink()
    else:
        file.write_bytes(text)
    refit(trained.checkpoints / "00000002")
    assert worker.main([str(trained.path)]) == 0
    warned = [event["message"] for event in trained.events() if event.get("warning")]
    assert any(name in message and "damaged: " in message for message in warned)
    starts = [event["resumed_from"] for event in trained.events() if event["kind"] == "attempt"]
    assert starts[-2:] == [2, 1]
    series = {k: v for k, v in trained.series().items() if not k.startswith("time/")}
    assert series == expected
    assert (trained.artifacts / "model" / "model.safetensors").read_bytes() == weights


def test_the_first_unreadable_file_of_a_folder_is_found(tmp_path):
    torch.save({"a": torch.zeros(2)}, tmp_path / "optimizer.pt")
    save_file({"a": torch.zeros(2)}, tmp_path / "model.safetensors")
    (tmp_path / "trainer_state.json").write_text("{}")
    (tmp_path / "training_args.bin").write_text("never read")
    assert first_unreadable(tmp_path) is None
    data = (tmp_path / "model.safetensors").read_bytes()
    (tmp_path / "model.safetensors").write_bytes(data[:-4])
    assert first_unreadable(tmp_path) == tmp_path / "model.safetensors"
    (tmp_path / "model.safetensors").write_bytes(data)
    (tmp_path / "trainer_state.json").write_text("{")
    assert first_unreadable(tmp_path) == tmp_path / "trainer_state.json"
