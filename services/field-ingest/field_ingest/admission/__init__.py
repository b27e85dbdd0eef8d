"""Admission: messages from the broker, verified, decided and written; what is set aside, and what waits."""
