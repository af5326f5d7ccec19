"""`python -m fst_cli` is `fst`."""

from fst_cli.app import main

main()
