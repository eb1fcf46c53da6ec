"""Computed attributes: `python examples/desta_attributes.py cuts=<manifest> output_dir=<dir> [key=value ...]`."""

from nemo_desta.attributes.run import SCHEMA, run
from nemo_desta.configs import run_script

if __name__ == "__main__":
    run_script(run, default_config="attributes", schema=SCHEMA)
