"""`make bench-ledger`: how fast segments become receipts and states on this machine, beside the limits of each single stage.

`workload` says what people write, `corpus` signs it once, `machine` runs the real servers and the roles of field-ingest, the
measurements each have a module, `report` sets the figures beside the targets. No test asserts a figure of it.
"""
