"""The shard format: one writer, one reader.

Written: `writer` makes a tar, `shard_files` puts it where it belongs and writes its JSON, `dataset` and `ledger` end
the set. Read: `shard_set` opens a set and says where each sample lies (`sample_table`), `members` makes a sample of the
bytes there. What verifies reads the tar by its own, stricter rules (`tar_run`); `foreign` has an index for tars of
others.
"""
