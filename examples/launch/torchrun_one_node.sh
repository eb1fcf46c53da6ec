#!/usr/bin/env bash
# Train on all GPUs of this machine, or on several processes of a CPU.
#
#   GPUS=8 examples/launch/torchrun_one_node.sh --config-name=desta25_llama31_8b train_records=... audio_root=...
#
# GPUS      processes, one for each GPU; all GPUs by default
# DEVICE    gpu (default) or cpu
# STRATEGY  desta_ddp (default) or desta_fsdp2
# GRACE     seconds a process has to save itself after SIGTERM: longer than a step and a checkpoint take (default 300)
#
# Everything else is an override of the configuration. Started again with the same line, it goes on where it stopped.
set -euo pipefail

DEVICE=${DEVICE:-gpu}
GPUS=${GPUS:-$(nvidia-smi --list-gpus | wc -l)}
export TORCH_ELASTIC_SHUTDOWN_TIMEOUT=${GRACE:-300}
export PET_SIGNALS_TO_HANDLE=SIGTERM,SIGINT,SIGHUP,SIGQUIT,SIGUSR1

exec torchrun --standalone --nproc-per-node="$GPUS" \
    -m nemo_desta.cli train "$@" \
    "trainer.accelerator=$DEVICE" "trainer.devices=$GPUS" "trainer.strategy=${STRATEGY:-desta_ddp}"
