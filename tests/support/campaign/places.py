"""Where the runs of trials run, and who can be killed there."""

from collections.abc import Sequence
from pathlib import Path
from typing import Protocol

from campaign.commands import Command, strike
from campaign.kills import TARGETS, Kill
from campaign.subjects import ROUND


class Place(Protocol):
    """A launcher with what it needs, shared by all trials."""

    words: Sequence[str]
    """Of a command that starts a run here."""
    again: Sequence[str]
    """Of a command that resumes one."""
    targets: Sequence[str]
    turns: Sequence[str]
    """The subjects of seeds in a row."""

    def strike(self, kill: Kill, *, command: Command) -> bool:
        """Kill what the kill names; false where nothing of the trial runs any more."""
        ...

    def may_end_with(self, kill: Kill, *, home: Path) -> bool:
        """Whether the run, as it is now, may need somebody who resumes it after this kill."""
        ...

    def has(self, home: Path) -> bool:
        """Whether something other than a command will go on with the run, or is about to end."""
        ...

    def stop(self) -> None: ...


class Here:
    """`launcher=local`: the command runs the job, and nothing goes on without it."""

    words = again = ()
    targets, turns = TARGETS, ROUND

    def strike(self, kill: Kill, *, command: Command) -> bool:
        if command.ended():
            return False
        strike(kill.target, kill.signal, command=command)
        return True

    def may_end_with(self, kill: Kill, *, home: Path) -> bool:
        return True

    def has(self, home: Path) -> bool:
        return False

    def stop(self) -> None:
        pass
