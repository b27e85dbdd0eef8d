"""The ledger: its port, its store on Postgres, tree, checkpoints, keys, what is founded and what is verified."""
