"""Namespaces of one's own, where the kernel gives them: no network, no shared memory of others, a scratch folder in memory.

They are a second wall behind Landlock and the filter, and the only way to bound what many files take together. Containers often
forbid them; then the walls before them hold alone.
"""

from __future__ import annotations

import contextlib
import ctypes
import os
import struct
from typing import Final

from holdfast.sandbox.kernel import checked, libc, prctl, syscall

__all__ = ["drop_capabilities", "own"]

NEW_MOUNTS: Final = 0x00020000
NEW_IPC: Final = 0x08000000
NEW_USER: Final = 0x10000000
NEW_NETWORK: Final = 0x40000000
NOSUID, NODEV, NOEXEC, RECURSIVE, PRIVATE = 2, 4, 8, 16384, 1 << 18
PR_CAPBSET_DROP: Final = 24
CAPABILITIES: Final = 64
CAPSET: Final = {"x86_64": 126, "aarch64": 91}
CAPABILITY_VERSION: Final = 0x20080522


def own(scratch: str, scratch_mb: int) -> bool:
    """Leave the machine's network, shared memory and mounts; `scratch` becomes a small file system in memory.

    False, and nothing is changed, where that is not allowed.
    """
    user, group = os.getuid(), os.getgid()
    parts = NEW_MOUNTS | NEW_IPC | NEW_NETWORK
    try:
        try:
            checked(libc().unshare(parts))
        except OSError:
            checked(libc().unshare(parts | NEW_USER))
            for name, text in (
                ("setgroups", "deny"),
                ("uid_map", f"{user} {user} 1"),
                ("gid_map", f"{group} {group} 1"),
            ):
                with open(f"/proc/self/{name}", "w", encoding="ascii") as file:  # noqa: PTH123 - no pathlib in here
                    file.write(text)
        _mount("none", "/", "", RECURSIVE | PRIVATE, "")
        if scratch:
            _mount("scratch", scratch, "tmpfs", NOSUID | NODEV | NOEXEC, f"size={scratch_mb}m,nr_inodes=4096,mode=700")
    except OSError:
        return False
    return True


def _mount(source: str, target: str, kind: str, flags: int, data: str) -> None:
    texts = [ctypes.c_char_p(text.encode()) for text in (source, target, kind, data)]
    checked(libc().mount(texts[0], texts[1], texts[2], ctypes.c_ulong(flags), texts[3]))


def drop_capabilities(machine: str) -> None:
    """Even root keeps none: neither now nor by executing anything."""
    for number in range(CAPABILITIES):
        with contextlib.suppress(OSError):  # not one that this kernel knows, or not ours to drop
            prctl(PR_CAPBSET_DROP, number)
    header = ctypes.create_string_buffer(struct.pack("=Ii", CAPABILITY_VERSION, 0), 8)
    syscall(CAPSET[machine], header, ctypes.create_string_buffer(24))
