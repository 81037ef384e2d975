"""`python -m gateway` is `threadway`."""

from gateway.cli import main

main()
