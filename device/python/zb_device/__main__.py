"""`python -m zb_device` is `zb-device`."""

from zb_device.cli import main

main(prog_name="zb-device")
