"""The `model:` section: every mistake is told, all at once."""

import pytest

from nemo_desta.errors import ConfigError
from nemo_desta.models.config import DeSTAConfig
from nemo_desta.models.desta import DeSTAModel
from tests import tiny


def test_all_unknown_keys_are_reported_at_once():
    with pytest.raises(ConfigError) as err:
        DeSTAModel(tiny.model_config(lmm="x", connector={"num_querys": 3}, lora={"rank": 4}))
    for said in (
        "model.lmm is unknown",
        "model.connector.num_querys is unknown; did you mean num_queries?",
        "model.lora.rank is unknown",
    ):
        assert said in str(err.value)


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"llm": ""}, "model.llm is not set"),
        ({"llm_dtype": "int8"}, "use float32, bfloat16 or float16"),
        ({"connector": {"num_queries": 0}}, "at least one query and one layer"),
        ({"connector": {"output_scale": "big"}}, "use a number, 'embeddings' or null"),
        ({"connector": 3}, "model.connector must be a mapping"),
        ({"llm": "no/such-model"}, "no tokenizer at llm='no/such-model'"),
        ({"encoder": "no/such-model"}, "no Whisper at encoder='no/such-model'"),
        ({"lora": {"target_modules": ["nothing"]}}, "set lora.target_modules to layers of this LLM"),
        ({"tapped_layers": [9]}, "must ascend within 0..3"),
    ],
)
def test_impossible_values(changes, said):
    with pytest.raises(ConfigError, match=said.replace("(", r"\(")):
        DeSTAModel(tiny.model_config(**changes))


def test_the_defaults_are_the_official_recipe():
    config = DeSTAConfig.from_dict({"llm": "a", "encoder": "b", "lora": {}})
    assert (config.connector.num_layers, config.connector.num_queries, config.connector.dropout) == (6, 64, 0.1)
    assert (config.lora.r, config.lora.alpha, config.lora.dropout, config.lora.target_modules) == (
        16,
        16,
        0.1,
        ["q_proj", "k_proj", "v_proj"],
    )
    assert (config.optimizer.lr, config.optimizer.betas, config.optimizer.weight_decay) == (1e-4, [0.9, 0.98], 0.01)
    assert (config.lr_scheduler.warmup_steps, config.max_transcript_tokens) == (5000, 100)
    assert DeSTAConfig.from_dict(config.to_dict()) == config
