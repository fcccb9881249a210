"""`python -m paydesk` is `paydesk`."""

from paydesk.cli import main

main()
