"""One technician's day, played on the real system and checked while it is told.

The play waits for positions and receipts, never by sleeping; each step ends in promises that hold or do not.
"""
