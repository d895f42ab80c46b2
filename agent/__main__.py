"""`python -m agent` is `isochrone-agent`."""

import sys

from agent.cli import main

sys.exit(main())
