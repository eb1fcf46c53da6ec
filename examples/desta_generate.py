"""Answer the conversations of a JSONL file: python examples/desta_generate.py model=... input=... output=..."""

from nemo_desta.configs import run_script
from nemo_desta.serving.generate import SCHEMA, run

if __name__ == "__main__":
    run_script(run, default_config="generate", schema=SCHEMA)
