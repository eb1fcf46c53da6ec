"""Training: `python examples/desta_train.py data.train_ds.input_cfg='[{type: desta, manifest_filepath: train.jsonl}]' ...`.

Several processes: `torchrun --nproc-per-node=8 examples/desta_train.py --config-name desta25_llama31_8b ...`.
"""

from nemo_desta.configs import run_script
from nemo_desta.nemo_sections import nemo_problems
from nemo_desta.training.train import SCHEMA, run

if __name__ == "__main__":
    run_script(run, default_config="desta_smol", schema=SCHEMA, foreign=nemo_problems)
