"""The `qonnx` command: one file per subcommand, errors as one sentence, exit codes that tell failure.

Exit codes: 0 done; 1 the model, the data or an option was refused; 2 the command line itself was wrong; 3 two results
that have to be equal differ, or simulated hardware breaks its contract; 4 an external tool is missing or failed;
128 + n ended by signal n, so 130 by Ctrl-C, and 141 where the reader of the output has gone.
"""

from __future__ import annotations

import sys

DEBUG = "--debug"


def main() -> None:
    """Run the command line and exit with its code."""
    try:
        from qonnx_core.cli.app import app
        from qonnx_core.cli.guard import refused
        from qonnx_core.cli.streams import standard_output

        # The option belongs to no subcommand and may stand anywhere; the application takes it in front.
        arguments = sys.argv[1:]
        front = [DEBUG] if DEBUG in arguments else []
        try:
            with standard_output():
                app(args=front + [argument for argument in arguments if argument != DEBUG], prog_name="qonnx")
        except OSError as error:  # of what is written outside of subcommands, such as help
            raise SystemExit(refused(error)) from None
    except KeyboardInterrupt:  # before a subcommand has begun
        sys.stderr.write("interrupted\n")
        raise SystemExit(130) from None
