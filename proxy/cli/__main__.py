"""`python -m proxy.cli VERB`: the same as the console script `headgate`."""

from . import main

main(prog_name="headgate")
