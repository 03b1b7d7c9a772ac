"""`python -m ops`, which is `make run`: quiet even when it is interrupted before it can say what it does."""

import signal
import sys

# Ctrl-C while the imports below run (half a second) would show where in them; the default is to end without a word.
signal.signal(signal.SIGINT, signal.SIG_DFL)

from ops.run import main  # noqa: E402

if __name__ == "__main__":
    sys.exit(main())
