"""Turn a training checkpoint into a model folder: python examples/desta_to_hf.py checkpoint=... output=..."""

from nemo_desta.configs import run_script
from nemo_desta.serving.export import SCHEMA, run

if __name__ == "__main__":
    run_script(run, default_config="export", schema=SCHEMA)
