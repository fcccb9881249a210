"""`python -m paydesk` is `paydesk`."""

import os
import signal
import sys

if os.getpid() == 1:
    # In a container the first process has no default for SIGTERM: without this, one that comes
    # while the rest is being loaded would be lost.
    signal.signal(signal.SIGTERM, lambda _signal, _frame: sys.exit(0))

from paydesk.cli import main

main()
