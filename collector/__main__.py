"""`python -m collector` is `isochrone-collector`."""

import sys

from collector.cli import main

sys.exit(main())
