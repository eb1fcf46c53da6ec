"""The way through NeMo: its config, samplers and loaders give the records we mean, once each, in a known order."""

from types import SimpleNamespace

import pytest
from omegaconf import OmegaConf

from nemo_desta.data.config import resolve_data_cfg
from nemo_desta.data.module import DeSTADataModule
from nemo_desta.data.shards import write_tar_shards
from nemo_desta.errors import AudioError, ConfigError, RenderError
from nemo_desta.record import read_records, write_records

from .conftest import record

ALL = {f"r{i}" for i in range(12)}


def loader_cfg(corpus, **more):
    return {
        "input_cfg": [{"type": "desta", "manifest_filepath": str(corpus / "train.jsonl")}],
        "batch_size": 4,
        "seed": 1,
        **more,
    }


def module(renderer, progress=None, step=0, accumulate=1, **data):
    out = DeSTADataModule(data, renderer, pad_id=0)
    out.trainer = SimpleNamespace(global_step=step, accumulate_grad_batches=accumulate)
    out.load_state_dict(progress or {})
    return out


def ids(loader):
    return [batch["ids"] for batch in loader]


@pytest.mark.parametrize("workers", [0, 2])
def test_one_pass_gives_each_record_once(renderer, corpus, workers):
    batches = ids(module(renderer, train_ds=loader_cfg(corpus, shuffle=True, num_workers=workers)).train_dataloader())
    assert [len(b) for b in batches] == [4, 4, 4] and set(sum(batches, [])) == ALL


def test_order_changes_with_the_pass_and_not_with_the_process(renderer, corpus):
    data = module(renderer, train_ds=loader_cfg(corpus, shuffle=True))
    loader = data.train_dataloader()
    first = ids(loader)
    data.trainer.global_step = 3
    assert ids(loader) != first and data.progress.epoch == 1
    assert ids(module(renderer, train_ds=loader_cfg(corpus, shuffle=True)).train_dataloader()) == first


@pytest.mark.parametrize("accumulate", [1, 2])
def test_a_resumed_pass_skips_what_was_trained(renderer, corpus, accumulate):
    data = {"train_ds": loader_cfg(corpus, shuffle=True, batch_size=2)}
    begun = {"epoch": 3, "start_step": 100, "length": None}
    whole = ids(module(renderer, begun, 100, **data).train_dataloader())
    assert ids(module(renderer, begun, 102, accumulate, **data).train_dataloader()) == whole[2 * accumulate :]


def test_a_pass_that_was_used_up_is_followed_by_the_next(renderer, corpus):
    data = {"train_ds": loader_cfg(corpus, shuffle=True, batch_size=2)}
    resumed = module(renderer, {"epoch": 3, "start_step": 100, "length": 6}, 106, **data)
    following = module(renderer, {"epoch": 4, "start_step": 106, "length": None}, 106, **data)
    assert ids(resumed.train_dataloader()) == ids(following.train_dataloader()) and resumed.progress.epoch == 4


def test_ranks_share_the_records(renderer, corpus, monkeypatch):
    monkeypatch.setattr(DeSTADataModule, "_get_world_size", lambda self: 2)
    seen = []
    for rank in range(2):
        monkeypatch.setattr(DeSTADataModule, "_get_dp_rank", lambda self, rank=rank: rank)
        seen.append(
            sum(ids(module(renderer, train_ds=loader_cfg(corpus, shuffle=True, batch_size=2)).train_dataloader()), [])
        )
    assert set(seen[0]) | set(seen[1]) == ALL and not set(seen[0]) & set(seen[1])


def test_bucketing_by_tokens_keeps_every_record(renderer, corpus):
    cfg = loader_cfg(
        corpus,
        batch_size=None,
        batch_tokens=120,
        use_bucketing=True,
        num_buckets=2,
        shuffle=True,
        concurrent_bucketing=False,
    )
    batches = ids(module(renderer, train_ds=cfg).train_dataloader())
    assert sorted(sum(batches, [])) == sorted(ALL)


def test_long_records_are_skipped_and_counted_not_cut(renderer, corpus, caplog):
    data = module(renderer, train_ds=loader_cfg(corpus, max_tokens=10_000))
    limit = max(b["input_ids"].shape[1] for b in data.train_dataloader()) - 1
    data = module(renderer, train_ds=loader_cfg(corpus, max_tokens=limit))
    kept = sum(ids(data.train_dataloader()), [])
    tally = data.tokenizer.tally
    assert 0 < tally.skipped == 12 - len(kept) and tally.seen == 12
    assert "target would be cut" in caplog.text and "skipped for their length" in caplog.text


def test_a_prompt_over_the_limit_is_told_apart(renderer, corpus, caplog):
    with pytest.raises(RenderError, match="no batch.*12 skipped"):
        ids(module(renderer, train_ds=loader_cfg(corpus, max_tokens=5)).train_dataloader())
    assert "prompt alone is" in caplog.text


def test_an_unreadable_batch_is_passed_over_on_one_process_only(renderer, corpus, monkeypatch):
    write_records(corpus / "train.jsonl", [record(i, "clips/0.wav" if i else "missing.wav") for i in range(4)])
    cfg = loader_cfg(corpus, batch_size=1)
    assert ids(module(renderer, train_ds=cfg).train_dataloader()) == [["r1"], ["r2"], ["r3"]]
    monkeypatch.setattr(DeSTADataModule, "_get_world_size", lambda self: 2)
    with pytest.raises(AudioError, match="whole batch"):
        ids(module(renderer, train_ds=cfg).train_dataloader())


def test_too_many_bad_records_reach_the_trainer_from_a_worker(renderer, corpus):
    write_records(corpus / "train.jsonl", [record(i, "missing.wav") for i in range(4)])
    with pytest.raises(AudioError, match="max_bad_share"):
        ids(module(renderer, train_ds=loader_cfg(corpus, num_workers=1)).train_dataloader())


def test_shards_are_divided_among_workers(renderer, corpus):
    records = list(read_records(corpus / "train.jsonl"))
    write_tar_shards(records, corpus, str(corpus / "s_%02d.tar"), shard_size=3)
    entry = {"type": "desta", "tarred_filepaths": str(corpus / "s_{00..03}.tar")}
    cfg = {"input_cfg": [entry], "batch_size": 3, "num_workers": 2, "seed": 5, "force_finite": True, "shuffle": True}
    batches = ids(module(renderer, train_ds=cfg).train_dataloader())
    assert sorted(sum(batches, [])) == sorted(ALL)


def test_fewer_shards_than_workers_is_refused(renderer, corpus):
    write_tar_shards(read_records(corpus / "train.jsonl"), corpus, str(corpus / "s_%d.tar"))
    cfg = {
        "input_cfg": [{"type": "desta", "tarred_filepaths": str(corpus / "s_0.tar")}],
        "batch_size": 3,
        "num_workers": 2,
    }
    with pytest.raises(ConfigError, match="1 shards for 1 ranks with 2 workers"):
        ids(module(renderer, train_ds=cfg).train_dataloader())


def test_streams_do_not_end(renderer, corpus):
    write_tar_shards(read_records(corpus / "train.jsonl"), corpus, str(corpus / "s_%d.tar"))
    cfg = {
        "input_cfg": [{"type": "desta", "tarred_filepaths": str(corpus / "s_0.tar")}],
        "batch_size": 4,
        "num_workers": 1,
    }
    batches = iter(module(renderer, train_ds=cfg).train_dataloader())
    assert len({i for _ in range(6) for i in next(batches)["ids"]}) == 12


def test_mixes_follow_their_weights(renderer, corpus):
    write_records(corpus / "other.jsonl", [record(100 + i, "clips/0.wav") for i in range(12)])
    entries = [
        {"type": "desta", "manifest_filepath": str(corpus / f), "weight": w}
        for f, w in (("train.jsonl", 0.5), ("other.jsonl", 0.5))
    ]
    cfg = {"input_cfg": entries, "batch_size": 4, "seed": 1}
    batch = next(iter(module(renderer, train_ds=cfg).train_dataloader()))
    assert len(batch["ids"]) == 4


def test_validation_gives_each_set_under_its_name(renderer, corpus):
    sets = {"one": None, "two": {"batch_size": 5}}
    loader = module(renderer, validation_ds={**loader_cfg(corpus), "datasets": sets}).val_dataloader()
    batches = [batch for batch, _, _ in loader]
    assert [len(b["one"]["ids"]) for b in batches] == [4, 4, 4] and [len(b["two"]["ids"]) for b in batches] == [5, 5, 2]


def test_every_mistake_in_the_data_section_is_named_at_once(corpus):
    cfg = loader_cfg(corpus, bach_size=3)
    cfg["input_cfg"][0]["audio_rot"] = "x"
    with pytest.raises(ConfigError) as caught:
        resolve_data_cfg({"train_ds": cfg, "validation_ds": {"input_cfg": []}, "tran_ds": {}})
    for word in ("bach_size", "audio_rot", "audio_root", "tran_ds", "datasets"):
        assert word in str(caught.value)


def test_streams_need_a_worker(corpus):
    entry = {"type": "desta", "tarred_filepaths": "s.tar"}
    with pytest.raises(ConfigError, match="num_workers must be at least 1"):
        resolve_data_cfg({"train_ds": {"input_cfg": [entry], "batch_size": 1}})


def test_input_cfg_may_be_a_file(corpus):
    OmegaConf.save(OmegaConf.create(loader_cfg(corpus)["input_cfg"]), corpus / "input.yaml")
    out = resolve_data_cfg({"train_ds": {"input_cfg": str(corpus / "input.yaml"), "batch_size": 2, "max_tokens": 77}})
    assert (
        out.train_ds.input_cfg[0].max_length == 77
        and out.train_ds.shard_seed == 42
        and "max_tokens" not in out.train_ds
    )


@pytest.mark.parametrize("packing", [False, True])
def test_conversations_about_one_clip_can_be_kept_together(renderer, corpus, packing):
    cfg = loader_cfg(corpus, batch_size=2, shuffle=True)
    cfg["input_cfg"][0]["together"] = 2
    batches = list(module(renderer, train_ds=cfg, packing=packing).train_dataloader())
    assert sorted(i for b in batches for i in b["ids"]) == sorted(ALL)
    for batch in batches:
        assert batch["audio_signal"].shape[0] == 2 and len(batch["ids"]) == 4
        assert batch["input_ids"].shape[0] == (1 if packing else 4)
        assert [int(i[1:]) // 2 for i in batch["ids"]][::2] == [int(i[1:]) // 2 for i in batch["ids"]][1::2]


def test_the_length_limit_is_that_of_a_record_in_a_group_too(renderer, corpus):
    data = module(renderer, train_ds=loader_cfg(corpus, max_tokens=10_000))
    limit = max(b["input_ids"].shape[1] for b in data.train_dataloader()) - 1
    cfg = loader_cfg(corpus, max_tokens=limit)
    alone = sum(ids(module(renderer, train_ds=cfg).train_dataloader()), [])
    cfg["input_cfg"][0]["together"] = 2
    data = module(renderer, train_ds=cfg)
    assert sorted(sum(ids(data.train_dataloader()), [])) == sorted(alone) and data.tokenizer.tally.skipped == 12 - len(
        alone
    )


def test_a_last_batch_smaller_than_the_ranks_gives_every_rank_a_batch(renderer, corpus, monkeypatch):
    write_records(corpus / "train.jsonl", [record(0, "clips/0.wav")])
    monkeypatch.setattr(DeSTADataModule, "_get_world_size", lambda self: 2)
    for together in (1, 2):
        cfg = loader_cfg(corpus)
        cfg["input_cfg"][0]["together"] = together
        seen = []
        for rank in range(2):
            monkeypatch.setattr(DeSTADataModule, "_get_dp_rank", lambda self, rank=rank: rank)
            seen += ids(module(renderer, train_ds=cfg).train_dataloader())
        assert seen == [["r0"], ["r0"]]
