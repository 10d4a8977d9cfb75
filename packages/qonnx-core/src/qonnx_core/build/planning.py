"""Which options of a build reach which backend's `plan`, and whether a backend that does not fold meets the target."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import TYPE_CHECKING

from qonnx_core.errors import InvalidInput

if TYPE_CHECKING:
    from qonnx_core.backend import Backend, Design
    from qonnx_core.build.context import Context
    from qonnx_core.partition import Partition

FOLDING_OPTION = "folding"


def plan_part(context: Context, part: Partition) -> Design:
    """Return the design of one part; each backend gets the options that it names in ``plan_options``.

    Raises:
        InvalidInput: a folding is given and no backend of the build folds, or a backend that does not fold is slower
            than the target.
        Unsupported: the backend does not build the part.
    """
    backend = context.backends[part.backend]
    taken = _taken(backend)
    wanted = context.config.backend_options()
    folders = [other for other in context.parts if FOLDING_OPTION in _taken(context.backends[other.backend])]
    if FOLDING_OPTION in wanted and not folders:
        raise InvalidInput(
            f"--folding: no part is built by a backend that folds (found {', '.join(sorted(context.backends))}); "
            "expected it together with one, such as finn. Leave the option out, or choose another --backend."
        )
    options = {name: value for name, value in wanted.items() if name in taken}
    if FOLDING_OPTION in options and len(folders) > 1:
        options[FOLDING_OPTION] = _folding_for(context, part, folders)
    design = backend.plan(context.forms[part.name], context.target, options)
    if not set(wanted) - {FOLDING_OPTION} <= taken:
        _require_rate(context, part, design)
    return design


def _taken(backend: Backend) -> frozenset[str]:
    return frozenset(getattr(backend, "plan_options", ()))


def _folding_for(context: Context, part: Partition, folders: Sequence[Partition]) -> object:
    """Return the folding without the entries that name nodes of the other parts; as it is where it is no object.

    Positional names count within a part, so with several parts they reach all of them.
    """
    path = context.config.folding
    if path is None:
        raise AssertionError("asked for the folding of a build without one")
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return path  # the backend says what is wrong with it
    if not isinstance(content, dict):
        return path
    elsewhere = {node for other in folders if other is not part for node in other.nodes}
    return {key: value for key, value in content.items() if key not in elsewhere}


def _require_rate(context: Context, part: Partition, design: Design) -> None:
    """Refuse a target that a backend without folding does not meet."""
    config = context.config
    cycles = context.backends[part.backend].estimate(design).cycles
    reached = 1e9 / config.clock_ns / cycles
    if config.target_cycles is not None and cycles > config.target_cycles:
        found, asked, way = f"{cycles} cycles a frame", f"--target-cycles {config.target_cycles}", "Raise it"
    elif config.target_fps is not None and reached < config.target_fps:
        found, asked, way = f"{reached:.0f} frames a second", f"--target-fps {config.target_fps:g}", "Lower it"
    else:
        return
    raise InvalidInput(
        f"{asked}: {part.name} does {found}, and {part.backend} folds nothing that would change it. "
        f"{way}, or give the part's nodes to another backend."
    )
