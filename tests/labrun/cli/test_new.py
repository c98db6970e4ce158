"""`lab new`: the package that it writes, and the names that it refuses."""

import pytest
from labrun.cli.new import EXAMPLES, create, next_commands, package, templates
from labrun.errors import LabError


@pytest.mark.parametrize("kind", EXAMPLES)
def test_the_package_under_the_templates_own_name_is_the_template(kind):
    assert package(EXAMPLES[kind], kind) == templates(kind)


def test_every_name_in_the_package_is_the_new_one():
    files = package("my_method", "grpo")
    assert set(files) == {"pyproject.toml", "lab_my_method.py", "test_lab_my_method.py"}
    assert 'name = "lab-my-method"' in files["pyproject.toml"]
    assert 'my_method = "lab_my_method"' in files["pyproject.toml"]
    assert "class MyMethod(GRPOSettings):" in files["lab_my_method.py"]
    assert 'presets={"my_method": {"gamma": 0.98}}' in files["lab_my_method.py"]
    assert "from lab_my_method import MyMethod, decayed" in files["test_lab_my_method.py"]


def test_the_offline_kind_carries_the_new_name_too():
    files = package("my_method", "offline")
    assert set(files) == {"pyproject.toml", "lab_my_method.py", "test_lab_my_method.py"}
    assert "class MyMethod(LossSettings):" in files["lab_my_method.py"]
    assert 'loss="lab_my_method:loss"' in files["lab_my_method.py"]


def test_a_folder_that_exists_is_left_alone(tmp_path):
    folder = create("my_method", "plain", tmp_path)
    (folder / "pyproject.toml").write_text("mine")
    with pytest.raises(LabError, match="my_method is there already"):
        create("my_method", "plain", tmp_path)
    assert (folder / "pyproject.toml").read_text() == "mine"


@pytest.mark.parametrize("name", ["9x", "my-method", "My", "a b", "x_", "../x", ""])
def test_a_name_that_is_no_identifier_is_refused(name, tmp_path):
    with pytest.raises(LabError, match="no plugin can be named"):
        create(name, "grpo", tmp_path)
    assert list(tmp_path.iterdir()) == []


def test_the_name_of_an_installed_plugin_is_refused(tmp_path):
    with pytest.raises(LabError, match="plugin 'rlrt' is installed already"):
        create("rlrt", "grpo", tmp_path)


def test_a_misspelt_kind_gets_its_nearest(tmp_path):
    with pytest.raises(LabError, match="did you mean 'grpo'"):
        create("my_method", "grop", tmp_path)


def test_the_next_commands_name_the_folder(tmp_path):
    commands = next_commands("mine", tmp_path / "mine")
    assert commands == (
        f"pip install -e {tmp_path}/mine",
        "lab run plugin=mine",
        f"pytest {tmp_path}/mine",
    )
