"""The system calls that a sandboxed child may not make, or only of itself, by the numbers of each machine.

    sockets; processes and signals; what changes a file without opening it; shared memory, which no limit counts; what others'
    processes run as; memory that is a file; kernel keys, tracing and programs; mounts, machine, clocks and modules

Reference: Linux 6.12, arch/x86/entry/syscalls/syscall_64.tbl and scripts/syscall.tbl.
"""

from __future__ import annotations

from typing import Final

__all__ = ["ANYWHERE", "NUMBERS"]

# fmt: off
NUMBERS: Final[dict[str, dict[str, int]]] = {
    "x86_64": {
        "socket": 41, "socketpair": 53, "bind": 49, "connect": 42, "listen": 50, "accept": 43, "accept4": 288,
        "kill": 62, "tkill": 200, "tgkill": 234, "rt_sigqueueinfo": 129, "rt_tgsigqueueinfo": 297, "clone": 56,
        "fork": 57, "vfork": 58, "execve": 59, "execveat": 322, "ptrace": 101, "process_vm_readv": 310,
        "process_vm_writev": 311, "kcmp": 312, "setpgid": 109, "setsid": 112, "chmod": 90, "fchmod": 91,
        "fchmodat": 268, "chown": 92, "fchown": 93, "lchown": 94, "fchownat": 260, "utime": 132, "utimes": 235,
        "futimesat": 261, "utimensat": 280, "truncate": 76, "mknod": 133, "mknodat": 259, "setxattr": 188,
        "lsetxattr": 189, "fsetxattr": 190, "removexattr": 197, "lremovexattr": 198, "fremovexattr": 199,
        "shmget": 29, "shmat": 30, "semget": 64, "msgget": 68, "mq_open": 240, "prlimit64": 302, "setpriority":
        141, "ioprio_set": 251, "sched_setaffinity": 203, "sched_setscheduler": 144, "sched_setparam": 142,
        "sched_setattr": 314, "migrate_pages": 256, "move_pages": 279, "memfd_create": 319, "userfaultfd": 323,
        "bpf": 321, "perf_event_open": 298, "add_key": 248, "request_key": 249, "keyctl": 250, "unshare": 272,
        "setns": 308, "chroot": 161, "pivot_root": 155, "mount": 165, "umount2": 166, "swapon": 167, "swapoff":
        168, "reboot": 169, "sethostname": 170, "setdomainname": 171, "acct": 163, "quotactl": 179, "syslog":
        103, "vhangup": 153, "personality": 135, "settimeofday": 164, "adjtimex": 159, "clock_settime": 227,
        "clock_adjtime": 305, "init_module": 175, "finit_module": 313, "delete_module": 176, "kexec_load": 246,
        "kexec_file_load": 320, "open_by_handle_at": 304, "fanotify_init": 300, "lookup_dcookie": 212, "iopl":
        172, "ioperm": 173, "modify_ldt": 154, "fcntl": 72, "ioctl": 16,
    },
    "aarch64": {
        "socket": 198, "socketpair": 199, "bind": 200, "connect": 203, "listen": 201, "accept": 202, "accept4":
        242, "kill": 129, "tkill": 130, "tgkill": 131, "rt_sigqueueinfo": 138, "rt_tgsigqueueinfo": 240,
        "clone": 220, "execve": 221, "execveat": 281, "ptrace": 117, "process_vm_readv": 270,
        "process_vm_writev": 271, "kcmp": 272, "setpgid": 154, "setsid": 157, "fchmod": 52, "fchmodat": 53,
        "fchown": 55, "fchownat": 54, "utimensat": 88, "truncate": 45, "mknodat": 33, "setxattr": 5,
        "lsetxattr": 6, "fsetxattr": 7, "removexattr": 14, "lremovexattr": 15, "fremovexattr": 16, "shmget":
        194, "shmat": 196, "semget": 190, "msgget": 186, "mq_open": 180, "prlimit64": 261, "setpriority": 140,
        "ioprio_set": 30, "sched_setaffinity": 122, "sched_setscheduler": 119, "sched_setparam": 118,
        "sched_setattr": 274, "migrate_pages": 238, "move_pages": 239, "memfd_create": 279, "userfaultfd": 282,
        "bpf": 280, "perf_event_open": 241, "add_key": 217, "request_key": 218, "keyctl": 219, "unshare": 97,
        "setns": 268, "chroot": 51, "pivot_root": 41, "mount": 40, "umount2": 39, "swapon": 224, "swapoff": 225,
        "reboot": 142, "sethostname": 161, "setdomainname": 162, "acct": 89, "quotactl": 60, "syslog": 116,
        "vhangup": 58, "personality": 92, "settimeofday": 170, "adjtimex": 171, "clock_settime": 112,
        "clock_adjtime": 266, "init_module": 105, "finit_module": 273, "delete_module": 106, "kexec_load": 104,
        "kexec_file_load": 294, "open_by_handle_at": 265, "fanotify_init": 262, "lookup_dcookie": 18, "fcntl":
        25, "ioctl": 29,
    },
}
"""By machine."""
ANYWHERE: Final[dict[str, int]] = {
    "pidfd_send_signal": 424, "io_uring_setup": 425, "io_uring_enter": 426, "io_uring_register": 427,
    "open_tree": 428, "move_mount": 429, "fsopen": 430, "fsconfig": 431, "fsmount": 432, "fspick": 433,
    "pidfd_open": 434, "clone3": 435, "pidfd_getfd": 438, "process_madvise": 440, "mount_setattr": 442,
    "quotactl_fd": 443, "memfd_secret": 447, "process_mrelease": 448, "fchmodat2": 452,
}
"""The same on every machine: what came since Linux 5.1."""
# fmt: on
