"""The projection: ledger rows to states, scopes and announcements; partitions, replays and swaps."""
