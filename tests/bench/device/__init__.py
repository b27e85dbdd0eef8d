"""`make bench-device`: what a device costs its user, and what ten thousand of them cost the platform on this machine.

`store` measures the SDK's own disk, `fleet` a day's backlog of many light devices through the real servers, `wire` the bytes of
syncs, `peer` the same edits through PouchDB. No test asserts a figure of it.
"""
