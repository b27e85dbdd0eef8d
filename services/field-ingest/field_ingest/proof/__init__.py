"""What leaves the ledger as proof: tiles of the log, and exports that a stranger verifies without our code."""
