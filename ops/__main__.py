"""`python -m ops`, which is `make run`, and with `--reload` `make dev`.

Quiet even when it is interrupted before it can say what it does.
"""

import signal
import sys

# Ctrl-C while the imports below run (half a second) would show where in them; the default is to end without a word.
signal.signal(signal.SIGINT, signal.SIG_DFL)

from ops.arguments import Parser  # noqa: E402
from ops.run import main  # noqa: E402

if __name__ == "__main__":
    parser = Parser(prog="python -m ops", description="Everything on this machine, in the foreground, until Ctrl-C.")
    parser.add_argument("--reload", action="store_true", help="start the shop's processes anew when a source changes")
    sys.exit(main(reload=parser.parse_args().reload))
