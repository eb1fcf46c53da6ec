"""Sections of Lightning and NeMo are checked against what the installed versions accept."""

import pytest

from nemo_desta.nemo_sections import DATALOADER, DATALOADERS, EXP_MANAGER, TRAINER, nemo_problems


@pytest.mark.parametrize(
    ("owner", "cfg"),
    [
        (TRAINER, {"max_steps": 5, "devices": 1, "strategy": "ddp", "gradient_clip_val": 1.0}),
        (EXP_MANAGER, {"exp_dir": "x", "checkpoint_callback_params": {"monitor": "val_loss", "save_top_k": 1}}),
        (DATALOADER, {"input_cfg": [{"type": "desta", "anything": 1}], "batch_size": 2, "use_lhotse": True}),
        (DATALOADER, {"multi_config": True, "batch_size": 1, "speech": {"input_cfg": "a"}}),
        (DATALOADERS, {"batch_size": 1, "datasets": {"val": {"input_cfg": "a"}, "other": None}}),
        (DATALOADERS, {"batch_size": 1, "datasets": None}),
    ],
)
def test_what_the_libraries_accept_passes(owner, cfg):
    assert list(nemo_problems(owner, cfg, "x")) == []


@pytest.mark.parametrize(
    ("owner", "cfg", "messages"),
    [
        (TRAINER, {"strategy": "dpp"}, ["x.strategy: no strategy is called 'dpp'; did you mean 'ddp'?"]),
        (TRAINER, {"max_stps": 5}, ["x.max_stps: unknown key; did you mean 'max_steps'?"]),
        (
            EXP_MANAGER,
            {"exp_dirr": "x", "checkpoint_callback_params": {"save_top": 1}},
            [
                "x.exp_dirr: unknown key; did you mean 'exp_dir'?",
                "x.checkpoint_callback_params.save_top: unknown key; did you mean 'save_top_k'?",
            ],
        ),
        (DATALOADER, {"batch_siz": 1}, ["x.batch_siz: unknown key; did you mean 'batch_size'?"]),
        (
            DATALOADER,
            {"multi_config": True, "speech": {"batch_siz": 1}},
            ["x.speech.batch_siz: unknown key; did you mean 'batch_size'?"],
        ),
        (
            DATALOADERS,
            {"shufle": 1, "datasets": {"val": {"input_cg": "a"}}},
            [
                "x.shufle: unknown key; did you mean 'shuffle'?",
                "x.datasets.val.input_cg: unknown key; did you mean 'input_cfg'?",
            ],
        ),
    ],
)
def test_unknown_keys_are_named_with_their_place(owner, cfg, messages):
    assert list(nemo_problems(owner, cfg, "x")) == messages


def test_a_strategy_like_no_other_gets_the_list():
    (message,) = nemo_problems(TRAINER, {"strategy": "horovod"}, "x")
    assert message.startswith("x.strategy: no strategy is called 'horovod'; there are auto, ddp, ")
    assert not list(nemo_problems(TRAINER, {"strategy": {"_target_": "lightning.pytorch.strategies.DDPStrategy"}}, "x"))


def test_an_unknown_owner_is_a_bug():
    with pytest.raises(ValueError, match="no section"):
        list(nemo_problems("nix", {}, "x"))
