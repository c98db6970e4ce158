#!/bin/bash
# A script for `slurm.script`: labrun in a virtual environment, with the cluster's modules. Copy it
# and change what your cluster needs; keep the placeholder of the job's command at its place.
#
#   lab run plugin=rlrt launcher=slurm slurm.script=modules.sh --dry-run
#
# What the keys of `lab` ask for (nodes, CPUs, GPUs, time, partition, account, qos) is put behind
# these options and wins.
#SBATCH --mem-per-cpu=3G

set -e
# module load cuda
export OMP_NUM_THREADS=$SLURM_CPUS_PER_TASK
# Data and caches on the node's own disk are quicker than on the network.
export TMPDIR=${SLURM_TMPDIR:-${TMPDIR:-/tmp}}

srun --kill-on-bad-exit=1 {worker}
