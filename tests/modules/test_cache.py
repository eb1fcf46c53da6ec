"""States from disk are those that the encoder computes, bit for bit, whatever happens to the files."""

import logging
import multiprocessing
import os

import pytest
import torch
from transformers import WhisperConfig
from transformers.models.whisper.modeling_whisper import WhisperEncoder

from nemo_desta.modules.cache import StateCache
from nemo_desta.modules.whisper import TappedWhisperEncoder

LENGTHS = [1_600, 900, 16_000]
FILE = 2 * 1500 * 8 * 4
"""Bytes of the states of one clip: two taps, 1,500 frames, 8 numbers in float32."""


class Counting(TappedWhisperEncoder):
    """Knows how many clips it has encoded."""

    encoded = 0

    def forward(self, audio_signal, audio_len):
        self.encoded += len(audio_signal)
        return super().forward(audio_signal, audio_len)


def make_encoder(dtype=torch.float32, taps=(0, 2), seed=0):
    torch.manual_seed(seed)
    config = WhisperConfig(d_model=8, encoder_layers=3, encoder_attention_heads=2, encoder_ffn_dim=16, init_std=0.5)
    return Counting(WhisperEncoder(config).to(dtype), taps)


@pytest.fixture
def encoder():
    return make_encoder()


def make_batch(lengths=LENGTHS, seed=0):
    generator = torch.Generator().manual_seed(seed)
    signal = torch.zeros(len(lengths), max(lengths))
    for row, length in enumerate(lengths):
        signal[row, :length] = torch.randn(length, generator=generator) * 0.1
    return signal, torch.tensor(lengths)


def alone(encoder, signal, lengths):
    """The states of each clip by itself."""
    return torch.cat([encoder(s[None, :n], n[None]) for s, n in zip(signal, lengths, strict=True)])


def open_cache(folder, max_gb=1.0, mark="encoder"):
    return StateCache(folder, max_gb, lambda: mark)


def size(folder):
    return sum(p.stat().st_size for p in folder.rglob("*.safetensors"))


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_states_are_those_of_the_encoder_bit_for_bit_and_computed_once(tmp_path, dtype):
    encoder, batch = make_encoder(dtype), make_batch()
    plain = alone(encoder, *batch)
    for found in (0, 3):
        encoder.encoded, cache = 0, open_cache(tmp_path)
        states = cache(encoder, *batch)
        assert states.dtype == dtype and torch.equal(states, plain) and not states.requires_grad
        assert (cache.hits, cache.misses, encoder.encoded) == (found, 3 - found, 3 - found)


def test_a_batch_encoded_at_once_gives_the_same_numbers(tmp_path, encoder):
    batch = make_batch()
    torch.testing.assert_close(open_cache(tmp_path)(encoder, *batch), encoder(*batch), rtol=0, atol=1e-5)


def test_a_clip_is_found_in_another_batch_and_under_another_padding(tmp_path, encoder):
    signal, lengths = make_batch()
    open_cache(tmp_path)(encoder, signal, lengths)
    wider = torch.full((2, 20_000), 9.0)  # what lies past a clip's length is nobody's
    for row, clip in enumerate((2, 0)):
        wider[row, : lengths[clip]] = signal[clip, : lengths[clip]]
    cache = open_cache(tmp_path)
    assert (
        torch.equal(cache(encoder, wider, lengths[[2, 0]]), alone(encoder, signal, lengths)[[2, 0]]) and cache.hits == 2
    )


def test_whatever_changes_the_states_changes_the_name(tmp_path, encoder):
    batch = make_batch([1_600])
    open_cache(tmp_path)(encoder, *batch)
    others = [
        (make_encoder(torch.bfloat16), "encoder"),
        (make_encoder(taps=(1, 2)), "encoder"),
        (make_encoder(seed=1), "another"),
    ]
    for other, mark in others:
        cache = open_cache(tmp_path, mark=mark)
        assert torch.equal(cache(other, *batch), other(*batch)) and cache.hits == 0
    with torch.autocast("cpu", dtype=torch.bfloat16):
        cache = open_cache(tmp_path)
        assert torch.equal(cache(encoder, *batch), encoder(*batch)) and cache.hits == 0


def truncate(path):
    path.write_bytes(path.read_bytes()[:-100])


def flip(path):
    content = bytearray(path.read_bytes())
    content[-1000] ^= 1
    path.write_bytes(content)


@pytest.mark.parametrize("damage", [truncate, flip, lambda p: p.write_bytes(b""), lambda p: p.write_text("no states")])
def test_a_damaged_file_is_counted_logged_and_computed_again(tmp_path, encoder, caplog, damage):
    batch = make_batch()
    plain = open_cache(tmp_path)(encoder, *batch)
    path = min(tmp_path.rglob("*.safetensors"))
    damage(path)
    cache = open_cache(tmp_path)
    assert torch.equal(cache(encoder, *batch), plain)
    assert (cache.hits, cache.misses, cache.damaged) == (2, 1, 1) and path.name in caplog.text
    assert torch.equal(cache(encoder, *batch), plain) and cache.hits == 5


def test_the_folder_stays_within_its_limit_and_keeps_what_is_used(tmp_path, encoder):
    cache = open_cache(tmp_path, max_gb=6.5 * FILE / 1e9)
    favourite, seconds = make_batch([1_600]), 0
    for seed in range(1, 15):
        for batch in (favourite, make_batch([800], seed)):
            cache(encoder, *batch)
            assert size(tmp_path) < 7.5 * FILE
            seconds += 1
            for path in tmp_path.rglob("*.safetensors"):  # the clock of a file system may be coarse
                os.utime(path, (path.stat().st_atime, path.stat().st_mtime - 10))
    assert cache.hits == 13 and cache.misses == 15


def test_what_a_killed_process_left_is_removed_in_the_end(tmp_path, encoder):
    cache = open_cache(tmp_path)
    cache(encoder, *make_batch())
    folder = next(p for p in tmp_path.iterdir() if p.is_dir())
    for name, age in ((".old.tmp", 7200), (".new.tmp", 0)):
        (folder / name).write_bytes(b"x")
        os.utime(folder / name, (0, (folder / name).stat().st_mtime - age))
    open_cache(tmp_path)(encoder, *make_batch([500]))
    assert [p.name for p in folder.glob(".*.tmp")] == [".new.tmp"]


def _work(folder, results):
    torch.set_num_threads(1)
    encoder, cache = make_encoder(), open_cache(folder, max_gb=4.5 * FILE / 1e9)
    batches = [make_batch([600 + 100 * seed], seed) for seed in range(6)]
    plain = [encoder(*batch) for batch in batches]
    same = all(torch.equal(cache(encoder, *b), p) for _ in range(4) for b, p in zip(batches, plain, strict=True))
    results.put((same, cache.damaged))


def test_processes_share_a_folder_while_files_come_and_go(tmp_path):
    context = multiprocessing.get_context("fork")
    results = context.Queue()
    workers = [context.Process(target=_work, args=(tmp_path, results)) for _ in range(3)]
    for worker in workers:
        worker.start()
    assert [results.get(timeout=120) for _ in workers] == [(True, 0)] * 3
    for worker in workers:
        worker.join(30)


def test_a_disk_that_refuses_does_not_stop_training(tmp_path, encoder, caplog):
    (tmp_path / "taken").write_text("a file where the folder should be")
    cache, batch = open_cache(tmp_path / "taken"), make_batch()
    assert torch.equal(cache(encoder, *batch), alone(encoder, *batch)) and cache.misses == 3 and not cache.damaged
    assert caplog.text.count("cannot be written") == 1


def test_counts_are_logged(tmp_path, encoder, caplog):
    caplog.set_level(logging.INFO)
    cache, batch = open_cache(tmp_path), make_batch([400])
    for _ in range(101):
        cache(encoder, *batch)
    assert [r.message for r in caplog.records] == [
        "99 clips from the encoder cache, 1 computed, 0 damaged files removed."
    ]
