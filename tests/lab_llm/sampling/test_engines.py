"""What an engine needs, known by its name."""

import pytest
from lab_llm.policy.config import PolicyConfig
from lab_llm.policy.policy import load_policy
from lab_llm.sampling.engines import KINDS, check_engine
from labrun.errors import LabError


def test_an_engine_whose_package_is_not_here_is_named_with_one_that_is(monkeypatch):
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    (sentence,) = KINDS["vllm"].missing(key="a.b", instead="a.b=cpu")
    assert sentence == (
        "a.b=vllm, but vllm is not installed; `pip install 'labrun[gpu]'`, or a.b=cpu"
    )
    assert KINDS["transformers"].missing(key="a.b", instead="a.b=cpu") == []
    with pytest.raises(LabError, match=r"^evaluator\.x\.engine=vllm, but vllm is not installed"):
        check_engine("vllm", section="evaluator.x")
    check_engine("auto", section="evaluator.x")


def test_only_the_decoder_refuses_an_architecture_that_it_does_not_know(tmp_path):
    policy = load_policy(PolicyConfig())
    policy.model.config.attention_bias = True
    policy.model.save_pretrained(tmp_path)
    model = PolicyConfig(name=str(tmp_path))
    with pytest.raises(LabError, match=r"^a\.b=cpu, .*config\.json: .*; use a\.b=transformers or"):
        KINDS["cpu"].check_model(model, key="a.b")
    for name in ("transformers", "vllm"):
        KINDS[name].check_model(model, key="a.b")
