"""What a program inside cannot reach, each attempt under every isolating level of this machine."""

import os
import socket
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path

import pytest

from fst_cli.data.errors import RunError, UsageError
from fst_cli.grading import sandbox
from fst_cli.grading.program import Program, run_script
from fst_cli.grading.sandbox import Limits, Sandbox, SandboxError
from tests.grading import levels

FAST = Limits(wall=1.0)
REPO = Path(sandbox.__file__).parents[2]


@pytest.fixture(params=levels.ISOLATED)
def isolated(request, monkeypatch):
    levels.use(request.param, monkeypatch)
    return request.param


@pytest.fixture(params=levels.LEVELS)
def any_level(request, monkeypatch):
    levels.use(request.param, monkeypatch)
    return request.param


def inside(body, limits=FAST):
    """What the body of a function without arguments returns, or the type of what it raises."""
    indented = "\n".join(f"    {line}" for line in body.splitlines())
    with Program(f"import os, sys, socket, ctypes\ndef f():\n{indented}\n", limits) as program:
        assert program.loaded.status == "ok", program.loaded
        outcome = program.call("f")
    return outcome.value if outcome.status == "ok" else outcome.error or outcome.status


REFUSED = ("FileNotFoundError", "PermissionError", "OSError", "NotADirectoryError")


@pytest.mark.parametrize(
    "path",
    ["/root/.bashrc", "/etc/passwd", "/etc/shadow", "/home", "/proc/1/environ", "/sys/kernel", "/var", "/dev/mem"],
)
def test_files_of_the_host_are_not_there(isolated, path):
    assert inside(f"p = {path!r}\nreturn os.listdir(p) if os.path.isdir(p) else open(p).read()") in REFUSED


def test_the_repository_and_the_running_folder_are_not_there(isolated):
    for path in (REPO, Path.cwd(), Path(__file__).parent):
        assert inside(f"return os.listdir({str(path)!r})") in REFUSED


def test_the_whole_tree_holds_python_and_nothing_of_a_user(isolated):
    assert set(inside("return os.listdir('/')")) <= {
        "usr",
        "lib",
        "lib32",
        "lib64",
        "bin",
        "sbin",
        "dev",
        "tmp",
        "etc",
    } | {Path(os.path.realpath(sys.base_prefix)).parts[1]}
    assert set(inside("return os.listdir('/etc')")) <= {"ld.so.cache"}
    assert sorted(inside("return os.listdir('/dev')")) == ["null", "urandom", "zero"]


@pytest.mark.parametrize("folder", ["/", "/usr", "/usr/lib", "/dev", "/etc", os.path.realpath(sys.base_prefix)])
def test_nothing_can_be_written_but_the_small_working_folder(isolated, folder):
    assert inside(f"return open({folder + '/written'!r}, 'w').write('x')") in REFUSED
    assert inside("return os.getcwd(), open('x', 'w').write('abc'), os.listdir()") == ("/tmp", 3, ["x"])


def test_the_working_folder_is_limited_and_leaves_nothing_behind(isolated):
    body = "for i in range(20): open(f'left-{i}', 'wb').write(bytes(4 << 20))"
    assert inside(body, Limits(wall=5.0)) == "OSError"
    assert not list(Path(tempfile.gettempdir()).glob("left-*"))


def test_no_mount_of_the_host_changes(isolated):
    before = Path("/proc/mounts").read_text()
    inside("return 1")
    assert Path("/proc/mounts").read_text() == before


def test_the_environment_is_empty(any_level, monkeypatch):
    monkeypatch.setenv("OPENAI_API_KEY", "secret")
    names = inside("return dict(os.environ)")
    assert "OPENAI_API_KEY" not in names
    assert set(names) <= {"PATH", "LANG", "PWD", "TMPDIR"}


def test_a_listener_of_the_host_cannot_be_reached(isolated):
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
        assert inside(f"return socket.create_connection(('127.0.0.1', {port}), 0.5) and 1") in (
            "OSError",
            "ConnectionRefusedError",
        )
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as datagrams:
            datagrams.bind(("127.0.0.1", 0))
            datagrams.settimeout(0.3)
            port = datagrams.getsockname()[1]
            inside(f"return socket.socket(2, socket.SOCK_DGRAM).sendto(b'x', ('127.0.0.1', {port}))")
            with pytest.raises(TimeoutError):
                datagrams.recv(1)


@pytest.mark.parametrize("abstract", [True, False])
def test_a_unix_socket_of_the_host_cannot_be_reached(isolated, abstract, tmp_path):
    name = f"\0fst-test-{os.getpid()}" if abstract else str(tmp_path / "socket")
    with socket.socket(socket.AF_UNIX) as server:
        server.bind(name)
        server.listen()
        assert inside(f"return socket.socket(socket.AF_UNIX).connect({name!r})") in (*REFUSED, "ConnectionRefusedError")


def test_processes_of_the_host_cannot_be_seen_signalled_or_traced(isolated):
    assert inside(f"os.kill({os.getpid()}, 0)") == "ProcessLookupError"
    assert inside("return os.getpid() < 10 and os.getppid() < 10") is True
    assert inside("import ctypes\nreturn ctypes.CDLL(None).ptrace(16, 1, 0, 0)") == -1  # PTRACE_ATTACH to process 1


def test_killing_everything_one_can_see_kills_only_oneself(isolated):
    inside("[os.kill(pid, 9) for pid in (os.getppid(), -1)]")
    inside("for signal in range(1, 32):\n    try: os.kill(-1, signal)\n    except OSError: pass")
    assert inside("return 1") == 1


def test_there_are_no_capabilities_and_none_to_win(isolated):
    assert inside("return os.getuid() != 0 and os.geteuid() != 0") is True
    assert inside("return os.setuid(0)") == "PermissionError"
    assert inside("return [ctypes.CDLL(None).prctl(23, i, 0, 0, 0) for i in range(30)].count(1)") == 0  # CAPBSET_READ
    assert inside("return ctypes.CDLL(None).prctl(39, 0, 0, 0, 0)") == 1  # PR_GET_NO_NEW_PRIVS
    assert inside("return ctypes.CDLL(None).mount(b'none', b'/tmp', b'tmpfs', 0, b'')") == -1
    assert inside("return os.chroot('/tmp')") == "PermissionError"


def test_our_own_namespaces_refuse_shared_segments_and_another_user_namespace(monkeypatch):
    levels.use("namespaces", monkeypatch)
    if os.getuid() == 0:
        before = Path("/proc/sys/kernel/shmmni").read_text()
        assert inside("return ctypes.CDLL(None).shmget(0, 4096, 0o1600)") == -1
        assert Path("/proc/sys/kernel/shmmni").read_text() == before != "0\n"
    assert inside("return ctypes.CDLL(None).unshare(0x10000000)") == -1


def test_processes_and_threads_are_limited(any_level):
    if any_level == "none" and os.getuid():
        pytest.skip("the limit of a user's processes is above those that run already")
    bomb = "pids = []\ntry:\n    while len(pids) < 100:\n        pid = os.fork()\n        if not pid:\n            import time; time.sleep(9)\n        pids.append(pid)\nexcept OSError:\n    return len(pids)\n"
    assert inside(bomb) <= 16
    threads = "import threading, time\nn = 0\ntry:\n    while n < 100:\n        threading.Thread(target=time.sleep, args=(9,), daemon=True).start()\n        n += 1\nexcept RuntimeError:\n    return n\n"
    assert inside(threads) <= 16


def test_a_fork_bomb_ends(isolated):
    started = time.monotonic()
    inside("while True:\n    try: os.fork()\n    except OSError: pass", Limits(wall=0.5))
    assert time.monotonic() - started < 8


def test_a_daemon_does_not_outlive_its_program(any_level):
    name = f"fst{os.getpid()}"
    body = f"""
if os.fork() == 0:
    os.setsid()
    if os.fork() == 0:
        ctypes.CDLL(None).prctl(15, b'{name}', 0, 0, 0)
        for signal in range(1, 32):
            try: __import__('signal').signal(signal, 1)
            except (OSError, ValueError): pass
        os.closerange(0, 64)
        __import__('time').sleep(60)
    os._exit(0)
__import__('time').sleep(0.2)
return 1"""
    assert inside(body) == 1
    assert levels.gone(name)
    indented = "\n".join(line for line in body.splitlines()[:-1])
    assert run_script(f"import os, ctypes\n{indented}\nprint(1)", limits=FAST).stdout == "1\n"
    assert levels.gone(name)


def test_blocked_signals_do_not_help(any_level):
    body = "import signal\nsignal.pthread_sigmask(0, range(1, 64))\nwhile True: pass"
    assert inside(body, Limits(wall=0.3)) == "timeout"


def test_a_large_file_is_refused(any_level):
    body = "import signal\nwith open('big', 'wb') as f:\n    for _ in range(100): f.write(bytes(1 << 20))"
    assert inside(body, Limits(wall=5.0)) == "OSError"


def test_open_files_are_limited(any_level):
    assert inside("files = [open('/dev/null') for _ in range(1000)]") == "OSError"


def test_processor_time_is_limited(any_level):
    assert inside("while True: pass", Limits(wall=5.0, cpu=1)) == "timeout"


def test_it_dies_with_a_parent_that_is_killed(any_level, tmp_path):
    name = f"fstk{os.getpid()}"
    loop = f"import ctypes\nctypes.CDLL(None).prctl(15, b'{name}', 0, 0, 0)\nwhile True: pass"
    code = f"from fst_cli.grading.program import Program\nProgram({loop!r})"
    # Under `none` nobody is left to remove the working folder.
    environment = {**os.environ, "TMPDIR": str(tmp_path)}
    parent = subprocess.Popen([sys.executable, "-c", code], cwd=REPO, stderr=subprocess.DEVNULL, env=environment)
    try:
        deadline = time.monotonic() + 20
        while not levels.named(name) and time.monotonic() < deadline:
            time.sleep(0.05)
        assert levels.named(name)
    finally:
        parent.kill()
        parent.wait()
    deadline = time.monotonic() + 5
    while levels.named(name) and time.monotonic() < deadline:
        time.sleep(0.05)
    assert not levels.named(name)


def test_many_threads_at_once(monkeypatch):
    levels.use(levels.best(), monkeypatch)
    found = []

    def work(number):
        with Program("def f(x): return x + 1", FAST) as program:
            found.append(program.call("f", [number]).value == number + 1)

    threads = [threading.Thread(target=work, args=(number,)) for number in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert found == [True] * 8


def test_the_level_is_named_and_can_be_forced(any_level):
    assert sandbox.isolation() == any_level


def test_an_unknown_level_is_a_usage_error(monkeypatch):
    monkeypatch.setenv("FST_SANDBOX", "jail")
    with pytest.raises(UsageError, match="FST_SANDBOX=jail"):
        sandbox.isolation()


def test_without_isolation_nothing_runs_unless_asked_for(monkeypatch):
    monkeypatch.delenv("FST_SANDBOX", raising=False)
    monkeypatch.setattr(sandbox, "probe", lambda level: "not here")
    sandbox.level.cache_clear()
    try:
        with pytest.raises(RunError, match="no sandbox") as caught:
            Program("x = 1")
        assert "FST_SANDBOX=none" in caught.value.hint
        monkeypatch.setenv("FST_SANDBOX", "none")
        assert sandbox.isolation() == "none"
    finally:
        sandbox.level.cache_clear()


def test_a_sandbox_that_does_not_start_is_the_graders_failure(monkeypatch):
    monkeypatch.setenv("FST_SANDBOX", "none")
    with pytest.raises(SandboxError, match="did not start"):
        Sandbox(compile("import nothing_of_this_name", "<worker>", "exec"), FAST)
    monkeypatch.setattr(sandbox, "_python", lambda: ["/nowhere/python"])
    with Program("x = 1", FAST) as program:
        assert program.loaded.status == program.call("f").status == "grader"
    assert run_script("x = 1", limits=FAST).status == "grader"
