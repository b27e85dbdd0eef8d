"""The simulation: the real code of devices, admission, projection, sync, office, media and billing in one process."""
