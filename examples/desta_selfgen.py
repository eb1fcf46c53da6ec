"""Self-generation: `python examples/desta_selfgen.py cuts=<manifest> output_dir=<dir> [key=value ...]`."""

from nemo_desta.configs import run_script
from nemo_desta.selfgen.engine import SCHEMA, run

if __name__ == "__main__":
    run_script(run, default_config="desta_selfgen", schema=SCHEMA)
