"""What auditors and people read: states, history, reasons, the past, an intervention's dossier."""
