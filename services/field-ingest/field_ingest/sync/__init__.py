"""Sync: what a device lacks, in one signed answer."""
