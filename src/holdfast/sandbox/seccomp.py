"""A filter of system calls: no sockets, no new processes, no signals to others, and nothing that changes the machine.

What Landlock leaves open is closed here: UDP and every other kind of socket, `fork`, signals where the kernel is too old to scope
them, and what changes a file without opening it (mode, owner, times). Threads stay possible. The filter is a small program for
the kernel's own machine; calls that came after it was written are answered as an older kernel would, so that nothing new gets in.

References: Linux kernel, userspace-api/seccomp_filter.rst; S. McCanne and V. Jacobson, "The BSD packet filter", USENIX 1993.
"""

from __future__ import annotations

import ctypes
import errno
import os
import struct
from typing import Final

from holdfast.sandbox.kernel import MACHINE, prctl
from holdfast.sandbox.syscalls import ANYWHERE, NUMBERS

__all__ = ["install", "known", "program"]

PR_SET_SECCOMP: Final = 22
MODE_FILTER: Final = 2
AUDIT: Final = {"x86_64": 0xC000003E, "aarch64": 0xC00000B7}
X32: Final = 0x40000000
NEWEST: Final = 463
"""Calls from this number on (`setxattrat` and later) are unknown here."""
CLONE_THREAD: Final = 0x00010000
AF_UNIX: Final = 1

LOAD: Final = 0x20
EQUAL: Final = 0x15
AT_LEAST: Final = 0x35
ANY_BIT: Final = 0x45
RETURN: Final = 0x06
ALLOW: Final = 0x7FFF0000
REFUSE: Final = 0x00050000
KILL: Final = 0x80000000
NUMBER, ARCHITECTURE, FIRST, SECOND = 0, 4, 16, 24
"""Where the kernel puts them; of the arguments the lower halves."""

Step = tuple[int, int, int, int]


def known() -> bool:
    """Whether the calls of this machine are known here."""
    return MACHINE in NUMBERS


def install() -> None:
    """From now on, for ever; needs "no new privileges" and a single thread."""
    content = b"".join(struct.pack("=HBBI", *step) for step in program(os.getpid()))
    steps = ctypes.create_string_buffer(content, len(content))
    prog = struct.pack("@HxxxxxxP", len(content) // 8, ctypes.addressof(steps))
    prctl(PR_SET_SECCOMP, MODE_FILTER, ctypes.create_string_buffer(prog, len(prog)))


def program(pid: int, machine: str = MACHINE) -> list[Step]:
    """The filter of the process `pid`, step by step: (code, steps to jump if so, if not, operand)."""
    numbers = NUMBERS[machine] | ANYWHERE
    steps: list[Step] = [
        (LOAD, 0, 0, ARCHITECTURE),
        (EQUAL, 1, 0, AUDIT[machine]),
        (RETURN, 0, 0, KILL),
        (LOAD, 0, 0, NUMBER),
        (AT_LEAST, 0, 1, X32),
        (RETURN, 0, 0, KILL),
        (AT_LEAST, 0, 1, NEWEST),
        (RETURN, 0, 0, REFUSE | errno.ENOSYS),
    ]
    for name, number in numbers.items():
        steps += _rule(name, number, pid)
    return [*steps, (RETURN, 0, 0, ALLOW)]


def _rule(name: str, number: int, pid: int) -> list[Step]:
    refuse: Step = (RETURN, 0, 0, REFUSE | (errno.ENOSYS if name in _ABSENT else errno.EPERM))
    if name == "clone":
        good: list[Step] = [(ANY_BIT, 0, 1, CLONE_THREAD), (RETURN, 0, 0, ALLOW)]
    elif name == "socketpair":
        good = [(EQUAL, 0, 1, AF_UNIX), (RETURN, 0, 0, ALLOW)]
    elif name in _SECOND:
        tests: list[Step] = [(EQUAL, len(_SECOND[name]) - i, 0, word) for i, word in enumerate(_SECOND[name])]
        return [
            (EQUAL, 0, len(tests) + 3, number),
            (LOAD, 0, 0, SECOND),
            *tests,
            (RETURN, 0, 0, ALLOW),
            refuse,
        ]
    elif name in _OWN:
        good = [(EQUAL, 1, 0, pid), (EQUAL, 0, 1, 0 if name in _OWN_IS_0 else pid), (RETURN, 0, 0, ALLOW)]
    else:
        return [(EQUAL, 0, 1, number), refuse]
    return [(EQUAL, 0, len(good) + 2, number), (LOAD, 0, 0, FIRST), *good, refuse]


_ABSENT: Final = frozenset({"clone3", "memfd_create", "memfd_secret", "io_uring_setup"})
"""Their callers know what to do on a kernel without them."""
_OWN: Final = frozenset({"kill", "tgkill", "prlimit64", "sched_setaffinity"})
"""Allowed where the first argument is the process itself."""
_OWN_IS_0: Final = frozenset({"prlimit64", "sched_setaffinity"})
"""Here 0 means oneself, too; for `kill` it means the whole process group."""
_SECOND: Final = {"fcntl": (8, 15, 1031), "ioctl": (0x8901, 0x8902, 0x5412)}
"""Refused with these second arguments: who else gets signals for a file, a pipe's size, and typing into a terminal."""
