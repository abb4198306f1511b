"""Claims of papers as experiments: what is trained and judged for each, and what came of it."""
