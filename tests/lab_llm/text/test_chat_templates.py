"""Chat templates that cannot serve are refused before work; the others render the same for all."""

import json
import shutil
import time

import pytest
from lab_llm.planning import grpo as grpo_plan
from lab_llm.planning.prompts import check_prompts
from lab_llm.policy.config import PolicyConfig
from lab_llm.policy.facts import policy_facts
from lab_llm.policy.policy import PolicyFiles, load_policy
from lab_llm.policy.tiny_model import shipped_path
from lab_llm.policy.tokenizer_files import load_tokenizer
from lab_llm.problems import Problem, ProblemSets
from lab_llm.text import chat_template
from lab_llm.text.chat_template import RenderError, plain_template, prepared_template, render
from lab_llm.text.prompts import SOLUTION_TEMPLATE, encode
from lab_llm.training.config import GRPOSettings
from labrun import Setup
from labrun.errors import LabError

HEADER = "{% if add_generation_prompt %}A:{% endif %}"
PLAIN = "{% for m in messages %}[{{ m.role }} {{ m.content }}]{% endfor %}" + HEADER
NO_SYSTEM = (
    "{% if messages[0].role == 'system' %}"
    "{{ raise_exception('System role not supported') }}{% endif %}" + PLAIN
)
WANTS_SYSTEM = (
    "{% if messages[0].role != 'system' %}{{ raise_exception('no system') }}{% endif %}" + PLAIN
)
DROPS_SYSTEM = (
    "{% for m in messages %}{% if m.role != 'system' %}[{{ m.content }}]{% endif %}{% endfor %}"
    + HEADER
)
SWITCH = "{% if enable_thinking is defined and not enable_thinking %}-{% endif %}"
USER = {"role": "user", "content": "1"}
TWO = {"role": "user", "content": "2"}
SYSTEM = {"role": "system", "content": "s"}


@pytest.fixture
def model(tmp_path):
    """Makes a directory of the tiny model with another chat template."""

    def make(template):
        path = tmp_path / "model"
        if not path.exists():
            shutil.copytree(shipped_path(), path)
        (path / "chat_template.jinja").write_text(template)
        return path

    return make


def refusal(path, **settings):
    with pytest.raises(LabError) as caught:
        policy_facts(PolicyConfig(name=str(path), **settings))
    message = str(caught.value)
    assert "\n" not in message
    assert str(path) in message
    return message


def text_of(path, chat=(USER,), **settings):
    tokenizer = load_policy(PolicyConfig(name=str(path), **settings)).tokenizer
    return tokenizer.decode(encode(tokenizer, chat))


# What a template must tell apart


@pytest.mark.parametrize("template", ["hello", "hello" + HEADER, "{{ messages[1] }}" + HEADER])
def test_a_template_with_one_prompt_for_all_questions_is_refused(model, template):
    assert "renders the same prompt for different questions" in refusal(model(template))


@pytest.mark.parametrize(
    "template",
    [
        "{% for m in messages %}[{{ m.role }} {{ m.content }}]{% endfor %}",
        "{% for m in messages %}<{{ m.role }}>{{ m.content }}</s>{% endfor %}"
        "{% if add_generation_prompt %}{% endif %}",
        "{% for m in messages %}{{ m.content }}{% endfor %}{# add_generation_prompt #}\n--",
    ],
)
def test_a_template_that_opens_no_turn_of_the_assistant_is_refused(model, template):
    assert "does not open the assistant's turn" in refusal(model(template))


@pytest.mark.parametrize(
    "template",
    [
        PLAIN,
        "{% for m in messages %}{% if m.role == 'user' %}[INST] {{ m.content }} [/INST]"
        "{% else %} {{ m.content }}</s>{% endif %}{% endfor %}",
    ],
)
def test_a_header_by_add_generation_prompt_or_at_the_end_of_the_question_is_accepted(
    model, template
):
    policy_facts(PolicyConfig(name=str(model(template))))


@pytest.mark.parametrize("draw", ["{{ [1, 2, 3, 4]|random }}", "{{ lipsum(1, false, 2, 9) }}"])
def test_a_template_that_draws_at_random_is_refused(model, draw):
    assert "renders one prompt in several ways" in refusal(model(draw + PLAIN))


@pytest.mark.parametrize("thinking", [True, False])
@pytest.mark.parametrize(
    "unread",
    [
        "{# enable_thinking #}",
        "{% set enable_thinking = true %}{% if enable_thinking %}<think>{% endif %}",
        "{% set ns = namespace(enable_thinking=false) %}{{ ns.enable_thinking }}",
        "{{ messages[0].enable_thinking }}",
        "{{ 'enable_thinking' }}",
    ],
)
def test_a_template_that_does_not_read_the_switch_is_refused(model, unread, thinking):
    message = refusal(model(PLAIN + unread), thinking=thinking)
    assert message.startswith(f"model.thinking={str(thinking).lower()}: the chat template of")
    assert "renders the same for true and false" in message


def test_a_template_with_tools_of_no_length_says_what_to_change(model):
    message = refusal(model("{% if tools|length > 0 %}T{% endif %}" + PLAIN))
    assert "write `(tools or [])` in place of `tools`" in message
    assert "has no len()" in message


# System messages


def sets(*chats):
    problems = [Problem(f"p{i}", tuple(chat), answer="1") for i, chat in enumerate(chats)]
    return ProblemSets(train=problems, evaluation={"ood": problems}, verify=lambda *_: 0.0)


def check(path, *chats, template=None, **settings):
    check_prompts(
        PolicyFiles(PolicyConfig(name=str(path), **settings)), sets(*chats), template=template
    )


def test_a_template_that_wants_a_system_message_is_accepted_where_the_prompts_have_one(model):
    path = model(WANTS_SYSTEM)
    assert text_of(path, (SYSTEM, USER)) == "[system s][user 1]A:"
    check(path, (SYSTEM, USER), (SYSTEM, TWO))
    with pytest.raises(LabError, match=r"training set: .* of p1 \(user\).*set dataset\.system_pr"):
        check(path, (SYSTEM, USER), (TWO,))


def test_a_template_that_refuses_a_system_message_is_named_with_the_key(model):
    path = model(NO_SYSTEM)
    check(path, (USER,), (TWO,))
    with pytest.raises(LabError) as caught:
        check(path, (SYSTEM, USER), (SYSTEM, TWO))
    message = str(caught.value)
    assert "System role not supported; set dataset.system_prompt=null" in message
    assert str(path / "chat_template.jinja") in message


def test_a_system_message_that_the_template_leaves_out_is_refused(model):
    with pytest.raises(LabError, match=r"leaves out the system message of p0; set dataset\.sys"):
        check(model(DROPS_SYSTEM), (SYSTEM, USER))


def test_prompts_of_which_only_the_first_message_is_printed_are_refused(model):
    path = model("{{ messages[0].content }}" + HEADER)
    check(path, (USER,), (TWO,))
    with pytest.raises(LabError, match="problems p0 and p1 have the same prompt"):
        check(path, (SYSTEM, USER), (SYSTEM, TWO))


def test_a_switch_that_the_runs_own_prompts_do_not_reach_is_refused(model):
    path = model(PLAIN + "{% if messages[0].role == 'system' %}" + SWITCH + "{% endif %}")
    check(path, (SYSTEM, USER), thinking=False)
    with pytest.raises(LabError, match=r"^model\.thinking=false: .*renders the same"):
        check(path, (USER,), thinking=False)


def test_roles_that_must_alternate_are_checked_in_the_teachers_prompt_too(model):
    path = model("{% if 'solution' in messages[-1].content %}{{ 1 / 0 }}{% endif %}" + PLAIN)
    check(path, (USER,))
    with pytest.raises(LabError, match=r"teacher's prompts: .*division by zero"):
        check(path, (USER,), template=SOLUTION_TEMPLATE)


def test_a_run_with_such_prompts_is_refused_by_its_plan(model):
    setup = Setup(data=sets((SYSTEM, USER), (SYSTEM, TWO)))
    settings = GRPOSettings(model=PolicyConfig(name=str(model(NO_SYSTEM))))
    with pytest.raises(LabError, match=r"set dataset\.system_prompt=null"):
        grpo_plan.plan(setup, settings)


# Where a template stands


def unnamed(path, **files):
    (path / "chat_template.jinja").unlink()
    settings = json.loads((path / "tokenizer_config.json").read_text())
    (path / "tokenizer_config.json").write_text(json.dumps(settings | files))
    return path


NAMED = {"default": PLAIN + SWITCH, "tool_use": "TOOLS" + PLAIN}


@pytest.mark.parametrize(
    "named", [NAMED, [{"name": n, "template": t} for n, t in NAMED.items()]], ids=["dict", "list"]
)
def test_of_named_templates_the_default_is_taken_with_the_variable_set(model, named):
    path = unnamed(model(""), chat_template=named)
    assert text_of(path) == "[user 1]A:"
    assert text_of(path, thinking=True) == "[user 1]A:"
    assert text_of(path, thinking=False) == "[user 1]A:-"


def test_a_folder_of_templates_and_the_processors_file_are_read(model):
    path = unnamed(model(""))
    assert "no chat template" in refusal(path)
    (path / "chat_template.json").write_text(json.dumps({"chat_template": PLAIN + SWITCH}))
    assert text_of(path, thinking=False) == "[user 1]A:-"
    folder = path / "additional_chat_templates"
    folder.mkdir()
    (folder / "tool_use.jinja").write_text("TOOLS" + PLAIN)
    (path / "chat_template.jinja").write_text(PLAIN + "!" + SWITCH)
    assert text_of(path, thinking=False) == "[user 1]A:!-"


def test_named_templates_without_a_default_are_no_template(model):
    path = unnamed(model(""), chat_template={"tool_use": PLAIN})
    assert "no chat template" in refusal(path)


# The date


DATED = "{{ strftime_now('%d %b %Y, %A %-d %H:%M') }} " + PLAIN


def test_the_date_in_a_prompt_is_the_settings_whatever_the_clock_says(model):
    path = model(DATED)
    dated = "01 Jan 2026, Thursday 1 00:00 [user 1]A:"
    assert text_of(path) == dated
    config = PolicyConfig(name=str(path), date="2024-07-26")
    tokenizer = load_policy(config).tokenizer
    expected = "26 Jul 2024, Friday 26 00:00 [user 1]A:"
    assert tokenizer.decode(encode(tokenizer, (USER,))) == expected
    # as TRL and vLLM render it
    assert (
        tokenizer.apply_chat_template([USER], add_generation_prompt=True, tokenize=False)
        == expected
    )
    assert policy_facts(config)["date"] == "the chat template is told 2024-07-26 (model.date)"
    tokenizer.save_pretrained(path)
    assert text_of(path) == dated
    assert "date" not in policy_facts(PolicyConfig())


def test_a_date_that_is_none_is_refused_by_name():
    with pytest.raises(LabError, match=r"^model\.date='today'; allowed: a date such as 2026-01-01"):
        policy_facts(PolicyConfig(date="today"))


def test_what_is_put_before_a_template_is_taken_off_again():
    for thinking in (None, True, False):
        made = prepared_template(DATED, thinking=thinking, today="2024-07-26")
        assert plain_template(made) == DATED
        assert prepared_template(made, thinking=None, today="2024-07-26") == made
    assert prepared_template(PLAIN, thinking=None, today="2024-07-26") == PLAIN


# Bounds


@pytest.mark.parametrize(
    ("template", "reason"),
    [
        (
            "{% for a in range(99999) %}{% for b in range(99999) %}{% endfor %}{% endfor %}",
            "did not end within 0.3 s",
        ),
        ("{{ 10**(10**8) > 0 }}", "did not end within 0.3 s"),
        ("{{ 'a' * 10**10 }}", "takes more than 256 MiB of memory"),
        ("{{ 'a'.ljust(10**12) }}", "takes more than 256 MiB of memory"),
        ("{{ '%1000000000d' % 1 }}", "takes more than 256 MiB of memory"),
        ("{{ 'a' * 2**25 }}", "makes 33,554,442 characters"),
        ("{% macro f(n) %}{{ f(n + 1) }}{% endmacro %}{{ f(0) }}", "recursion"),
    ],
)
def test_a_template_without_end_is_bounded_in_time_and_memory(monkeypatch, template, reason):
    monkeypatch.setattr(chat_template, "RENDER_S", 3.0 if "2**25" in template else 0.3)
    tokenizer = load_tokenizer(PolicyConfig())
    tokenizer.chat_template = template + PLAIN
    began = time.monotonic()
    with pytest.raises(RenderError, match=reason):
        render(tokenizer, (USER,))
    assert time.monotonic() - began < 5
    tokenizer.chat_template = PLAIN
    assert render(tokenizer, (USER,)) == "[user 1]A:"


def test_a_model_whose_template_never_ends_is_refused(model, monkeypatch):
    monkeypatch.setattr(chat_template, "RENDER_S", 0.2)
    began = time.monotonic()
    loop = "{% for a in range(99999) %}{% for b in range(99999) %}{% endfor %}{% endfor %}"
    assert "chat_template.jinja: it did not end within 0.2 s" in refusal(model(loop + PLAIN))
    assert time.monotonic() - began < 5
