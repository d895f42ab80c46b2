"""`isochrone-agent`, and `python -m agent`: the command, brought up fast."""

import gc
import os
import sys


def main() -> int:
    """Run the command that the arguments name, and give its exit status."""
    # Nothing of what is imported is garbage: looking for it again and again takes a tenth of the start. Who runs on
    # begins to look for it (`agent.runtime.memory.begin_collecting`).
    gc.disable()
    # Nothing here multiplies matrices: threads for that would spin for a tenth of a second, on the core beside ours.
    os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")
    # Nobody's plugins have a say in our settings: looking for some reads what each installed package says of itself.
    os.environ.setdefault("PYDANTIC_DISABLE_PLUGINS", "__all__")
    # only now, for these hold for what is imported from here on
    from agent.cli import main as run

    return run()


if __name__ == "__main__":
    sys.exit(main())
