"""`python -m zb` is the `zb` command, for those who have no console script at hand (supervisors, tests).

Nothing of its own is here.
"""

from zb.cli import main

main(prog_name="zb")
