"""The way through NeMo: its config, samplers and loaders give the records we mean, once each, in a known order."""

from itertools import islice
from types import SimpleNamespace

import pytest
from omegaconf import OmegaConf

from nemo_desta.data.clip import Clip
from nemo_desta.data.config import check_shards, resolve_data_cfg
from nemo_desta.data.module import DeSTADataModule
from nemo_desta.data.shards import write_tar_shards
from nemo_desta.errors import AudioError, ConfigError, RenderError
from nemo_desta.record import read_records, write_records

from .conftest import record

ALL = {f"r{i}" for i in range(12)}
BUCKETS = {"use_bucketing": True, "num_buckets": 2, "num_cuts_for_bins_estimate": 24, "bucket_buffer_size": 24}


def loader_cfg(corpus, **more):
    return {
        "input_cfg": [{"type": "desta", "manifest_filepath": str(corpus / "train.jsonl")}],
        "batch_size": 4,
        "seed": 1,
        **more,
    }


def module(renderer, progress=None, rank=0, ranks=1, **data):
    """The data module as rank `rank` of `ranks` has it, going on from `progress`."""
    out = DeSTADataModule(data, renderer, pad_id=0)
    share = {"num_replicas": ranks, "rank": rank}
    out.trainer = SimpleNamespace(strategy=SimpleNamespace(distributed_sampler_kwargs=share))
    out.load_state_dict(progress or {})
    return out


def trained(data, batches):
    """What a checkpoint says of the data when the first `batches` that the loader gives have been trained."""
    seen = list(islice(data.train_dataloader(), batches))
    data.progress.note(seen[-1]["draw"], stepped=True)
    return data.state_dict(), [b["ids"] for b in seen]


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
    data.progress.note(3, stepped=True)
    assert ids(loader) != first and data.progress.epoch == 1
    assert ids(module(renderer, train_ds=loader_cfg(corpus, shuffle=True)).train_dataloader()) == first


@pytest.mark.parametrize("workers", [0, 1, 2])
@pytest.mark.parametrize("ranks", [1, 2])
def test_a_resumed_pass_goes_on_where_training_stood(renderer, corpus, workers, ranks):
    data = {"train_ds": loader_cfg(corpus, shuffle=True, batch_size=2, num_workers=workers)}
    for rank in range(ranks):
        whole = ids(module(renderer, {"epoch": 3}, rank, ranks, **data).train_dataloader())
        state, seen = trained(module(renderer, {"epoch": 3}, rank, ranks, **data), 2)
        assert seen + ids(module(renderer, state, rank, ranks, **data).train_dataloader()) == whole


def test_a_pass_that_was_used_up_is_followed_by_the_next(renderer, corpus):
    data = {"train_ds": loader_cfg(corpus, shuffle=True, batch_size=2)}
    resumed = module(renderer, {"epoch": 3, "trained": 6, "length": 6}, **data)
    following = module(renderer, {"epoch": 4}, **data)
    assert ids(resumed.train_dataloader()) == ids(following.train_dataloader()) and resumed.progress.epoch == 4


def test_ranks_share_the_records(renderer, corpus):
    cfg = loader_cfg(corpus, shuffle=True, batch_size=2)
    seen = [sum(ids(module(renderer, rank=r, ranks=2, train_ds=cfg).train_dataloader()), []) for r in range(2)]
    assert set(seen[0]) | set(seen[1]) == ALL and not set(seen[0]) & set(seen[1])


@pytest.mark.parametrize(("before", "after"), [(1, 2), (2, 1), (3, 2)])
def test_another_number_of_ranks_repeats_and_loses_nothing(renderer, corpus, before, after):
    cfg = loader_cfg(corpus, shuffle=True, batch_size=1)
    begun = [trained(module(renderer, rank=r, ranks=before, train_ds=cfg), 2) for r in range(before)]
    assert len({state["trained"] for state, _ in begun}) == 1
    rest = [ids(module(renderer, begun[0][0], r, after, train_ds=cfg).train_dataloader()) for r in range(after)]
    seen = [i for _, batches in begun for i in sum(batches, [])] + [i for batches in rest for i in sum(batches, [])]
    assert sorted(seen) == sorted(ALL)


def test_a_batch_that_was_passed_over_is_not_trained_again(renderer, corpus):
    """Numbers are those of drawn batches, not of optimizer steps."""
    rows = [record(i, "clips/0.wav" if i % 3 else f"missing{i}.wav") for i in range(8)]
    write_records(corpus / "train.jsonl", rows)
    cfg = loader_cfg(corpus, batch_size=1, shuffle=True)
    whole = ids(module(renderer, train_ds=cfg, max_bad_share=0.5).train_dataloader())
    state, seen = trained(module(renderer, train_ds=cfg, max_bad_share=0.5), 3)
    rest = ids(module(renderer, state, train_ds=cfg, max_bad_share=0.5).train_dataloader())
    assert seen + rest == whole and len(whole) == 5 and state["trained"] > 3


def shards(corpus, name, rows, size=2):
    """Tar shards of records about the corpus' clips; returns an input_cfg entry."""
    write_tar_shards(rows, corpus, str(corpus / f"{name}_%d.tar"), shard_size=size)
    return {"type": "desta", "tarred_filepaths": [str(p) for p in sorted(corpus.glob(f"{name}_*.tar"))]}


@pytest.mark.parametrize("bucketing", [{}, {"batch_size": None, "batch_tokens": 150, **BUCKETS}])
@pytest.mark.parametrize(("ranks", "workers"), [(1, 1), (1, 2), (2, 1)])
def test_a_resumed_mix_of_streams_goes_on_where_training_stood(renderer, corpus, ranks, workers, bucketing):
    rows = list(read_records(corpus / "train.jsonl"))
    mix = [shards(corpus, "a", rows[:8]) | {"weight": 0.7}, shards(corpus, "b", rows[4:]) | {"weight": 0.3}]
    cfg = {
        "input_cfg": mix,
        "batch_size": 2,
        "num_workers": workers,
        "seed": 5,
        "shuffle": True,
        "shuffle_buffer_size": 4,
    }
    cfg |= bucketing
    for rank in range(ranks):
        whole = [b["ids"] for b in islice(module(renderer, None, rank, ranks, train_ds=cfg).train_dataloader(), 12)]
        for count in (1, 4, 5):
            state, seen = trained(module(renderer, None, rank, ranks, train_ds=cfg), count)
            rest = islice(module(renderer, state, rank, ranks, train_ds=cfg).train_dataloader(), 12 - count)
            assert seen + [b["ids"] for b in rest] == whole, count


def test_skipping_reads_no_audio(renderer, corpus, monkeypatch):
    cfg = loader_cfg(corpus, batch_size=1)
    read = []
    load = Clip.load
    monkeypatch.setattr(Clip, "load", lambda self, *a: read.append(self.path) or load(self, *a))
    state, _ = trained(module(renderer, train_ds=cfg), 9)
    read.clear()
    assert len(ids(module(renderer, state, train_ds=cfg).train_dataloader())) == 3 == len(read)


def test_streams_on_another_number_of_ranks_say_what_may_come_again(renderer, corpus, caplog):
    entry = shards(corpus, "a", list(read_records(corpus / "train.jsonl")))
    cfg = {"input_cfg": [entry], "batch_size": 2, "num_workers": 1, "seed": 5, "shuffle": True}
    state, _ = trained(module(renderer, train_ds=cfg), 3)
    next(iter(module(renderer, state, 0, 2, train_ds=cfg).train_dataloader()))
    assert "1 ranks with 1 workers each, now by 2 with 1: they begin anew" in caplog.text and "3 batches" in caplog.text


def test_other_data_than_in_the_checkpoint_are_told(renderer, corpus, caplog):
    state, _ = trained(module(renderer, train_ds=loader_cfg(corpus)), 1)
    module(renderer, state, train_ds=loader_cfg(corpus)).train_dataloader()
    assert "not what it was" not in caplog.text
    module(renderer, state, train_ds=loader_cfg(corpus, batch_size=3)).train_dataloader()
    assert "not what it was" in caplog.text


def test_a_long_record_makes_a_batch_smaller(renderer, corpus):
    """A token budget holds for every batch; with a penalty on length, batches of long records hold fewer tokens."""
    rows = [record(i, f"clips/{i % 6}.wav", "Yes." * (1 + 40 * (i % 2))) for i in range(24)]
    write_records(corpus / "train.jsonl", rows)
    found = {}
    for factor in (None, 60):
        cfg = loader_cfg(corpus, batch_size=None, batch_tokens=600, **BUCKETS, quadratic_factor=factor)
        batches = list(module(renderer, train_ds=cfg).train_dataloader())
        assert sorted(i for b in batches for i in b["ids"]) == sorted(r.id for r in rows)
        assert all(b["input_ids"].numel() <= 600 for b in batches)
        found[factor] = max(len(b["ids"]) for b in batches if b["input_ids"].shape[1] > 60)
    assert found[60] < found[None]


def test_bucketing_leaves_less_padding(renderer, corpus):
    rows = [record(i, f"clips/{i % 6}.wav", "Yes." * (1 + 40 * (i % 2))) for i in range(24)]
    write_records(corpus / "train.jsonl", rows)

    def padding(**more):
        batches = list(module(renderer, train_ds=loader_cfg(corpus, **more)).train_dataloader())
        return 1 - sum(int(b["attention_mask"].sum()) for b in batches) / sum(
            b["attention_mask"].numel() for b in batches
        )

    assert padding(**BUCKETS) < padding()


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


@pytest.mark.parametrize("packing", [False, True])
def test_an_unreadable_batch_is_passed_over_or_filled_where_others_wait(renderer, corpus, packing):
    write_records(corpus / "train.jsonl", [record(i, "clips/0.wav" if i else "missing.wav") for i in range(4)])
    cfg = loader_cfg(corpus, batch_size=1)
    assert ids(module(renderer, train_ds=cfg).train_dataloader()) == [["r1"], ["r2"], ["r3"]]
    first, second = module(renderer, ranks=2, train_ds=cfg, packing=packing).train_dataloader()
    assert first["ids"] == [] and second["ids"] == ["r2"]
    assert not first["target_mask"].any() and len(first["audio_index"]) == 0


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


@pytest.mark.parametrize("together", [1, 2])
def test_a_last_round_smaller_than_the_ranks_repeats_nothing(renderer, corpus, together):
    write_records(corpus / "train.jsonl", [record(0, "clips/0.wav")])
    cfg = loader_cfg(corpus)
    cfg["input_cfg"][0]["together"] = together
    seen = [ids(module(renderer, rank=r, ranks=2, train_ds=cfg).train_dataloader()) for r in range(2)]
    assert seen == [[["r0"]], [[]]], "the other rank has a filler"


def test_fewer_shards_than_workers_of_all_ranks_is_refused_before_anything_is_loaded(corpus):
    entry = shards(corpus, "a", list(read_records(corpus / "train.jsonl")), size=6)
    data = resolve_data_cfg({"train_ds": {"input_cfg": [entry], "batch_size": 1, "num_workers": 2}})
    check_shards(data, 1)
    with pytest.raises(ConfigError, match=r"input_cfg\[0\] has 2 shards for 2 ranks with 2 workers"):
        check_shards(data, 2)
