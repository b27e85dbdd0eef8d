"""Devices: enrolment, incarnations, sessions, suspensions, and the warden that cuts what must end."""
