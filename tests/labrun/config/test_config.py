import pytest
from labrun.config import experiments as config
from labrun.errors import LabError

pytestmark = pytest.mark.usefixtures("example")


def compose(*overrides: str):
    return config.compose(["plugin=example", *overrides])


def refusal(*overrides: str) -> str:
    with pytest.raises(LabError) as error:
        config.compose(overrides)
    text = str(error.value)
    assert "\n" not in text
    return text


@pytest.mark.parametrize(
    ("override", "expected"),
    [
        ("sed=1", "no key 'sed'; did you mean seed?"),
        (
            "learning_rat=1",
            "no key 'learning_rat'; did you mean trainer.learning_rate?",
        ),
        ("seed=-1", "seed=-1: input should be greater than or equal to 0"),
        ("seed=4294967296", "seed=4294967296: input should be less than or equal to 4294967295"),
        ("seed='1'", 'seed="1": input should be a valid integer'),
        ("max_steps=1.5", "trainer.max_steps=1.5: input should be a valid integer"),
        ("max_steps=true", "trainer.max_steps=true: input should be a valid integer"),
        ("max_steps=null", "trainer.max_steps=null: input should be a valid integer"),
        ("learning_rate=fast", 'trainer.learning_rate="fast": input should be a valid number'),
        ("learning_rate=0", "trainer.learning_rate=0: input should be greater than 0"),
        ("learning_rate=nan", "trainer.learning_rate=NaN: input should be a finite number"),
        ("learning_rate=inf", "trainer.learning_rate=Infinity: input should be a finite number"),
        ("sleep_s=-1", "trainer.trouble.sleep_s=-1: input should be greater than or equal to 0"),
        (
            "decay=liner",
            "trainer.decay=\"liner\": input should be 'none' or 'linear', did you mean 'linear'?",
        ),
        ("trouble=1", "trainer.trouble=1: input should be an object"),
        ("trainer.start.slope=x", 'trainer.start.slope="x": input should be a valid number'),
        ("trainer.start.slope=nan", "trainer.start.slope=NaN: input should be a finite number"),
        (
            "batch_size=4",
            "key 'batch_size' is ambiguous; write evaluator.mse.batch_size or trainer.batch_size",
        ),
        (
            "method=plan",
            "no method 'plan' of plugin 'example'; did you mean 'plain'? allowed: momentum, plain",
        ),
        (
            "scale=paper",
            "no scale 'paper' of plugin 'example'; allowed: long, short; presets of your own: "
            "lab run @FILE.yaml",
        ),
        ("evaluator=example.mes", "no evaluator 'mes' of plugin 'example'; did you mean 'mse'? "
                                  "allowed: mae, mse"),
        ("evaluator=[]", "evaluator=[]: name at least one of mae, mse"),
        ("evaluator=[mse,mae,mse]", "evaluator=[mse,mae,mse]: name mse once"),
        ("evaluator=[mse,example.mse]", "evaluator=[mse,example.mse]: name mse once"),
        ("seed", "cannot read 'seed', expected key=value"),
        ("+seed=1", "'+seed=1': '+' and '~' are refused, since every key is checked; drop it"),
        ("++new=1", "'++new=1': '+' and '~' are refused, since every key is checked; drop it"),
        ("~seed", "'~seed': '+' and '~' are refused, since every key is checked; drop it"),
        ("~method", "'~method': '+' and '~' are refused, since every key is checked; drop it"),
        (
            "method@trainer=plain",
            "'method@trainer=plain': '@' is refused; write the key as `lab plugins NAME` shows it",
        ),
    ],
)  # fmt: skip
def test_bad_input_is_refused_in_one_line_that_names_it(override, expected):
    assert refusal("plugin=example", override) == expected


@pytest.mark.parametrize(
    ("word", "near"),
    [
        ("methd=plain", "method"),
        ("metod=plain", "method"),
        ("Method=plain", "method"),
        ("methods=plain", "method"),
        ("mehtod=plain", "method"),
        ("scael=long", "scale"),
        ("scales=long", "scale"),
        ("datset=line", "dataset"),
        ("dataste=line", "dataset"),
        ("evaluater=mse", "evaluator"),
        ("evalutor=mse", "evaluator"),
        ("evaluators=mse", "evaluator"),
        ("trainr=sgd", "trainer"),
        ("triner=sgd", "trainer"),
        ("evaluator.mes.batch_size=1", "evaluator.mse.batch_size"),
        ("trianer.momentum=0", "trainer.momentum"),
        ("trainer.momntum=0", "trainer.momentum"),
        ("resource.num_cpus=1", "resources.num_cpus"),
    ],
)
def test_a_misspelt_group_kind_or_key_gets_its_nearest(word, near):
    key = word.split("=")[0]
    assert refusal("plugin=example", word) == f"no key '{key}'; did you mean {near}?"


@pytest.mark.parametrize("plugin", ["example", "rlrt", "epistemic", "stairs"])
def test_a_word_like_no_key_gets_ten_keys_and_the_command_that_lists_all(plugin):
    text = refusal(f"plugin={plugin}", "qqq=1")
    assert text.startswith("no key 'qqq'; keys: ")
    assert text.endswith(f"; `lab plugins {plugin}` lists all")
    assert text.count(", ") == 9
    assert " (10 of " in text


def test_unknown_launcher_is_refused_with_its_nearest_neighbour():
    text = refusal("plugin=example", "launcher=locl")
    assert text.startswith("launcher=\"locl\": input should be 'local'")
    assert text.endswith("did you mean 'local'?")


def test_empty_word_is_refused_as_unreadable():
    assert refusal("plugin=example", "").startswith("cannot read '', expected key=value")


def test_unknown_plugin_is_refused_with_its_nearest_neighbour():
    text = refusal("plugin=exampel")
    assert text.startswith("no plugin 'exampel'; did you mean 'example'? installed: epistemic, ")


def test_no_plugin_is_refused_with_the_list():
    text = refusal("seed=1")
    assert text.startswith("no plugin named; write plugin=NAME, installed: epistemic, ")


def test_unknown_component_lists_those_of_every_plugin():
    text = refusal("plugin=example", "trainer=sdg")
    assert text.startswith("no trainer 'sdg'; did you mean 'sgd'? allowed: ")
    named = text.split("allowed: ")[1].split(", ")
    assert named[0] == "sgd"
    assert {name.partition(".")[0] for name in named[1:]} >= {"llm", "stairs"}


def test_hydra_s_own_keys_and_component_names_cannot_be_set():
    assert refusal("plugin=example", "hydra.run.dir=x").startswith("no key 'hydra.run.dir'; keys: ")
    assert refusal("plugin=example", "trainer.component=os.system").startswith(
        "no key 'trainer.component'; "
    )
    assert refusal("plugin=example", "trainer._target_=os.system").startswith(
        "no key 'trainer._target_'; "
    )
    text = refusal("plugin=example", "learning_rate=${hydra.job.name}")
    assert text.startswith(
        "learning_rate=${hydra.job.name}: Interpolation key 'hydra.job.name' not found; "
    )


def test_unknown_key_inside_a_mapping_value_is_refused():
    assert "Key 'foo' is not in struct" in refusal("plugin=example", "resources={foo:1}")


def test_unresolvable_interpolation_is_refused():
    assert "NO_SUCH_VARIABLE" in refusal("plugin=example", "noise=${oc.env:NO_SUCH_VARIABLE}")


def test_defaults_of_the_dataclasses_hold_where_nothing_else_is_said():
    experiment = compose()
    assert experiment.plugin == "example"
    assert experiment.choices == {"method": "plain", "scale": "short"}
    assert experiment.components == {
        "trainer": "example.sgd",
        "dataset": "example.line",
        "evaluator.mse": "example.mse",
    }
    assert experiment.settings["trainer"]["max_steps"] == 10
    assert experiment.settings["trainer"]["learning_rate"] == 0.1
    assert experiment.run.seed == 0
    assert experiment.run.resources.num_gpus == 0


def test_method_overrides_defaults():
    assert compose().settings["trainer"]["save_every"] == 4
    trainer = compose("method=momentum").settings["trainer"]
    assert (trainer["momentum"], trainer["learning_rate"], trainer["save_every"]) == (0.9, 0.05, 3)


def test_scale_overrides_method():
    trainer = compose("method=momentum", "scale=long").settings["trainer"]
    assert (trainer["save_every"], trainer["max_steps"], trainer["momentum"]) == (50, 200, 0.9)


def test_command_line_overrides_scale_wherever_it_stands():
    for words in (["save_every=7", "scale=long"], ["scale=long", "save_every=7"]):
        trainer = compose(*words).settings["trainer"]
        assert (trainer["save_every"], trainer["max_steps"]) == (7, 200)


@pytest.mark.parametrize(
    ("words", "key"),
    [
        (("seed=1", "seed=2"), "seed"),
        (("seed=1", "seed=1"), "seed"),
        (("trainer.learning_rate=0.1", "learning_rate=0.2"), "trainer.learning_rate"),
        (("method=plain", "method=momentum"), "method"),
        (("method=plain", "method=plain"), "method"),
        (("dataset=line", "dataset=example.line"), "dataset"),
        (("evaluator=mse", "evaluator=mae"), "evaluator"),
        (("plugin=example",), "plugin"),
        (("resources={num_cpus: 2}", "num_cpus=1"), "resources.num_cpus"),
        (("trainer.start={a: 1}", "trainer.start.a=2"), "trainer.start.a"),
    ],
)
def test_a_key_that_two_words_set_is_refused(words, key):
    one, other = words if len(words) == 2 else ("plugin=example", *words)
    assert refusal("plugin=example", *words) == (f"{key} is set twice: {one} and {other}; keep one")


def test_words_that_set_different_keys_of_a_mapping_go_together():
    experiment = compose("trainer.start={a: 1}", "trainer.start.b=2", "resources={}", "num_cpus=2")
    assert experiment.settings["trainer"]["start"] == {"a": 1, "b": 2}
    assert experiment.run.resources.num_cpus == 2


@pytest.mark.parametrize("key", ["learning_rate", "trainer.learning_rate"])
def test_bare_and_full_keys_reach_the_same_field(key):
    assert compose(f"{key}=0.25").settings["trainer"]["learning_rate"] == 0.25


def test_bare_key_of_an_inner_section_is_found():
    experiment = compose("trouble.sleep_s=0.5", "num_gpus=0", "noise=0.3", "mse.batch_size=2")
    assert experiment.settings["trainer"]["trouble"]["sleep_s"] == 0.5
    assert experiment.settings["dataset"]["noise"] == 0.3
    assert experiment.settings["evaluator.mse"]["batch_size"] == 2


def test_root_key_comes_before_components_keys():
    assert compose("seed=5").run.seed == 5


def test_ambiguity_goes_away_with_the_section():
    experiment = compose("trainer.batch_size=3")
    assert experiment.settings["trainer"]["batch_size"] == 3
    assert experiment.settings["evaluator.mse"]["batch_size"] == 256


def test_integers_are_taken_where_numbers_are_wanted():
    assert compose("learning_rate=1").settings["trainer"]["learning_rate"] == 1


def test_free_form_mapping_takes_new_keys():
    assert compose("trainer.start.slope=1.5").settings["trainer"]["start"] == {"slope": 1.5}
    whole = compose("trainer.start={slope:1,intercept:2}")
    assert whole.settings["trainer"]["start"] == {"slope": 1, "intercept": 2}


def test_bare_key_into_a_free_form_mapping_points_to_it():
    text = refusal("plugin=example", "start.slope=1")
    assert text == "no key 'start.slope'; did you mean trainer.start?"


def test_several_evaluators_have_a_section_each():
    experiment = compose("evaluator=[mse,mae]", "evaluator.mae.batch_size=2")
    assert experiment.components["evaluator.mae"] == "example.mae"
    assert experiment.settings["evaluator.mae"] == {"batch_size": 2}
    assert experiment.settings["evaluator.mse"] == {"batch_size": 256}


@pytest.mark.parametrize("name", ["llm.countdown", "countdown"])
def test_component_of_another_plugin_is_taken_with_its_keys(name):
    experiment = compose(f"dataset={name}", "dataset.train_size=5")
    assert experiment.components["dataset"] == "llm.countdown"
    assert experiment.settings["dataset"]["train_size"] == 5
    assert "noise" not in experiment.settings["dataset"]


def test_composing_leaves_nothing_behind_for_the_next_one():
    compose("dataset=llm.countdown", "trainer.start.slope=1")
    assert compose().components["dataset"] == "example.line"
    assert compose().settings["trainer"]["start"] == {}


def test_overrides_are_frozen_as_written():
    assert compose("seed=1", "noise=0.2").overrides == ("plugin=example", "seed=1", "noise=0.2")


def test_sweep_is_every_combination_in_order():
    assert config.expand(["plugin=p", "method=a,b", "seed=0,1"]) == [
        ["plugin=p", "method=a", "seed=0"],
        ["plugin=p", "method=a", "seed=1"],
        ["plugin=p", "method=b", "seed=0"],
        ["plugin=p", "method=b", "seed=1"],
    ]


def test_sweep_over_a_range_and_over_a_choice():
    assert config.expand(["seed=range(0,3)"]) == [["seed=0"], ["seed=1"], ["seed=2"]]
    assert config.expand(["seed=choice(4,5)"]) == [["seed=4"], ["seed=5"]]


def test_quoted_comma_and_lists_are_no_sweep():
    assert not config.is_sweep(["group='a,b'", "evaluator=[mse,mae]"])
    assert config.is_sweep(["seed=0,1"])
    assert config.expand(["group='a,b'"]) == [["group='a,b'"]]
    assert compose("group='a,b'").run.group == "a,b"


def test_sweep_over_quoted_values_keeps_them_whole():
    points = config.expand(["group='a b','c,d'"])
    assert [compose(*point).run.group for point in points] == ["a b", "c,d"]


def test_interval_is_refused_as_a_sweep():
    with pytest.raises(LabError, match=r"noise=interval\(0,1\): an interval has no list of values"):
        config.expand(["noise=interval(0,1)"])


def test_experiments_that_differ_only_in_seed_and_group_share_a_key():
    one, other = compose("seed=1", "group=a"), compose("seed=2", "group=b")
    assert config.key_without_seed(one) == config.key_without_seed(other)
    assert config.key_without_seed(one) != config.key_without_seed(compose("noise=0.2"))


def test_what_a_preset_says_of_an_evaluator_that_is_not_chosen_is_left_out():
    experiment = config.compose(["plugin=rlrt", "evaluator=asymmetry"])  # tiny sets accuracy's
    assert [name for name in experiment.components if name.startswith("evaluator.")] == [
        "evaluator.asymmetry"
    ]
    assert "no key 'accuracy.num_samples'" in refusal(
        "plugin=rlrt", "evaluator=asymmetry", "accuracy.num_samples=2"
    )


def points_of(*overrides: str) -> list[tuple[str, ...]]:
    return [e.overrides for e in config.studied(["plugin=example", *overrides])]


def test_a_sweep_that_is_set_repeats_the_experiment_over_its_words():
    words = ("plugin=example", "sweep=['method=momentum,plain','seed=0,1']")
    assert points_of(*words[1:]) == [
        (*words, "method=momentum", "seed=0"),
        (*words, "method=momentum", "seed=1"),
        (*words, "method=plain", "seed=0"),
        (*words, "method=plain", "seed=1"),
    ]
    found = config.studied(words)
    assert [(e.choices["method"], e.run.seed) for e in found] == [
        ("momentum", 0),
        ("momentum", 1),
        ("plain", 0),
        ("plain", 1),
    ]


@pytest.mark.parametrize("word", ["learning_rate=1", "trainer.learning_rate=1"])
@pytest.mark.parametrize("axis", ["learning_rate=2,3", "trainer.learning_rate=2,3"])
def test_a_key_of_the_command_line_takes_the_sweep_s_place(word, axis):
    found = config.studied(["plugin=example", word, f"sweep=['{axis}','seed=0,1']"])
    assert [e.settings["trainer"]["learning_rate"] for e in found] == [1, 1]
    assert [e.run.seed for e in found] == [0, 1]


def test_no_sweep_is_one_experiment():
    assert points_of("seed=3") == [("plugin=example", "seed=3")]


def test_a_wrong_word_of_a_sweep_is_refused_by_name():
    with pytest.raises(LabError, match="no key 'sed'; did you mean seed"):
        config.studied(["plugin=example", "sweep=['sed=0,1']"])


def test_a_sweep_that_another_preset_leaves_without_its_key_is_refused_with_its_name():
    text = r"^the sweep of study=coverage: no key 'dataset.train_size'; dataset=llm.countdown has"
    with pytest.raises(LabError, match=text):
        config.studied(["plugin=epistemic", "study=coverage", "scale=paper"])


def test_a_preset_may_choose_a_value_by_another_key():
    table = "'${by:${trainer.decay},{none: 0.5, linear: 0.25}}'"
    for decay, rate in (("none", 0.5), ("linear", 0.25)):
        found = compose(f"decay={decay}", f"learning_rate={table}")
        assert found.settings["trainer"]["learning_rate"] == rate


@pytest.mark.parametrize(
    ("words", "cause"),
    [
        (("method=grpo", "scale=paper_sft"), "epistemic.onpolicy has no key trainer.num_probes, "),
        (("method=sft_guided", "scale=paper"), "trainer.learning_rate: Interpolation key "),
    ],
)
def test_presets_that_do_not_fit_each_other_are_named(words, cause):
    text = refusal("plugin=epistemic", *words)
    assert text.startswith(cause)
    assert "; choose presets that fit each other and the components; now " in text
    assert " ".join(reversed(words)) in text
    assert "\n" not in text


def test_the_store_of_mlflow_s_own_variable_is_taken_where_no_word_names_one(example, monkeypatch):
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "http://127.0.0.1:5001")
    (one,) = config.studied(["plugin=example"])
    assert one.run.tracking.uri == "http://127.0.0.1:5001"
    (one,) = config.studied(["plugin=example", "tracking.uri=http://127.0.0.1:5002"])
    assert one.run.tracking.uri == "http://127.0.0.1:5002"
    (one,) = config.studied(["plugin=example", "tracking.uri=''"])
    assert one.run.tracking.uri == ""
