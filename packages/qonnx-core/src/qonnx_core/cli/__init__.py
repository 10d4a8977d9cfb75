"""The `qonnx` command: one file per subcommand, errors as one sentence, exit codes that tell failure.

Exit codes: 0 done; 1 the model, the data or an option was refused; 2 the command line itself was wrong; 3 two results
that have to be equal differ; 4 an external tool is missing or failed; 130 interrupted.
"""

from __future__ import annotations

import os
import sys

from qonnx_core.errors import Mismatch, QonnxError, ToolFailed, ToolMissing

EXIT_REFUSED = 1
EXIT_MISMATCH = 3
EXIT_TOOL = 4
EXIT_INTERRUPTED = 130


def main() -> None:
    """Run the command line and exit with its code."""
    arguments = sys.argv[1:]
    debug = "--debug" in arguments
    arguments = [argument for argument in arguments if argument != "--debug"]
    sys.exit(run_command_line(arguments, debug=debug))


def run_command_line(arguments: list[str], *, debug: bool = False) -> int:
    """Return the exit code of a command line; with ``debug`` errors are raised with their traceback instead."""
    import click

    from qonnx_core.cli.app import command

    try:
        code = command().main(args=arguments, prog_name="qonnx", standalone_mode=False)
    except click.exceptions.Exit as stop:
        return int(stop.exit_code)
    except click.ClickException as error:
        error.show()
        return int(error.exit_code)
    except (KeyboardInterrupt, click.Abort):
        print("interrupted; finished steps are kept, the same command goes on from there", file=sys.stderr)
        return EXIT_INTERRUPTED
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return EXIT_REFUSED
    except (QonnxError, OSError) as error:
        if debug:
            raise
        print(f"error: {error}", file=sys.stderr)
        return exit_code(error)
    return int(code or 0) if isinstance(code, int) else 0


def exit_code(error: Exception) -> int:
    """Return the exit code that tells this kind of failure."""
    if isinstance(error, Mismatch):
        return EXIT_MISMATCH
    if isinstance(error, ToolMissing | ToolFailed):
        return EXIT_TOOL
    return EXIT_REFUSED
