"""Bad input: every reader of bytes from outside, fed with what no honest party sends.

`targets` lists the readers with what they may raise, `samples` has good messages, `bombs` the attacks by name, `mutation` makes
new ones of good samples. `make fuzz` searches for long (with coverage where atheris is installed), `make test` for a moment;
what was found is kept in `regressions/` and read for ever.
"""
