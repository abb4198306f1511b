"""What is wrong with a machine, or with the machines of a job, and what to do about it.

A check is a function that gives one `Finding`. Those of a machine are gathered by `examine`, those between the ranks of
a job by `ranks`; `over_ray` starts ranks where Ray has the machines.
"""
