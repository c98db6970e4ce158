"""TensorBoard: event files in the run's own folder `tensorboard`, made anew by each command."""

from collections.abc import Iterable
from typing import Any

from labrun.results.sinks.feed import Point
from labrun.runs.run_dir import RunDir

FOLDER = "tensorboard"


class Sink:
    """Writes `RUN_DIR/tensorboard`; `tensorboard --logdir` of the home shows every run.

    Earlier files of the run go. A TensorBoard that is open drops what it had of them, since the new
    file begins with the mark of a restart.
    """

    def __init__(self, run: RunDir) -> None:
        from tensorboard.compat.proto import event_pb2
        from tensorboard.summary.writer.event_file_writer import EventFileWriter

        folder = run.path / FOLDER
        for file in folder.glob("events.out.tfevents.*"):
            file.unlink()
        self._writer = EventFileWriter(str(folder))
        protocol: Any = event_pb2  # its classes are made when it is imported
        self._event = protocol.Event
        start = protocol.SessionLog(status=protocol.SessionLog.START)
        self._writer.add_event(self._event(step=0, session_log=start))

    def write(self, points: Iterable[Point]) -> None:
        from tensorboard.compat.proto import summary_pb2

        protocol: Any = summary_pb2
        for point in points:
            value = protocol.Summary.Value(tag=point.name, simple_value=point.value)
            summary = protocol.Summary(value=[value])
            event = self._event(wall_time=point.time, step=point.step, summary=summary)
            self._writer.add_event(event)
        self._writer.flush()

    def close(self, state: str) -> None:
        del state
        self._writer.close()
