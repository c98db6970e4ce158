"""Weights & Biases in its offline mode, whose files hold what would be sent."""

import json
import struct
from pathlib import Path

import pytest

pytest.importorskip("wandb", reason="the extra wandb is not installed")

BLOCK = 32768


def records(path: Path) -> list[bytes]:
    """The records of a .wandb file: after a head of 7 bytes a log as LevelDB writes it."""
    data, at, found, part = path.read_bytes(), 7, [], b""
    while at + 7 <= len(data):
        if BLOCK - at % BLOCK < 7:
            at += BLOCK - at % BLOCK
            continue
        _, size, kind = struct.unpack_from("<IHB", data, at)
        part += data[at + 7 : at + 7 + size]
        at += 7 + size
        if kind in (1, 4):
            found.append(part)
            part = b""
    return found


def history(run) -> list[dict[str, float]]:
    """What was logged, over all offline files of the run, in their order."""
    from wandb.proto import wandb_internal_pb2 as messages

    rows = []
    for path in sorted((run.path / "wandb").glob("offline-run-*/*.wandb")):
        for text in records(path):
            record = messages.Record()
            record.ParseFromString(text)
            if record.WhichOneof("record_type") == "history":
                items = record.history.item
                row = {i.key or ".".join(i.nested_key): json.loads(i.value_json) for i in items}
                rows.append({key: v for key, v in row.items() if not key.startswith("_")})
    return rows


@pytest.mark.filterwarnings("ignore")
def test_a_resumed_run_sends_each_point_once(make_run, event, monkeypatch):
    from labrun.results.sinks.feed import Feed
    from labrun.results.sinks.wandb import Sink

    monkeypatch.setenv("WANDB_MODE", "offline")
    run = make_run(event.attempt(0), event.metrics(1, loss=0.5), event.metrics(2, loss=0.25))
    first = Feed(run, "wandb", Sink)
    first.write()
    first.close()
    with open(run.path / "events.jsonl", "a") as lines:
        for one in (event.attempt(1, 1), event.metrics(2, loss=0.25), event.metrics(3, loss=0.1)):
            lines.write(json.dumps(one) + "\n")
        lines.write(json.dumps(event.score(3, 0.75)) + "\n")
    second = Feed(run, "wandb", Sink)
    second.write()
    second.close()
    assert history(run) == [
        {"loss": 0.5, "step": 1},
        {"loss": 0.25, "step": 2},
        {"loss": 0.1, "test/accuracy": 0.75, "step": 3},
    ]
