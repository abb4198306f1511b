"""Exit codes by which a job tells its launcher, a scheduler or a script what to do next."""

RESTART = 75
"""Saved and left as it was asked to (SIGTERM, SIGUSR2, SIGHUP, time limit): the same command goes on from there."""
HUNG = 76
"""Ended itself because it hung: the same command goes on from its last checkpoint. `launch_local` says RESTART."""
IN_USE = 77
"""Somebody else holds what only one may write at a time; nothing was done, and the same command may go on later."""
WRONG_INPUT = 2
INTERRUPTED = 130
"""Somebody pressed Ctrl-C."""
