"""`python -m deploy.quickstart`, which is what `make run` does."""

import sys

from agent.runtime.lifecycle import ExitStatus

if __name__ == "__main__":
    try:
        # imported here, so that Ctrl-C while it loads ends it as quietly as later
        from deploy.quickstart.play import main
    except KeyboardInterrupt:
        sys.exit(ExitStatus.INTERRUPTED)
    sys.exit(main())
