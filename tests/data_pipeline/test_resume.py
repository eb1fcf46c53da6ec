"""What a loader promises beyond one resume: pseudo-epochs, passes that end badly, mixes, like work for the ranks of a step."""

from itertools import islice

import pytest

from nemo_desta.data.config import check_shards, resolve_data_cfg
from nemo_desta.data.resume import DataProgress
from nemo_desta.errors import AudioError, ConfigError
from nemo_desta.record import read_records, write_records

from .conftest import record
from .test_module import ALL, ids, loader_cfg, module, shards, trained


def train(data, loader, batches):
    """One pseudo-epoch as Lightning makes it: one batch is drawn ahead and not trained. Returns the ids."""
    seen = list(islice(loader, batches + 1))[:batches]
    for batch in seen:
        data.progress.note(batch["draw"], stepped=True)
    return [b["ids"] for b in seen]


@pytest.mark.parametrize("streamed", [False, True])
def test_pseudo_epochs_lose_and_repeat_nothing(renderer, corpus, streamed):
    cfg = loader_cfg(corpus, batch_size=1, shuffle=True, shuffle_buffer_size=4)
    if streamed:
        cfg |= {"input_cfg": [shards(corpus, "a", list(read_records(corpus / "train.jsonl")))], "num_workers": 2}
    whole = [b["ids"] for b in islice(module(renderer, train_ds=cfg).train_dataloader(), 11)]
    data = module(renderer, train_ds=cfg)
    loader = data.train_dataloader()
    assert sum((train(data, loader, n) for n in (2, 3, 1, 4)), []) == whole[:10]
    resumed = module(renderer, data.state_dict(), train_ds=cfg)
    assert next(iter(resumed.train_dataloader()))["ids"] == whole[10]


def test_workers_go_on_over_pseudo_epochs(renderer, corpus):
    """New ones would have to sample again all that came before."""
    cfg = loader_cfg(corpus, batch_size=1, num_workers=1)
    cfg["input_cfg"] = [shards(corpus, "a", list(read_records(corpus / "train.jsonl")))]
    data = module(renderer, train_ds=cfg)
    loader = data.train_dataloader()
    train(data, loader, 2)
    workers = data._train._live
    train(data, loader, 2)
    assert data._train._live is workers is not None
    data.teardown("fit")
    assert data._train._live is None


def test_a_pass_whose_end_cannot_be_read_is_followed_by_the_next(renderer, corpus):
    write_records(corpus / "train.jsonl", [record(i, "clips/0.wav" if i < 3 else "missing.wav") for i in range(4)])
    data = module(renderer, train_ds=loader_cfg(corpus, batch_size=1), max_bad_share=0.5)
    state, seen = trained(data, 3)
    assert seen == [["r0"], ["r1"], ["r2"]]
    resumed = module(renderer, state, train_ds=loader_cfg(corpus, batch_size=1), max_bad_share=0.5)
    assert ids(resumed.train_dataloader()) == seen and resumed.progress.epoch == 1


def test_data_of_which_nothing_can_be_read_end_the_run(renderer, corpus):
    write_records(corpus / "train.jsonl", [record(i, "missing.wav") for i in range(3)])
    with pytest.raises(AudioError, match="none of the training data"):
        ids(module(renderer, train_ds=loader_cfg(corpus), max_bad_share=1.0).train_dataloader())


def test_the_end_of_a_pass_is_known_before_its_last_batch_is_trained(renderer, corpus):
    data = module(renderer, train_ds=loader_cfg(corpus))
    state, _ = trained(data, 3)
    assert state["length"] == 3
    resumed = module(renderer, state, train_ds=loader_cfg(corpus))
    assert len(ids(resumed.train_dataloader())) == 3 and resumed.progress.epoch == 1


def mix(corpus, **more):
    write_records(corpus / "other.jsonl", [record(100 + i, "clips/0.wav") for i in range(4)])
    entries = [
        {"type": "desta", "manifest_filepath": str(corpus / "train.jsonl"), "weight": 0.9},
        {
            "type": "group",
            "weight": 0.1,
            "input_cfg": [{"type": "desta", "manifest_filepath": str(corpus / "other.jsonl")}],
        },
    ]
    return {"input_cfg": entries, "batch_size": 4, "seed": 1, "shuffle": True, "shuffle_buffer_size": 8, **more}


def test_a_mix_has_no_end_and_keeps_its_weights(renderer, corpus):
    batches = islice(module(renderer, train_ds=mix(corpus)).train_dataloader(), 100)
    seen = [i for b in batches for i in b["ids"]]
    assert 0.8 < sum(i in ALL for i in seen) / len(seen) < 0.97, "the small set comes as often as its weight says"


def test_a_finite_mix_gives_every_record_once_a_pass_in_another_order(renderer, corpus):
    data = module(renderer, train_ds=mix(corpus, force_finite=True))
    loader = data.train_dataloader()
    first = ids(loader)
    assert sorted(sum(first, [])) == sorted([*ALL, *(f"r{100 + i}" for i in range(4))])
    data.progress.note(len(first), stepped=True)
    second = ids(loader)
    assert second != first and sorted(sum(second, [])) == sorted(sum(first, []))


@pytest.mark.parametrize("ranks", [1, 2])
def test_a_mix_of_jsonl_sets_resumes_exactly(renderer, corpus, ranks):
    buckets = {"use_bucketing": True, "num_buckets": 3, "bucket_buffer_size": 20, "num_cuts_for_bins_estimate": 50}
    cfg = mix(corpus, batch_size=None, batch_tokens=200, **buckets)
    whole = [b["ids"] for b in islice(module(renderer, None, 0, ranks, train_ds=cfg).train_dataloader(), 9)]
    state, seen = trained(module(renderer, None, 0, ranks, train_ds=cfg), 4)
    rest = islice(module(renderer, state, 0, ranks, train_ds=cfg).train_dataloader(), 5)
    assert seen + [b["ids"] for b in rest] == whole


def lengths(corpus):
    """Forty records of five lengths."""
    rows = [record(i, f"clips/{i % 6}.wav", "Yes." * (1 + 12 * (i % 5))) for i in range(40)]
    write_records(corpus / "train.jsonl", rows)
    return loader_cfg(corpus, batch_size=2, use_bucketing=True, num_buckets=5, shuffle=True)


def test_the_ranks_of_a_step_draw_from_one_bucket(renderer, corpus):
    cfg = lengths(corpus)
    per_rank = [list(module(renderer, None, r, 2, train_ds=cfg).train_dataloader()) for r in range(2)]
    longest = [[b["input_ids"].shape[1] for b in batches if b["ids"]] for batches in per_rank]
    same = sum(a == b for a, b in zip(*longest, strict=False))
    assert same >= 0.7 * len(longest[1]), "at the end of the pass what is left has to do"


def test_buckets_go_on_as_begun_when_the_number_of_ranks_changes(renderer, corpus):
    cfg = lengths(corpus)
    begun = [trained(module(renderer, None, r, 2, train_ds=cfg), 3) for r in range(2)]
    rest = ids(module(renderer, begun[0][0], train_ds=cfg).train_dataloader())
    seen = [i for _, batches in begun for b in batches for i in b] + sum(rest, [])
    assert sorted(seen) == sorted(f"r{i}" for i in range(40))


def test_bounds_of_buckets_are_not_counted_as_records_seen(renderer, corpus):
    data = module(renderer, train_ds=lengths(corpus))
    loader = data.train_dataloader()
    assert data.tokenizer.tally.seen == 0
    ids(loader)
    assert data.tokenizer.tally.seen == 40


def test_buckets_of_given_sizes_skip_and_count_what_is_longer_than_the_last(renderer, corpus):
    """As nemo-desta calibrate writes them; NeMo's filter alone would count nothing."""
    lengths(corpus)
    cfg = loader_cfg(corpus, batch_size=None, bucket_duration_bins=[60, 150], bucket_batch_size=[4, 2], shuffle=True)
    data = module(renderer, train_ds=cfg)
    batches = list(data.train_dataloader())
    assert all(len(b["ids"]) <= (4 if b["input_ids"].shape[1] <= 60 else 2) for b in batches)
    assert 0 < data.tokenizer.tally.skipped == 40 - sum(len(b["ids"]) for b in batches)


def test_a_record_that_exceeds_the_budget_is_skipped_and_counted(renderer, corpus):
    lengths(corpus)
    data = module(renderer, train_ds=loader_cfg(corpus, batch_size=None, batch_tokens=150))
    batches = list(data.train_dataloader())
    assert max(b["input_ids"].numel() for b in batches) <= 150
    assert 0 < data.tokenizer.tally.skipped == 40 - sum(len(b["ids"]) for b in batches)


def test_other_workers_are_no_other_data(renderer, corpus, caplog):
    state, _ = trained(module(renderer, train_ds=loader_cfg(corpus)), 1)
    module(renderer, state, train_ds=loader_cfg(corpus, num_workers=2, pin_memory=True)).train_dataloader()
    assert "not what it was" not in caplog.text


def test_streams_shared_anew_resume_exactly_from_then_on(renderer, corpus):
    cfg = {"input_cfg": [shards(corpus, "a", list(read_records(corpus / "train.jsonl")))], "batch_size": 2}
    cfg |= {"num_workers": 1, "seed": 5, "shuffle": True, "shuffle_buffer_size": 4}
    state, before = trained(module(renderer, train_ds=cfg), 3)
    cfg["num_workers"] = 2
    whole = [b["ids"] for b in islice(module(renderer, state, train_ds=cfg).train_dataloader(), 6)]
    again, seen = trained(module(renderer, state, train_ds=cfg), 4)
    rest = islice(module(renderer, again, train_ds=cfg).train_dataloader(), 2)
    assert again["epoch"] == 1 and seen + [b["ids"] for b in rest] == whole != before


def test_streams_begun_anew_have_another_order(renderer, corpus):
    cfg = {"input_cfg": [shards(corpus, "a", list(read_records(corpus / "train.jsonl")), size=1)], "batch_size": 2}
    cfg |= {"num_workers": 1, "seed": 5, "shuffle": True, "shuffle_buffer_size": 2}
    first, second = (
        [b["ids"] for b in islice(module(renderer, {"epoch": n}, train_ds=cfg).train_dataloader(), 6)] for n in range(2)
    )
    assert first != second


def test_streams_that_end_are_refused_on_several_ranks(corpus):
    entry = shards(corpus, "a", list(read_records(corpus / "train.jsonl")), size=1)
    data = resolve_data_cfg(
        {"train_ds": {"input_cfg": [entry], "batch_size": 1, "num_workers": 1, "force_finite": True}}
    )
    check_shards(data, 1)
    with pytest.raises(ConfigError, match="streams must not end"):
        check_shards(data, 2)


def test_only_some_open_entries_are_refused(corpus):
    with pytest.raises(ConfigError, match="max_open_streams"):
        resolve_data_cfg({"train_ds": loader_cfg(corpus, max_open_streams=1)})


def test_what_a_checkpoint_holds_is_plain(renderer, corpus):
    state = module(renderer, train_ds=loader_cfg(corpus)).state_dict()
    assert "seen" not in state and all(isinstance(v, int | str | None) for v in state.values())
    assert set(state) < set(vars(DataProgress()))
