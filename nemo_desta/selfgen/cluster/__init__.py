"""`engine=ray`: the shards of a self-generation dealt out over a Ray cluster by Ray Data, then merged.

    one Ray Data block per shard -> pool of workers, each with the LLM loaded once -> ordinary work logs -> merge_shards

The books are those of `shard=i/n`: work log, lock and summary of each shard, on a file system that all nodes share. So a
worker that is killed loses nothing, its shard is begun again by another and goes on where the log ends, and a second
start of the same command makes what is missing.
"""

from nemo_desta.selfgen.cluster.options import RayOptions
from nemo_desta.selfgen.cluster.run import run_on_ray

__all__ = ["RayOptions", "run_on_ray"]
