"""Settings of the offline data."""

from typing import Annotated, Literal

from annotated_types import Ge
from labrun import schema


@schema
class OfflineDataConfig:
    """Episodes of several tasks, from files in the published layout or from cheap policies."""

    suite: str = "grid"
    """Named set of training and test tasks: grid, battle-small, battle-marine-hard,
    battle-marine-easy, battle-stalker-zealot, smax-marine, smax-v2, spread, tag, mamujoco,
    mamujoco-full, smac-marine-hard, smac-marine-easy, smac-stalker-zealot, smacv2-terran,
    smacv2-protoss, smacv2-zerg."""
    train_tasks: tuple[str, ...] = ()
    """Tasks that are trained on, by name (cn-2, smax-3m, 3m, ...). Empty: the suite's."""
    test_tasks: tuple[str, ...] = ()
    """Tasks that are tested on. Empty: the suite's."""
    quality: str = "expert"
    """Who acted: expert; medium; medium-expert, half of each; medium-replay, the mixture that a
    learner leaves behind on its way to medium. With `path`: the name of any folder there."""
    path: str = ""
    """Folder of `<task>/<quality>/<run>/part_*.h5`. Empty: the data are generated once by cheap
    policies and kept in LABRUN_HOME (or ./runs) under data/marl."""
    num_episodes: Annotated[int, Ge(0)] = 2000
    """Episodes of each training task (published: 2000). 0: all that the files hold. Files that hold
    fewer give what they have, and the plan and the run say so."""
    runs: Literal["all", "last"] = "all"
    """Which `<run>` folders of a quality are read, where there are several; last: the last by name,
    as the published code does."""
    choose: Literal["last", "random", "first"] = "last"
    """Which episodes of the files, where they hold more; random: a subset drawn with data_seed.
    Generated data are exactly num_episodes, and all are used."""
    timeouts: Literal["suite", "terminal", "bootstrap"] = "suite"
    """What an episode's end at its limit counts as: terminal, the end of the task, as in the
    published grid data; bootstrap, a cut after which the last state is still worth something;
    suite, bootstrap in spread, tag, mamujoco and mamujoco-full, whose episodes all end so, else
    terminal. An episode at its limit with neither `terminated` nor `truncated` was cut off. Data
    without a key `truncated` say it by their length; there an end whose reward is positive counts
    as success."""
    memory_limit_gib: Annotated[float, Ge(0)] = 0.0
    """Memory for the episodes of all training tasks, in GiB. Where they take more, they stay in
    their files: all are checked once, then batches are read as they are drawn, and the episodes
    used last are kept up to this limit. The batches are the same. 0: all lie in memory."""
    data_seed: Annotated[int, Ge(0)] = 0
    """Seed of generated data and of choose=random; not the run's, so that runs share data."""
