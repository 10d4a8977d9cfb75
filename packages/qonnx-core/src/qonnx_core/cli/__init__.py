"""The `qonnx` command: one file per subcommand, errors as one sentence, exit codes that tell failure.

Exit codes: 0 done; 1 the model, the data or an option was refused; 2 the command line itself was wrong; 3 two results
that have to be equal differ, or simulated hardware breaks its contract; 4 an external tool is missing or failed;
128 + n ended by signal n, so 130 by Ctrl-C.
"""

from __future__ import annotations

import sys

DEBUG = "--debug"


def main() -> None:
    """Run the command line and exit with its code."""
    from qonnx_core.cli.app import app

    # The option belongs to no subcommand and may stand anywhere; the application takes it in front.
    arguments = sys.argv[1:]
    front = [DEBUG] if DEBUG in arguments else []
    app(args=front + [argument for argument in arguments if argument != DEBUG], prog_name="qonnx")
