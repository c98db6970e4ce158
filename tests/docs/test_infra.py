"""The files of infra/ agree with the rest: versions, and what an image is made of."""

import re
from pathlib import Path

ROOT = Path(__file__).parents[2]
DOCKERFILE = (ROOT / "infra" / "container" / "Dockerfile").read_text()
CONSTRAINTS = (ROOT / "infra" / "constraints-cpu.txt").read_text()


def test_the_image_has_the_torch_of_the_makefile():
    (version,) = re.findall(r"^ARG TORCH=(\S+)$", DOCKERFILE, flags=re.M)
    assert f"TORCH := torch=={version}\n" in (ROOT / "Makefile").read_text()


def test_what_the_image_copies_is_there_and_is_sent_to_the_builder():
    lines = re.findall(r"^COPY (.+) \S+$", DOCKERFILE, flags=re.M)
    copied = {path for line in lines for path in line.split()}
    assert {path for path in copied if not (ROOT / path).exists()} == set()
    ignored = (ROOT / "infra" / "container" / "Dockerfile.dockerignore").read_text().splitlines()
    sent = [line.removeprefix("!") for line in ignored if line.startswith("!")]
    assert {path for path in copied if not any(Path(path).match(one) for one in sent)} == set()


def test_the_image_copies_what_the_package_is_built_of():
    project = (ROOT / "pyproject.toml").read_text()
    folders = set(re.findall(r'^  "((?:core|plugins)/[\w/]+)",$', project, flags=re.M))
    copied = re.findall(r"^COPY (\S+) \S+$", DOCKERFILE, flags=re.M)
    assert {one for one in folders if one.split("/")[0] not in copied} == set()
    assert folders


def test_the_server_is_the_mlflow_that_the_tests_use():
    unit = (ROOT / "infra" / "mlflow" / "labrun-mlflow.service").read_text()
    (version,) = re.findall(r"mlflow==(\S+)", unit)
    assert f"mlflow=={version}\n" in CONSTRAINTS
