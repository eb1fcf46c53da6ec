"""Take a model through benchmarks: python examples/desta_eval.py model=... output_dir=... benchmarks.sakura.data=..."""

from nemo_desta.configs import run_script
from nemo_desta.evaluation.run import SCHEMA, run

if __name__ == "__main__":
    run_script(run, default_config="desta_eval", schema=SCHEMA)
