"""`zb fleet`: the devices of the company, as their administrators work with them. Each module is one noun of that work."""
