"""Landlock: the process gives up all of the file system but the paths that it names, for ever.

Each version of the interface knows more rights. All that a kernel knows are taken away, so that a newer kernel contains more,
and older ones still everything that the first version knew: read, write, execute, create and remove.

Reference: Linux kernel, userspace-api/landlock.rst, and uapi/linux/landlock.h.
"""

from __future__ import annotations

import ctypes
import errno
import os
import struct
from collections.abc import Iterable
from typing import Final

from holdfast.sandbox.kernel import syscall

__all__ = ["restrict", "version"]

CREATE_RULESET: Final = 444
ADD_RULE: Final = 445
RESTRICT_SELF: Final = 446
"""The same numbers on every machine."""
PATH_BENEATH: Final = 1
ASK_VERSION: Final = 1

EXECUTE: Final = 1 << 0
WRITE_FILE: Final = 1 << 1
READ_FILE: Final = 1 << 2
READ_DIR: Final = 1 << 3
TRUNCATE: Final = 1 << 14
IOCTL_DEV: Final = 1 << 15
ON_FILES: Final = EXECUTE | WRITE_FILE | READ_FILE | TRUNCATE | IOCTL_DEV
RIGHTS: Final = {1: 13, 2: 14, 3: 15, 4: 15, 5: 16}
"""How many rights on files each version knows; later ones add none."""
TCP: Final = 0b11
"""Bind and connect, from version 4."""
SCOPES: Final = 0b11
"""Abstract sockets and signals, from version 6."""
OPEN: Final = os.O_CLOEXEC | getattr(os, "O_PATH", 0)


def version() -> int:
    """Of this kernel's Landlock; 0: it has none, or it is switched off."""
    try:
        return syscall(CREATE_RULESET, None, 0, ASK_VERSION)
    except OSError as bad:
        if bad.errno in {errno.ENOSYS, errno.EOPNOTSUPP, errno.EPERM}:
            return 0
        raise


def restrict(read: Iterable[str], write: Iterable[str]) -> int:
    """From now on this thread, and all that it starts, may read below `read`, and also write below `write`; nothing else.

    Paths that do not exist are left out; nothing may be executed. Needs "no new privileges". Returns the version.
    """
    known = version()
    every = (1 << RIGHTS[min(known, 5)]) - 1
    rules = struct.pack("=QQQ", every, TCP if known >= 4 else 0, SCOPES if known >= 6 else 0)
    size = 24 if known >= 6 else 16 if known >= 4 else 8
    ruleset = syscall(CREATE_RULESET, ctypes.create_string_buffer(rules, len(rules)), size, 0)
    try:
        for path in read:
            _allow(ruleset, path, READ_FILE | READ_DIR)
        for path in write:
            _allow(ruleset, path, every & ~EXECUTE & ~IOCTL_DEV)
        syscall(RESTRICT_SELF, ruleset, 0)
    finally:
        os.close(ruleset)
    return known


def _allow(ruleset: int, path: str, rights: int) -> None:
    try:
        handle = os.open(path, OPEN)
    except (FileNotFoundError, NotADirectoryError, PermissionError):
        return
    try:
        if not os.path.isdir(path):  # noqa: PTH112 - the child has no need of pathlib
            rights &= ON_FILES
        rule = struct.pack("=Qi", rights, handle)
        syscall(ADD_RULE, ruleset, PATH_BENEATH, ctypes.create_string_buffer(rule, len(rule)), 0)
    finally:
        os.close(handle)
