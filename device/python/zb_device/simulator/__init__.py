"""Fleets of devices in one process: what `zb fleet simulate` and `make bench-device` run against a real platform.

A light device is this SDK without its encrypted store: real keys, a real chain, real sessions, every answer and receipt
verified, its log in memory. A few devices of a fleet are whole ones, store and all. It starts no server and judges no figures.
"""
