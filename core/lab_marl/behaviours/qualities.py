"""How good those were who played the episodes of offline data."""

from typing import Literal

Quality = Literal["expert", "medium", "medium-expert", "medium-replay"]
"""medium-expert is half of each; medium-replay is what a learner leaves behind until medium."""

Tier = Literal["expert", "medium"]
"""The qualities that one policy plays; the others are mixtures of these."""
