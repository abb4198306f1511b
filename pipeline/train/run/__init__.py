"""A run's folder, here and on storage: its lock, its clock, how it is stopped and gone on with."""
