"""Progress of a build on the terminal."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

from rich.text import Text

from qonnx_core.cli.common import progress_console
from qonnx_core.ir.printable import printable

if TYPE_CHECKING:
    from qonnx_core.build import Event


@contextmanager
def shown(prefix: str = "") -> Iterator[Callable[[Event], None]]:
    """Give a listener that shows the running step with a spinner and the finished ones as lines, on standard error.

    ``prefix`` is in front of each, for a script that builds several designs.
    """
    console = progress_console()
    with console.status(f"{prefix}starting") as status:

        def listen(event: Event) -> None:
            if event.kind == "remark":
                console.print(f"  {prefix}{event.text}", highlight=False, soft_wrap=True)
            elif event.kind == "started":
                status.update(Text(f"{prefix}{printable(event.text)}"))
            else:
                note = "kept" if event.kind == "kept" else f"{event.seconds:.1f} s"
                console.print(f"  {prefix}{event.text}: {note}", highlight=False, soft_wrap=True)

        yield listen
