"""Sizes of models that are here, partly here, and only published."""

import re
import shutil
from dataclasses import replace
from pathlib import Path

import lab_llm
import pytest
from lab_llm.planning import shapes
from lab_llm.planning.shapes import shape_of, shape_of_model
from lab_llm.policy.config import PolicyConfig
from lab_llm.policy.facts import policy_facts
from lab_llm.policy.tiny_model import shipped_path

NAME = re.compile(r"^ +name: (\S+/\S+)", re.MULTILINE)
SMALL = {
    "num_hidden_layers": 2,
    "hidden_size": 8,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "head_dim": 4,
    "intermediate_size": 10,
    "vocab_size": 100,
    "tie_word_embeddings": False,
    "max_position_embeddings": 64,
}


# q = 16, kv = 8. A layer: 2*8*(16+8) = 384, 3*8*10 = 240, 2*8 = 16; together 640.
# Embeddings 2*100*8 = 1600, the last norm 8: 1600 + 2*640 + 8 = 2888.
@pytest.mark.parametrize(
    ("changed", "expected", "qk_norm"),
    [
        ({"model_type": "llama"}, 2888, "none"),
        ({"model_type": "llama", "tie_word_embeddings": True}, 2888 - 800, "none"),
        # norms of queries and keys: 2*4 a layer, or 16 + 8 over all heads
        ({"model_type": "qwen3"}, 2888 + 2 * 8, "head"),
        # biases of queries, keys and values, 16 + 2*8 a layer
        ({"model_type": "qwen2"}, 2888 + 2 * 32, "none"),
    ],
)
def test_parameters_are_counted_by_hand(changed, expected, qk_norm):
    shape = shape_of(SMALL | changed)
    assert shape is not None
    assert (shape.num_parameters, shape.qk_norm) == (expected, qk_norm)
    assert (shape.num_kv_heads, shape.head_dim, shape.context_length) == (2, 4, 64)


@pytest.mark.parametrize(
    ("name", "count"),
    [
        ("Qwen/Qwen3-4B-Base", 4_022_468_096),
        ("Qwen/Qwen3-8B-Base", 8_190_735_360),
        ("Qwen/Qwen3-4B-Instruct-2507", 4_022_468_096),
        ("Qwen/Qwen3-1.7B", 1_720_574_976),
        ("Qwen/Qwen3-8B", 8_190_735_360),
        ("deepseek-ai/DeepSeek-R1-Distill-Qwen-7B", 7_615_616_512),
        ("allenai/Olmo-3-7B-Instruct", 7_298_011_136),
        ("smollm2", 134_515_008),
    ],
)
def test_a_published_model_has_its_published_count_without_a_hub(name, count):
    shape = shape_of(shapes.published()[name])
    assert shape is not None
    assert shape.num_parameters == count


def test_every_model_of_a_preset_is_published_or_here():
    presets = [*Path(lab_llm.__file__).parents[2].glob("**/conf/**/*.yaml")]
    names = [word for path in presets for word in NAME.findall(path.read_text())]
    assert len(set(names)) == 7
    assert set(names) <= set(shapes.published())


def test_a_model_that_is_here_has_the_count_of_its_weights_and_without_them_of_its_config(tmp_path):
    tiny = shape_of_model(PolicyConfig())
    assert tiny is not None
    assert tiny.num_parameters == policy_facts(PolicyConfig())["parameters"]
    assert tiny.context_length == 1024
    bare = shutil.copytree(shipped_path(), tmp_path / "bare")
    (bare / "model.safetensors").unlink()
    assert shape_of_model(PolicyConfig(name=str(bare))) == tiny


def test_a_model_that_nobody_knows_has_no_shape():
    assert shape_of_model(replace(PolicyConfig(), name="nobody/nothing")) is None
    assert shape_of({"n_layer": 12, "n_embd": 768}) is None
