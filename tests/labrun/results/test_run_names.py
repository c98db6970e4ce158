"""Short names of runs, from what their group varies."""

from labrun.results.store.run_names import RunNames, Words, short_name


def words(method="rlrt", seed=0, plugin="rlrt", **said) -> Words:
    return Words(plugin, method, seed, said)


def names(*group: Words) -> list[str]:
    return [short_name(one, group) for one in group]


def test_method_and_seed_name_a_run():
    assert names(words("grpo"), words(seed=1)) == ["grpo seed 0", "rlrt seed 1"]


def test_a_swept_key_stands_before_the_seed_by_its_initials_where_it_is_long():
    group = [words(seed=s, learning_rate=rate) for rate in ("1e-4", "0.0003") for s in (0, 1)]
    found = ["rlrt lr=1e-4 s0", "rlrt lr=1e-4 s1", "rlrt lr=3e-4 s0", "rlrt lr=3e-4 s1"]
    assert names(*group) == found


def test_a_key_that_all_runs_of_a_method_share_is_left_out():
    group = [words("grpo", max_steps="9"), words(max_steps="9"), words(max_steps="9", beta="0.1")]
    assert names(*group) == ["grpo seed 0", "rlrt seed 0", "rlrt beta=0.1 s0"]


def test_long_names_differ_in_their_first_20_letters():
    group = [
        words("sdpo_without_thinking", seed, teacher_context="sibling", tau=tau)
        for tau in ("0.25", "0.5")
        for seed in (0, 1)
    ]
    found = names(*group)
    assert found[0] == "tau=0.25 s0 sdpo_without_thinking"
    assert len({name[:20] for name in found}) == 4


def test_a_method_that_two_plugins_have_is_named_with_its_plugin():
    group = [words("grpo", plugin="rlrt"), words("grpo", plugin="epistemic")]
    assert names(*group) == ["rlrt/grpo seed 0", "s0 epistemic/grpo"]


def test_a_path_is_named_by_its_end_unless_two_end_alike():
    ends = [words(model="/a/qwen"), words(model="/a/olmo")]
    assert names(*ends) == ["rlrt model=qwen s0", "rlrt model=olmo s0"]
    alike = [words(model="/a/qwen"), words(model="/b/qwen")]
    assert names(*alike) == ["model=/a/qwen s0 rlrt", "model=/b/qwen s0 rlrt"]


def test_the_group_of_a_run_is_read_from_its_home(make_run):
    one = make_run(overrides=["rate=0.1"])
    two = make_run(overrides=["rate=0.2"], seed=3)
    alone = make_run(overrides=["rate=0.3"], group="other")
    named = RunNames()
    assert [named.of(run) for run in (one, two, alone)] == [
        "plain rate=0.1 s0",
        "plain rate=0.2 s3",
        "plain seed 0",
    ]


def test_a_member_whose_spec_cannot_be_read_spoils_no_name(make_run):
    run, damaged = make_run(), make_run(seed=1)
    (damaged.path / "spec.json").write_text("{}")
    assert RunNames().of(run) == "plain seed 0"
