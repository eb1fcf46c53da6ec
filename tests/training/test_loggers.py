"""What a person looks at while a training runs: TensorBoard, W&B, the log lines, the progress bar."""

import fcntl
import io
import logging
import os
import pty
import re
import struct
import subprocess
import sys
import termios

import numpy as np
import pytest
import soundfile
from omegaconf import OmegaConf
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from nemo_desta.errors import ConfigError
from nemo_desta.training.train import run

from .conftest import table, training_cfg


@pytest.fixture(scope="module")
def outcome(corpus, tmp_path_factory):
    """Eight steps, two validations."""
    cfg = training_cfg(corpus, tmp_path_factory.mktemp("run"))
    cfg.trainer.max_steps, cfg.samples.num_per_set = 8, 2
    return run(cfg)


@pytest.fixture(scope="module")
def events(outcome):
    (file,) = outcome.log_dir.glob("**/events.out.tfevents*")
    return EventAccumulator(str(file), size_guidance={"audio": 0, "tensors": 0}).Reload()


def test_rate_gradient_norm_padding_and_throughput_are_logged(events):
    wanted = {
        "learning_rate",
        "gradient_norm",
        "padding_share",
        "samples_per_second",
        "target_tokens_per_second",
        "loss",
        "val_loss_dev",
    }
    assert wanted <= set(events.Tags()["scalars"])
    assert all(len(events.Scalars(name)) == 8 for name in wanted - {"val_loss_dev"})
    assert all(e.value > 0 for e in events.Scalars("gradient_norm"))


def test_padding_share_is_what_the_rows_hold_beside_tokens(events):
    """Twelve records in batches of two, padded: some rows are shorter, none is half empty."""
    shares = [e.value for e in events.Scalars("padding_share")]
    assert max(shares) > 0 and all(0 <= s < 0.5 for s in shares)


def test_throughput_agrees_with_the_table(outcome, events):
    rows = table(outcome.log_dir)
    for row, event in zip(rows, events.Scalars("target_tokens_per_second"), strict=True):
        assert event.value == pytest.approx(int(row["target_tokens"]) / float(row["step_seconds"]), rel=0.01)


def test_answers_are_in_tensorboard_at_each_validation_and_their_clips_once(events, corpus):
    (tag,) = [t for t in events.Tags()["tensors"] if t.startswith("samples/dev")]
    texts = [e.tensor_proto.string_val[0].decode() for e in events.Tensors(tag)]
    assert len(texts) == 2
    assert all(text.count("answer:") == 2 and "target: A tone." in text for text in texts)
    audio = events.Tags()["audio"]
    assert sorted(audio) == ["samples/dev/r0", "samples/dev/r1"]
    (event,) = events.Audio(audio[0])
    assert event.sample_rate == 16000
    heard, _ = soundfile.read(io.BytesIO(event.encoded_audio_string))
    clip, _ = soundfile.read(corpus / "clips" / "0.wav")
    assert np.abs(heard - clip).max() < 1e-4


def test_log_lines_tell_samples_seen_and_time_left(make_cfg, tmp_path, caplog):
    with caplog.at_level(logging.INFO, "nemo_desta"):
        run(make_cfg(tmp_path))
    lines = [r.getMessage() for r in caplog.records if r.getMessage().startswith("step 4/4")]
    assert lines and re.search(r"samples/s, 8 samples seen, 0 min left", lines[0])


def test_samples_seen_go_on_after_a_resume(make_cfg, tmp_path, caplog):
    run(make_cfg(tmp_path, "trainer.max_steps=2", "trainer.val_check_interval=2"))
    with caplog.at_level(logging.INFO, "nemo_desta"):
        run(make_cfg(tmp_path))
    assert any("step 4/4" in m and "8 samples seen" in m for m in (r.getMessage() for r in caplog.records))


def test_a_terminal_shows_a_bar_with_samples_and_time_left(make_cfg, tmp_path):
    file = tmp_path / "cfg.yaml"
    OmegaConf.save(make_cfg(tmp_path, "trainer.enable_progress_bar=true"), file)
    shown = _on_a_terminal([sys.executable, "-m", "nemo_desta.cli", "train", "--config-name", str(file)])
    assert re.search(r"training: +100%.*4/4 \[\d\d:\d\d<\d\d:\d\d.*loss=\d+\.\d+, samples=8", shown), shown[-3000:]
    assert "step 4/4" not in shown  # told once


def test_a_log_file_gets_lines_and_no_bar(make_cfg, tmp_path, caplog, capsys):
    with caplog.at_level(logging.INFO, "nemo_desta"):
        run(make_cfg(tmp_path, "trainer.enable_progress_bar=true"))
    assert any("step 4/4" in r.getMessage() for r in caplog.records)
    assert "training:" not in capsys.readouterr().err


def _on_a_terminal(command: list[str]) -> str:
    """What a command writes to a terminal, errors and all."""
    ours, theirs = pty.openpty()
    fcntl.ioctl(theirs, termios.TIOCSWINSZ, struct.pack("HHHH", 40, 140, 0, 0))
    process = subprocess.Popen(command, stdin=theirs, stdout=theirs, stderr=theirs)
    os.close(theirs)
    out = b""
    try:
        while part := os.read(ours, 65536):
            out += part
    except OSError:  # the other end is closed: this is how a pseudo-terminal ends
        pass
    assert process.wait(timeout=240) == 0, out.decode()[-3000:]
    return out.decode()


def test_wandb_without_a_project_is_refused_before_anything_is_built(make_cfg, tmp_path):
    with pytest.raises(ConfigError, match="wandb_logger_kwargs.project"):
        run(make_cfg(tmp_path, "exp_manager.create_wandb_logger=true"))


def test_a_missing_wandb_says_what_to_install(make_cfg, tmp_path, monkeypatch):
    monkeypatch.setattr("nemo_desta.training.loggers.find_spec", lambda name: None)
    with pytest.raises(ConfigError, match="pip install wandb"):
        run(make_cfg(tmp_path, "exp_manager.create_wandb_logger=true"))


def test_wandb_is_a_switch(make_cfg, tmp_path, monkeypatch):
    """Without a network: the run, its texts and its clips lie in a folder, for `wandb sync`."""
    wandb = pytest.importorskip("wandb")
    monkeypatch.setenv("WANDB_MODE", "offline")
    monkeypatch.setenv("WANDB_SILENT", "true")
    wanted = ["exp_manager.create_wandb_logger=true", "exp_manager.wandb_logger_kwargs.project=desta"]
    done = run(make_cfg(tmp_path, *wanted))
    wandb.finish()
    (folder,) = done.log_dir.parent.glob("wandb/offline-run-*")
    media = {p.suffix for p in (folder / "files" / "media").rglob("*") if p.is_file()}
    assert {".wav", ".json"} <= media


def test_a_wandb_that_refuses_says_what_to_do(make_cfg, tmp_path, monkeypatch):
    pytest.importorskip("wandb")

    def refuse(*args, **kwargs):
        raise RuntimeError("no key")

    monkeypatch.setattr("lightning.pytorch.loggers.wandb.WandbLogger.experiment", property(refuse))
    wanted = ["exp_manager.create_wandb_logger=true", "exp_manager.wandb_logger_kwargs.project=desta"]
    with pytest.raises(ConfigError, match="wandb login"):
        run(make_cfg(tmp_path, *wanted))


def test_clips_reach_the_loggers_as_they_sound():
    from nemo_desta.training.loggers import show_audio

    class Heard:
        def add_audio(self, tag, sound, step, sample_rate):
            self.got = (tag, sound.shape, step, sample_rate)

    from lightning.pytorch.loggers import TensorBoardLogger

    logger = TensorBoardLogger("unused")
    logger._experiment = heard = Heard()
    show_audio([logger], "samples/dev", {"a": np.zeros(160, dtype=np.float32)}, 3)
    assert heard.got == ("samples/dev/a", (1, 160), 3, 16000)
