#!/bin/bash
# A script for `slurm.script`: labrun's job in an Apptainer image. Copy it and change what your
# cluster needs; keep the placeholder of the job's command at its place in the last line.
#
#   lab run plugin=rlrt launcher=slurm slurm.script=apptainer.sh slurm.python=python3 --dry-run
#
# What the keys of `lab` ask for (nodes, CPUs, GPUs, time, partition, account, qos) is put behind
# these options and wins.
#SBATCH --mem-per-cpu=3G

image=${LAB_IMAGE:-$HOME/labrun.sif}
# sbatch starts a job in the folder and with the variables of your shell.
runs=$(realpath -s "${LABRUN_HOME:-runs}")

# module load apptainer

options=(--bind "$runs:$runs" --env "LABRUN_HOME=$runs")
[ -z "$CUDA_VISIBLE_DEVICES" ] || options+=(--nv)
[ -z "$HF_HOME" ] || options+=(--bind "$HF_HOME:$HF_HOME")

srun --kill-on-bad-exit=1 apptainer exec "${options[@]}" "$image" {worker}
