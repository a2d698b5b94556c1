"""`python -m posttrain_diag` is `diag`."""

from posttrain_diag.cli.app import main

main()
