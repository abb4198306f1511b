"""What keeps a run going that nobody looks at: bad steps and rollbacks, hangs, stragglers."""
