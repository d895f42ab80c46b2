"""`python -m deploy.quickstart`, which is what `make run` does."""

import os
import signal
import sys

from agent.runtime.lifecycle import ExitStatus

if __name__ == "__main__":
    # While it loads there is nothing to be put away, and an exception could be lost: whatever Python runs as a
    # callback of its own swallows it.
    usual = signal.signal(signal.SIGINT, lambda number, frame: os._exit(ExitStatus.INTERRUPTED))
    from deploy.quickstart.play import main

    signal.signal(signal.SIGINT, usual)
    sys.exit(main())
