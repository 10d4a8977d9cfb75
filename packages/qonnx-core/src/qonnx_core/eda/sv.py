"""Small parts that every generator of SystemVerilog needs: safe names, memory files, the library's sources."""

from __future__ import annotations

import re
from collections.abc import Container, Iterable
from importlib import resources
from pathlib import Path

from qonnx_core.errors import InvalidInput
from qonnx_core.ir.names import unused_name

_RESERVED = frozenset(
    """
    accept_on alias always always_comb always_ff always_latch and assert assign assume automatic before begin bind
    bins binsof bit break buf bufif0 bufif1 byte case casex casez cell chandle checker class clocking cmos config
    const constraint context continue cover covergroup coverpoint cross deassign default defparam design disable
    dist do edge else end endcase endchecker endclass endclocking endconfig endfunction endgenerate endgroup
    endinterface endmodule endpackage endprimitive endprogram endproperty endsequence endspecify endtable endtask
    enum event eventually expect export extends extern final first_match for force foreach forever fork forkjoin
    function generate genvar global highz0 highz1 if iff ifnone ignore_bins illegal_bins implements implies import
    incdir include initial inout input inside instance int integer interconnect interface intersect join join_any
    join_none large let liblist library local localparam logic longint macromodule matches medium modport module
    nand negedge nettype new nexttime nmos nor noshowcancelled not notif0 notif1 null or output package packed
    parameter pmos posedge primitive priority program property protected pull0 pull1 pulldown pullup
    pulsestyle_ondetect pulsestyle_onevent pure rand randc randcase randsequence rcmos real realtime ref reg
    reject_on release repeat restrict return rnmos rpmos rtran rtranif0 rtranif1 s_always s_eventually s_nexttime
    s_until s_until_with scalared sequence shortint shortreal showcancelled signed small soft solve specify
    specparam static string strong strong0 strong1 struct super supply0 supply1 sync_accept_on sync_reject_on table
    tagged task this throughout time timeprecision timeunit tran tranif0 tranif1 tri tri0 tri1 triand trior trireg
    type typedef union unique unique0 unsigned until until_with untyped use uwire var vectored virtual void wait
    wait_order wand weak weak0 weak1 while wildcard wire with within wor xnor xor
    """.split()  # noqa: SIM905 - four hundred quotes would hide the words
)
_MAX_NAME = 120


def sv_identifier(name: str, taken: Container[str] = ()) -> str:
    """Return a plain identifier made from any text, no keyword of the language and none of ``taken``.

    Deterministic; letters, digits and single underscores only, so that every tool and every file system keeps it.
    """
    base = re.sub(r"_+", "_", re.sub(r"[^A-Za-z0-9]", "_", name)).strip("_")[:_MAX_NAME].rstrip("_")
    if not base or base[0].isdigit() or base.lower() in _RESERVED:
        base = f"n_{base}".rstrip("_")
    return unused_name(base, taken, first=2)


def write_hex(path: Path, words: Iterable[int], width: int) -> Path:
    """Write one word a line in hexadecimal for ``$readmemh`` and return the path; the same words give the same bytes.

    Words are integers of at most ``width`` bits, given as they lie in the memory; negative ones in two's complement.

    Raises:
        InvalidInput: for a word that does not fit, or no word at all.

    """
    if width < 1:
        raise InvalidInput(f"{path.name}: found a word width of {width}; expected at least 1 bit.")
    digits = -(-width // 4)
    lines = []
    for index, given in enumerate(words):
        word = int(given)
        if not -(1 << (width - 1)) <= word < (1 << width):
            raise InvalidInput(f"{path.name}: word {index} is {word}; expected a value of {width} bits.")
        lines.append(f"{word & ((1 << width) - 1):0{digits}x}\n")
    if not lines:
        raise InvalidInput(f"{path.name}: found no words; expected at least one.")
    path.write_text("".join(lines), encoding="ascii")
    return path


_HEX_WORD = re.compile(r"[0-9a-fA-F_]+|@[0-9a-fA-F]+")


def check_hex(path: Path) -> int:
    """Return the number of words of a ``$readmemh`` file.

    Raises:
        InvalidInput: if the file is missing, holds no word, or anything that is not a hexadecimal word.

    """
    try:
        text = path.read_text(encoding="ascii")
    except (OSError, UnicodeDecodeError) as error:
        raise InvalidInput(f"{path}: cannot be read as a memory file ({error}); emit the component again.") from error
    if "/" in text:
        text = re.sub(r"//[^\n]*|/\*.*?\*/", " ", text, flags=re.DOTALL)
    words = text.split()
    for index, word in enumerate(words):
        if not _HEX_WORD.fullmatch(word):
            raise InvalidInput(
                f"{path}: word {index} is {word[:40]!r}; expected hexadecimal. Emit the component again."
            )
    if not words:
        raise InvalidInput(f"{path}: found no words; expected a memory file with at least one. Emit it again.")
    return sum(1 for word in words if not word.startswith("@"))


def rtl_library(package: str = "qonnx_core.eda") -> Path:
    """Return the directory of a package's hand-written SystemVerilog (``<package>/rtl``)."""
    return Path(str(resources.files(package))) / "rtl"


def rtl_source(name: str, package: str = "qonnx_core.eda") -> Path:
    """Return the file of a library module; raise `InvalidInput` that lists the modules if there is none."""
    path = rtl_library(package) / f"{name}.sv"
    if not path.is_file():
        known = ", ".join(sorted(file.stem for file in rtl_library(package).glob("*.sv")))
        raise InvalidInput(f"RTL library of {package}: found no module {name!r}; expected one of {known}.")
    return path


_FIRST_WORD = re.compile(r"^\s*([A-Za-z_][A-Za-z0-9_]*)\s+[#A-Za-z_]", re.MULTILINE)


def rtl_sources(*names: str, package: str = "qonnx_core.eda") -> list[Path]:
    """Return the files of library modules and of those they instantiate, each once, a module before its users."""
    known = {file.stem for file in rtl_library(package).glob("*.sv")}
    found: dict[str, Path] = {}

    def add(name: str) -> None:
        if name in found:
            return
        path = rtl_source(name, package)
        words = set(
            re.findall(r"^\s*([A-Za-z_][A-Za-z0-9_]*)\s+#?\s*[(A-Za-z_]", path.read_text("utf-8"), re.MULTILINE)
        )
        for used in sorted((words & known) - {name}):
            add(used)
        found[name] = path

    for name in names:
        add(name)
    return list(found.values())
