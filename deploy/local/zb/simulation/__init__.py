"""`zb fleet simulate`: an office and a fleet of devices on a real platform, day by day, and what became of every event.

The devices are processes of the SDK's simulator (`python -m zb_device.simulator`), which sign, send and verify as devices do.
Here are the office that gives them work, the orders, the comparison with the ledger, and the report.
"""
