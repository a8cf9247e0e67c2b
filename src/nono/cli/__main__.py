"""`python -m nono.cli`: the command line without its script."""

from nono.cli import main

main()
