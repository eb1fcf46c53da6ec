#!/usr/bin/env bash
# Train on several machines without a scheduler: start this on each of them, with the same arguments.
#
#   NODES=2 RENDEZVOUS=first-machine:29500 examples/launch/torchrun_multi_node.sh --config-name=desta25_llama31_8b train_records=...
#
# NODES       machines
# RENDEZVOUS  host:port on one of them, which the others can reach
# GPUS, DEVICE, STRATEGY, GRACE  as in torchrun_one_node.sh; GPUS is of each machine
# JOB         a name that is the same on all machines (default: desta)
#
# exp_manager.exp_dir must lie on a disk that all machines see, and so must the data.
set -euo pipefail

: "${NODES:?set NODES to the number of machines}"
: "${RENDEZVOUS:?set RENDEZVOUS to host:port of one of the machines}"
DEVICE=${DEVICE:-gpu}
GPUS=${GPUS:-$(nvidia-smi --list-gpus | wc -l)}
export TORCH_ELASTIC_SHUTDOWN_TIMEOUT=${GRACE:-300}
export PET_SIGNALS_TO_HANDLE=SIGTERM,SIGINT,SIGHUP,SIGQUIT,SIGUSR1

exec torchrun --nnodes="$NODES" --nproc-per-node="$GPUS" --rdzv-id="${JOB:-desta}" --rdzv-backend=c10d \
    --rdzv-endpoint="$RENDEZVOUS" \
    -m nemo_desta.cli train "$@" \
    "trainer.accelerator=$DEVICE" "trainer.devices=$GPUS" "trainer.num_nodes=$NODES" "trainer.strategy=${STRATEGY:-desta_ddp}"
