"""A worker that samples slowly and whose teacher never answers: slow_worker.py RUN_DIR."""

import sys
import time
from typing import Any

from lab_llm.sampling.decoder import Decoder
from lab_llm.training.teacher_scoring import TeacherScoring
from labrun import worker

TOKEN_S = 0.3
original_decode = Decoder.decode


def decode(*args: Any) -> Any:
    time.sleep(TOKEN_S)
    return original_decode(*args)


def scored(*_: Any) -> None:
    time.sleep(600)


if __name__ == "__main__":
    Decoder.decode = decode
    TeacherScoring.scored = scored
    sys.exit(worker.main(sys.argv[1:2]))
