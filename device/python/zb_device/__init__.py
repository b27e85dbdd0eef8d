"""Zone Blanche on the technician's device: what is recorded is signed, kept encrypted, and sent when there is a network.

`Device` is the whole SDK; the other modules are its parts. It needs `zb_contracts` and no server package.
"""
