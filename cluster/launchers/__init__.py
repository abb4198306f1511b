"""Places where jobs run, one file each: this machine, Slurm, Ray. They know nothing of what a job does."""
