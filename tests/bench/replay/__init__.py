"""How fast the ledger is folded again, and how long a proof takes: `make bench-replay`.

The ledger is filled with the signed corpus of `tests.bench.ledger` by COPY: admission is not what is measured here.
"""
