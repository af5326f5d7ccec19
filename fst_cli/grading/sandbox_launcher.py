"""The first thing that runs in the child process of a sandbox: locks the door behind itself, then runs the worker.

It is a Python and ctypes launcher and not a script of unshare, mount and setpriv, because the interpreter has to start
anyway: one exec instead of fifteen (35 ms instead of 80), no dependence on util-linux's version, and every refused
step has a name. It imports neither fst_cli nor json nor signal (the last two take as long as Python's start).

There is no /proc inside: Python needs none, containers refuse to mount one, and what is not there cannot be read.
"""

# pathlib takes 10 ms to import, so:
# ruff: noqa: PTH102, PTH103, PTH106, PTH112, PTH116, PTH120, PTH123, PTH208, PTH211
import ctypes
import os
import select
import sys
from typing import Any

MS_RDONLY, MS_NOSUID, MS_NODEV, MS_REMOUNT, MS_BIND, MS_REC, MS_PRIVATE = 1, 2, 4, 32, 4096, 16384, 1 << 18
MNT_DETACH = 2
NEW_NS, NEW_CGROUP, NEW_UTS, NEW_IPC, NEW_USER, NEW_PID, NEW_NET = (
    0x00020000, 0x02000000, 0x04000000, 0x08000000, 0x10000000, 0x20000000, 0x40000000,
)  # fmt: skip
PR_SET_PDEATHSIG, PR_SET_DUMPABLE, PR_SET_KEEPCAPS, PR_CAPBSET_DROP = 1, 4, 8, 24
PR_SET_CHILD_SUBREAPER, PR_SET_NO_NEW_PRIVS, PR_CAP_AMBIENT, PR_CAP_AMBIENT_CLEAR_ALL = 36, 38, 47, 4
SYS_MOUNT_SETATTR = 442  # the same on every architecture, like every system call since Linux 5.1
SYS_PIVOT_ROOT = {"x86_64": 155, "aarch64": 41, "riscv64": 41, "ppc64le": 203, "s390x": 217}
SYS_KEYCTL = {"x86_64": 250, "aarch64": 219, "riscv64": 219}
SIGKILL = 9
CAP_DAC_READ_SEARCH = 1 << 2
JAIL = "jail"

_libc = ctypes.CDLL(None, use_errno=True)


def _check(result: int, step: str) -> None:
    if result < 0:
        number = ctypes.get_errno()
        raise OSError(number, f"{step}: {os.strerror(number)}")


def _prctl(option: int, value: int = 0, third: int = 0) -> int:
    return int(_libc.prctl(option, *(ctypes.c_ulong(number) for number in (value, third, 0, 0))))


def _mount(source: str, target: str, kind: str | None, flags: int, options: str = "") -> None:
    result = _libc.mount(
        source.encode(), target.encode(), kind.encode() if kind else None, ctypes.c_ulong(flags), options.encode()
    )
    _check(result, f"mount {target}")


def enter(config: dict[str, Any]) -> None:
    """Return in the sandboxed process only; the processes that watch it stay in here and exit with its status.

    Raises OSError with the step that the machine refused.
    """
    if config["level"] == "namespaces":
        _enter_namespaces(config)
    elif config["level"] == "bubblewrap":
        _drop_privileges(config["uid"])
    else:
        _enter_group(config["uid"])
    _limit(config)


def _enter_group(uid: int | None) -> None:
    """No isolation: only a supervisor that all descendants fall to, daemons too, and that kills them at the end.

    Root becomes a uid of its own that may still read (Python may lie in /root): `os.kill(-1, 9)` by a program of root
    would end every process of the machine.
    """
    _check(_prctl(PR_SET_CHILD_SUBREAPER, 1), "subreaper")
    child = os.fork()
    if child:
        status = _watch(child)
        _kill_descendants()
        os._exit(status)
    _check(_prctl(PR_SET_KEEPCAPS, 1), "keep capabilities")
    _drop_privileges(uid, CAP_DAC_READ_SEARCH if uid is not None else 0)
    _check(_prctl(PR_SET_PDEATHSIG, SIGKILL), "parent death signal")


def _kill_descendants() -> None:
    while True:
        try:
            with open(f"/proc/self/task/{os.getpid()}/children") as file:
                children = [int(pid) for pid in file.read().split()]
        except OSError:
            children = []
        for pid in children:
            os.kill(pid, SIGKILL)
        try:
            os.waitpid(-1, 0 if children else os.WNOHANG)
        except ChildProcessError:
            return


def _enter_namespaces(config: dict[str, Any]) -> None:
    outer = os.getuid(), os.getgid()
    flags = NEW_NS | NEW_CGROUP | NEW_UTS | NEW_IPC | NEW_PID | NEW_NET
    _check(_libc.unshare(flags | (NEW_USER if config["uid"] is None else 0)), "unshare")
    if config["uid"] is None:
        _map_user(*outer)
    _forbid_shared_memory()
    _mount("none", "/", None, MS_REC | MS_PRIVATE)
    _build_root(config)
    child = os.fork()
    if child:
        os._exit(_watch(child))
    # From here on we are process 1 of the namespace: when it ends, the kernel kills all the others.
    _check(_prctl(PR_SET_PDEATHSIG, SIGKILL), "parent death signal")
    _drop_privileges(config["uid"])
    worker = os.fork()
    if worker:
        _reap(worker)
    os.setsid()


def _forbid_shared_memory() -> None:
    """No System V segments: detached ones count towards no process's memory. Where the kernel lets us say so."""
    try:
        with open("/proc/sys/kernel/shmmni", "w") as file:
            file.write("0")
    except OSError:
        pass


def _map_user(uid: int, gid: int) -> None:
    for name, text in (("setgroups", "deny"), ("uid_map", f"1000 {uid} 1"), ("gid_map", f"1000 {gid} 1")):
        with open(f"/proc/self/{name}", "w") as file:
            file.write(text)


def _build_root(config: dict[str, Any]) -> None:
    """A small tmpfs that holds the jail. It goes over /proc, which is everywhere and holds nothing we bind."""
    base = "/proc"
    _mount("tmpfs", base, "tmpfs", MS_NOSUID | MS_NODEV, "size=1m,mode=755")
    jail = f"{base}/{JAIL}"
    os.makedirs(f"{jail}/tmp")
    # Before the binds: packages may lie under /tmp, in a temporary virtual environment.
    _mount("tmpfs", f"{jail}/tmp", "tmpfs", MS_NOSUID | MS_NODEV, f"size={config['disk']},nr_inodes=4096,mode=1777")
    os.makedirs(f"{jail}/dev")
    for path in config["binds"]:
        _bind(path, jail, writable=False)
    for path, target in config["links"]:
        os.symlink(target, jail + path)
    for name in ("null", "zero", "urandom"):
        _bind(f"/dev/{name}", jail, writable=True)
    old = f"{base}/old"
    os.mkdir(old)
    _check(_libc.syscall(SYS_PIVOT_ROOT[os.uname().machine], base.encode(), old.encode()), "pivot_root")
    os.chdir("/")
    _check(_libc.umount2(b"/old", MNT_DETACH), "umount")
    os.rmdir("/old")
    _mount("none", "/", None, MS_REMOUNT | MS_BIND | MS_RDONLY | MS_NOSUID | MS_NODEV)
    # The kernel grants no user namespace to a chrooted process, so a program cannot win capabilities back.
    os.chroot(f"/{JAIL}")
    os.chdir("/tmp")


def _bind(path: str, jail: str, writable: bool) -> None:
    target = jail + path
    if os.path.isdir(path):
        os.makedirs(target, exist_ok=True)
    else:
        os.makedirs(os.path.dirname(target), exist_ok=True)
        os.close(os.open(target, os.O_CREAT | os.O_WRONLY, 0o644))
    _mount(path, target, None, MS_BIND | MS_REC)
    if not writable:
        # struct mount_attr: attr_set (read-only, nosuid, nodev), attr_clr, propagation, userns_fd; with submounts
        attributes = (ctypes.c_uint64 * 4)(MS_RDONLY | MS_NOSUID | MS_NODEV, 0, 0, 0)
        recursive = 0x8000
        result = _libc.syscall(SYS_MOUNT_SETATTR, -100, target.encode(), recursive, ctypes.byref(attributes), 32)
        _check(result, f"read-only {path}")


def _drop_privileges(uid: int | None, kept: int = 0) -> None:
    """Become a user without capabilities (but `kept`), for good; `uid` None is not root and stays who it is."""
    for capability in range(64):
        if _prctl(PR_CAPBSET_DROP, capability) < 0:
            break  # past the kernel's last one, or without the right: then there are none to lose
    _prctl(PR_CAP_AMBIENT, PR_CAP_AMBIENT_CLEAR_ALL)
    if uid is not None:
        os.setgroups([])
        os.setresgid(uid, uid, uid)
        os.setresuid(uid, uid, uid)
    version_3 = (ctypes.c_uint32 * 2)(0x20080522, 0)
    sets = (ctypes.c_uint32 * 6)(kept, kept)  # effective, permitted, inheritable; twice 32 bits
    if _libc.capset(ctypes.byref(version_3), ctypes.byref(sets)) < 0:
        sets = (ctypes.c_uint32 * 6)()  # a container without the one to be kept
        _check(_libc.capset(ctypes.byref(version_3), ctypes.byref(sets)), "capset")
    _check(_prctl(PR_SET_NO_NEW_PRIVS, 1), "no new privileges")
    if keyctl := SYS_KEYCTL.get(os.uname().machine):
        _libc.syscall(keyctl, 1, None)  # a session keyring of its own; refused only where there are no keyrings
    # No ptrace of process 1 by the program; and setresuid cleared the death signal.
    _check(_prctl(PR_SET_DUMPABLE, 0), "dumpable")
    if os.getpid() == 1:
        _check(_prctl(PR_SET_PDEATHSIG, SIGKILL), "parent death signal")


def _watch(child: int) -> int:
    """Wait for `child`, and kill it when whoever started us closes our standard input or dies. Its status."""
    for fd in (1, 2):
        os.close(fd)
    descriptor = os.pidfd_open(child)
    poll = select.poll()
    poll.register(0, 0)  # no event but the hang-up
    poll.register(descriptor, select.POLLIN)
    ready = dict(poll.poll())
    if descriptor not in ready:
        os.kill(child, SIGKILL)
    return _status(os.waitpid(child, 0)[1])


def _reap(worker: int) -> None:
    for fd in (0, 1, 2):
        os.close(fd)
    while True:
        pid, status = os.wait()
        if pid == worker:
            os._exit(_status(status))


def _status(status: int) -> int:
    code = os.waitstatus_to_exitcode(status)
    return code if code >= 0 else 128 - code


def _limit(config: dict[str, Any]) -> None:
    import resource

    processes = config["processes"] + (_processes_of_user() if config["shared_uid"] else 1)
    for kind, value in (
        (resource.RLIMIT_AS, config["memory"]),
        (resource.RLIMIT_CPU, config["cpu"] + 1),
        (resource.RLIMIT_FSIZE, config["file_size"]),
        (resource.RLIMIT_NOFILE, config["open_files"]),
        (resource.RLIMIT_NPROC, processes),
        (resource.RLIMIT_CORE, 0),
    ):
        hard = resource.getrlimit(kind)[1]
        value = value if hard == resource.RLIM_INFINITY else min(value, hard)
        # Processor time ends with SIGXCPU, a second later with SIGKILL.
        soft = value - 1 if kind == resource.RLIMIT_CPU else value
        resource.setrlimit(kind, (soft, value))


def _processes_of_user() -> int:
    """Threads of this user on the machine, where the limit counts them all."""
    count, uid = 0, os.getuid()
    for name in os.listdir("/proc"):
        try:
            if name.isdigit() and os.stat(f"/proc/{name}").st_uid == uid:
                count += len(os.listdir(f"/proc/{name}/task"))
        except OSError:
            continue
    return count


def main(config: dict[str, Any]) -> None:
    """Enter the sandbox and run the worker's code in it."""
    try:
        enter(config)
    except OSError as error:
        os.write(2, f"sandbox: {error}\n".encode())
        os._exit(125)
    sys.path += config["packages"]
    del sys.argv[:], sys.orig_argv[:]
    exec(config["worker"], {"__name__": "__main__", "OUTPUT": config["output"]})


if __name__ == "__main__":
    main(globals()["CONFIG"])  # set by the line that `sandbox.py` gives to `python -c`
