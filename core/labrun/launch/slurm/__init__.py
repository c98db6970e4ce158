"""`launcher=slurm`: sbatch scripts, and what SLURM says of their jobs."""
