"""What programs do and bring back; hostile ones end in bounded time as their own failure."""

import collections
import hashlib
import math
import os
import random
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fst_cli.grading import program, program_worker, sandbox
from fst_cli.grading.program import Program, decode, parse, run_script, run_scripts
from fst_cli.grading.program_tests import assert_tests, call_tests, same_output, same_value, stdin_tests
from fst_cli.grading.sandbox import Limits
from tests.grading import levels

FAST = Limits(wall=1.0)


@pytest.fixture(params=levels.LEVELS)
def level(request, monkeypatch):
    levels.use(request.param, monkeypatch)
    return request.param


@pytest.fixture
def best(monkeypatch):
    levels.use(levels.best(), monkeypatch)


def call(source, *args, name="f", limits=FAST):
    with Program(source, limits) as loaded:
        return loaded.call(name, args) if loaded.loaded.status == "ok" else loaded.loaded


scalars = st.none() | st.booleans() | st.integers() | st.floats() | st.text() | st.binary() | st.complex_numbers()
keys = st.integers() | st.text() | st.tuples(st.integers(), st.text())
values = st.recursive(
    scalars,
    lambda inner: (
        st.lists(inner, max_size=4)
        | st.lists(inner, max_size=3).map(tuple)
        | st.dictionaries(keys, inner, max_size=3)
        | st.sets(keys, max_size=4)
        | st.frozensets(keys, max_size=4)
    ),
    max_leaves=12,
)


def _sorted(value):
    """A repr that does not depend on the order of sets."""
    if isinstance(value, set | frozenset):
        return type(value).__name__, sorted(map(repr, value))
    if isinstance(value, list | tuple):
        return type(value).__name__, [_sorted(item) for item in value]
    return [(repr(key), _sorted(item)) for key, item in value.items()] if isinstance(value, dict) else repr(value)


@given(values)
@settings(max_examples=60, deadline=None)
def test_plain_data_comes_back_as_it_was(value):
    line = program_worker.encode(value, 1 << 20)
    assert line.isascii() and "\n" not in line
    assert _sorted(decode(parse(f'{{"ok":{line}}}'.encode())["ok"])) == _sorted(value)


@given(st.binary(max_size=200) | st.text(alphabet='{}[]":,truenlokintsd0', max_size=60).map(str.encode))
@settings(max_examples=300, deadline=None)
def test_garbage_from_a_program_is_never_an_exception(data):
    outcome = program._outcome(sandbox.Reply(data))
    assert outcome.status in ("ok", "error", "killed", "memory")


@pytest.mark.parametrize(
    ("line", "status"),
    [
        (b'{"ok":{"set":[[1]]}}', "killed"),
        (b'{"ok":{"int":"zz"}}', "killed"),
        (b'{"ok":{"int":7}}', "killed"),
        (b'{"ok":{"eval":"1"}}', "killed"),
        (b'{"ok":{}}', "killed"),
        (b'{"error":3}', "error"),
        (b"[" * 100_000, "killed"),
        (b'{"ok":' + b"[" * 50_000 + b"]" * 50_000 + b"}", "killed"),
    ],
)
def test_malformed_replies_are_the_programs_failure(line, status):
    assert program._outcome(sandbox.Reply(line)).status == status


def test_values_made_to_collide_do_not_hold_us_up():
    prime = (1 << 61) - 1
    line = '{"ok":{"set":[' + ",".join(f'{{"int":"{i * prime:x}"}}' for i in range(30_000)) + "]}}"
    started = time.monotonic()
    assert program._outcome(sandbox.Reply(line.encode())).status in ("ok", "killed")
    assert time.monotonic() - started < 30


def test_a_program_is_loaded_once_and_called_often(level):
    with Program("n = 0\ndef f(x):\n    global n\n    n += x\n    return n", FAST) as loaded:
        assert [loaded.call("f", [2]).value for _ in range(3)] == [2, 4, 6]


def test_types_survive_both_ways(level):
    value = [1, (2.5, None), {3: {4}, "a": b"x"}, 1 << 100, 1j, "é\n"]
    assert call("def f(x): return x", value).value == value
    outcome = call("import collections\ndef f(): return collections.Counter('aab'), float('inf')")
    assert outcome.value == ({"a": 2, "b": 1}, math.inf)


@pytest.mark.parametrize(
    ("source", "status", "error", "line"),
    [
        ("x = 1\ndef f(:\n", "error", "SyntaxError", 2),
        ("\n\nx = 1 / 0", "error", "ZeroDivisionError", 3),
        ("def f():\n    return {}[0]", "error", "KeyError", 2),
        ("def f():\n    raise ValueError('no')", "error", "ValueError", 2),
        ("def f(x): return 1", "error", "TypeError", 0),
        ("x = 1", "error", "NameError", 0),
        ("import sys\nsys.exit()", "error", "SystemExit", 2),
        ("def f(): exit()", "error", "NameError", 1),
        ("\0", "error", "ValueError", 0),
        ("def f(): return f", "error", "Unsupported", 0),
        ("def f(): return object()", "error", "Unsupported", 0),
        ("def f(): return f()", "error", "RecursionError", 1),
    ],
)
def test_errors_are_named_with_their_line(best, source, status, error, line):
    outcome = call(source)
    if source == "\0":  # another type in other versions of Python
        assert outcome.status == "error"
    else:
        assert (outcome.status, outcome.error, outcome.line) == (status, error, line)


HOSTILE = {
    "loop": ("def f():\n    while True: pass", {"timeout"}),
    "tower": ("def f(): return 9**9**9", {"timeout", "memory"}),
    "memory": ("def f(): return [bytes(1 << 28) for _ in range(99)]", {"memory"}),
    "slow memory": ("def f():\n    x = []\n    while True: x.append(x[:])", {"memory", "timeout"}),
    "print": ("def f():\n    while True: print('spam' * 100)", {"output_limit"}),
    "stderr": ("import os\ndef f():\n    while True: os.write(2, b'x' * 9999)", {"output_limit"}),
    "exit": ("import sys\ndef f(): sys.exit(0)", {"error"}),
    "hard exit": ("import os\ndef f(): os._exit(0)", {"killed"}),
    "hard exit at import": ("import os\nos._exit(0)", {"killed"}),
    "kill oneself": ("import os\ndef f(): os.kill(os.getpid(), 9)", {"killed"}),
    "segfault": ("import ctypes\ndef f(): ctypes.string_at(0)", {"killed"}),
    "abort": ("import os\ndef f(): os.abort()", {"killed"}),
    "deep recursion": ("import sys\nsys.setrecursionlimit(10**9)\ndef f(): return f()", {"killed", "memory", "error", "timeout"}),
    "deep result": ("def f():\n    x = []\n    for _ in range(10**5): x = [x]\n    return x", {"error"}),
    "circle": ("def f():\n    x = []\n    x.append(x)\n    return x", {"error"}),
    "wide circle": ("def f():\n    x = []\n    for _ in range(99): x = [x, x]\n    return x", {"error", "timeout"}),
    "huge result": ("def f(): return 'x' * (1 << 28)", {"error", "memory"}),
    "huge integer": ("def f(): return 1 << (1 << 25)", {"error"}),
    "garbage": ("import os\ndef f():\n    for fd in range(64):\n        try: os.write(fd, b'\\xff{garbage\\n')\n        except OSError: pass", {"killed"}),
    "forged": ("import os\ndef f():\n    for fd in range(3, 64):\n        try: os.write(fd, b'{\"ok\":{\"unsupported\":1,\"ok\":2}}\\n')\n        except OSError: pass", {"killed"}),
    "endless line": ("import os\ndef f():\n    while True:\n        for fd in range(3, 64):\n            try: os.write(fd, b'x' * 9999)\n            except OSError: pass", {"output_limit"}),
    "closed": ("import os\ndef f(): os.closerange(0, 99)", {"killed"}),
    "closed and looping": ("import os\ndef f():\n    os.closerange(0, 99)\n    while True: pass", {"killed", "timeout"}),
    "read the protocol": ("import os\ndef f():\n    for fd in range(3, 20):\n        try: os.read(fd, 99)\n        except OSError: pass", {"timeout"}),
    "patched": ("import builtins, sys, os\nfor m in (builtins, os, sys):\n    for n in dir(m):\n        try: setattr(m, n, None)\n        except Exception: pass\ndef f(): return 1", {"error", "killed", "ok"}),
    "bad error": ("class E(Exception):\n    def __str__(self): raise self\ndef f(): raise E", {"error"}),
    "base exception": ("class E(BaseException): pass\ndef f(): raise E", {"error"}),
    "stop the process": ("import os\ndef f(): os.kill(os.getpid(), 19)", {"timeout"}),
    "surrogates": ("def f(): return '\\ud800'", {"ok"}),
    "regular expression": ("import re\ndef f(): return re.match('(a+)+$', 'a' * 40 + 'b')", {"timeout"}),
}  # fmt: skip


@pytest.mark.parametrize("name", HOSTILE)
def test_a_hostile_program_ends_as_its_own_failure(level, name):
    source, expected = HOSTILE[name]
    started = time.monotonic()
    outcome = call(source, limits=Limits(wall=0.25, memory=256 << 20))
    assert outcome.status in expected, outcome
    assert time.monotonic() - started < 6


def test_after_a_time_out_all_later_calls_time_out_at_once(best):
    with Program("def f():\n    while True: pass\ndef g(): return 1", Limits(wall=0.3)) as loaded:
        assert loaded.call("f").status == "timeout"
        started = time.monotonic()
        assert loaded.call("g").status == "timeout"
        assert time.monotonic() - started < 0.1


def test_all_calls_together_have_a_limit_too(best):
    with Program("import time\ndef f(): time.sleep(0.2)", Limits(wall=1.0, total=0.5)) as loaded:
        assert [loaded.call("f").status for _ in range(4)][-1] == "timeout"


def test_a_script_reads_and_prints(level):
    result = run_script("import sys\nprint(int(input()) + len(sys.stdin.read()))", "40\nab", FAST)
    assert (result.status, result.stdout) == ("ok", "42\n")


@pytest.mark.parametrize(
    ("source", "status", "error", "line"),
    [
        ("x =", "error", "SyntaxError", 1),
        ("print(1)\nraise KeyError(3)", "error", "KeyError", 2),
        ("import sys\nsys.exit(3)", "error", "SystemExit", 0),
        ("import sys\nsys.exit(0)", "ok", "", 0),
        ("import os\nos._exit(0)", "ok", "", 0),
        ("while True: pass", "timeout", "", 0),
        ("while True: print('spam' * 1000)", "output_limit", "", 0),
        ("x = bytes(1 << 40)", "memory", "MemoryError", 1),
        ("import os\nos.kill(os.getpid(), 11)", "killed", "", 0),
        ("import os\nos.kill(os.getppid(), 9)", "killed", "Ended", 0),
        ("import os, time\nif os.fork() == 0: time.sleep(9)\nprint(1)", "ok", "", 0),
        ("import os\nos.close(1); os.close(2)\nwhile True: pass", "timeout", "", 0),
        ("import os\nwhile True:\n    try: os.fork()\n    except OSError: pass", "timeout", "", 0),
        ("input()", "error", "EOFError", 1),
    ],
)
def test_a_script_ends_in_one_of_these_ways(best, source, status, error, line):
    result = run_script(source, "", Limits(wall=0.4, memory=256 << 20))
    assert (result.status, result.error, result.line) == (status, error, line), result


def test_every_input_has_fresh_state_and_its_own_time(level):
    source = "n = int(input())\nglobals().setdefault('seen', []).append(n)\nwhile n == 1: pass\nprint(n, seen)"
    results = list(run_scripts(source, ["0", "1", "2"], Limits(wall=0.4)))
    assert [result.status for result in results] == ["ok", "timeout", "ok"]
    assert results[2].stdout == "2 [2]\n"


def test_one_megabyte_goes_in_and_out(best):
    text = "x" * 999_999
    assert run_script("print(input())", text, FAST).stdout == text + "\n"
    assert call("def f(x): return x", text).value == text


@pytest.mark.parametrize(
    ("expected", "got", "same"),
    [
        ("1 2\n3", "1 2 \n3\n\n", True),
        ("1\n2", "1 2", False),
        ("0.5", "0.5000000001", True),
        ("0.5", "0.51", False),
        ("1.0", "1", True),
        ("1000000000000", "1000000000001", False),
        ("01", "1", True),
        ("abc", "ABC", False),
        ("nan", "nan", True),
        ("1e5", "100000", True),
        ("1e999999999", "2", False),
        ("1", "1" * 100_000, False),
        ("", "\n", True),
        ("a", "", False),
    ],
)
def test_outputs_are_compared_by_lines_tokens_and_numbers(expected, got, same):
    assert same_output(expected, got) is same


@pytest.mark.parametrize(
    ("expected", "got", "same"),
    [
        ([1, 2], (1, 2), True),
        ([1, [2.0]], [1, [2.0000000001]], True),
        ({"1": 2}, {1: 2}, True),
        ({"1": 2}, {1: 3}, False),
        (True, 1, False),
        (1, True, False),
        (1, 1.0, True),
        (1.5, 10**400, False),
        ("a", "a", True),
        ([1], "1", False),
        (None, 0, False),
    ],
)
def test_results_are_compared_as_json_values(expected, got, same):
    assert same_value(expected, got) is same


ALWAYS = "class A:\n    __eq__ = __le__ = __lt__ = lambda *a: True\n    __hash__ = lambda s: 0\n    __abs__ = __sub__ = lambda *a: A()\n"
CHEATS = {
    "always equal": f"{ALWAYS}def f(x): return A()",
    "list subclass": "class L(list):\n    __eq__ = lambda *a: True\ndef f(x): return L()",
    "int subclass": "class I(int):\n    __eq__ = lambda *a: True\ndef f(x): return I()",
    "exit": "def f(x):\n    raise SystemExit(0)",
    "hard exit": "import os\ndef f(x): os._exit(0)",
    "no check": "import builtins\nbuiltins.AssertionError = Exception\ndef check(c): pass\ndef f(x): return None",
    "patched equality": "import builtins, operator\nbuiltins.all = builtins.any = builtins.isinstance = lambda *a: True\noperator.eq = lambda *a: True\ndef f(x): return 0",
    "frames": "import sys\ndef f(x):\n    frame, found = sys._getframe(), []\n    while frame:\n        found += [v for v in frame.f_locals.values() if v == 12]\n        frame = frame.f_back\n    return found[0] if found else 0",
    "objects": "import gc\ndef f(x):\n    for o in gc.get_objects():\n        if isinstance(o, dict) and 'expected' in o: return o['expected']",
    "files": "import os\ndef f(x):\n    return [p for p, _, names in os.walk('/tmp') for n in names]",
    "forged ends": "import os\ndef f(x):\n    for fd in range(64):\n        try: os.write(fd, b'{\"ok\":null}\\n')\n        except OSError: pass\n    return 0",
    "raised": "def f(x): raise AssertionError",
}  # fmt: skip
CHECK = "def check(candidate):\n    assert candidate(2) == 4\n    for x in (3, 6):\n        assert abs(candidate(x) - 2 * x) < 1e-6, 'no'\n"


@pytest.mark.parametrize("name", CHEATS)
def test_cheats_do_not_pass_tests(best, name):
    source = CHEATS[name]
    assert not assert_tests(source, [CHECK], FAST, entry="f").passed
    assert not assert_tests(source, ["assert abs(f(6) - 12) < 1e-9"], FAST).passed
    assert not call_tests(source, [("f", [6], 12)], FAST).passed
    assert not stdin_tests(f"{source}\nprint(f(6))", [("", "12")], FAST).passed


def test_right_programs_pass_every_kind_of_test(level):
    source = "def f(x): return 2 * x"
    assert assert_tests(source, [CHECK], FAST, entry="f").passed
    assert assert_tests(source, ["assert f(6) == 12", "assert f('a') == 'aa'"], FAST).passed
    assert assert_tests(source, ["assert set(f([y])) == {1}"], FAST, setup="y = 1").passed
    assert call_tests(source, [("f", [[1]], [1, 1])], FAST).passed
    assert call_tests("class S:\n    def f(self, x): return 2 * x", [("S().f", [6], 12)], FAST).passed
    assert stdin_tests("print(2 * int(input()))", [("6\n", "12\n")], FAST).passed


def test_the_first_failing_assert_is_named_with_call_and_result(best):
    finding = assert_tests("def f(x): return 4 if x == 2 else 7", [CHECK], FAST, entry="f")
    assert (finding.request, finding.got) == ("f(3)", "7")
    assert finding.test == "assert abs(candidate(x) - 2 * x) < 1e-6, 'no'"
    finding = assert_tests("def f(x):\n    return 1 // (x - 3) and 4", [CHECK], FAST, entry="f")
    assert (finding.request, finding.outcome.error, finding.outcome.line) == ("f(3)", "ZeroDivisionError", 2)


def test_an_exception_that_a_test_waits_for_reaches_it(best):
    test = "try:\n    f(0)\n    raise SystemError\nexcept ValueError as e:\n    assert str(e) == 'zero'"
    assert assert_tests("def f(x): raise ValueError('zero')", [test], FAST).passed
    assert not assert_tests("def f(x): raise KeyError('zero')", [test], FAST).passed


def test_helpers_of_the_question_are_there_for_program_and_tests(best):
    prelude = "import math\ndef poly(x): return math.floor(x)\ndef f(x):\n    pass\n"
    tests = ["def check(candidate):\n    assert poly(candidate(2.5)) == 4\n"]
    assert assert_tests("def f(x): return 2 * poly(x)", tests, FAST, prelude=prelude, entry="f").passed
    assert assert_tests("x = 1", tests, FAST, prelude=prelude, entry="f").outcome.error == "NameError"


def test_broken_tests_are_the_graders_failure_and_endless_ones_too(best):
    assert assert_tests("def f(x): return x", ["assert g.x == 1"], FAST, setup="1 / 0").outcome.status == "grader"
    assert assert_tests("def f(x): return x", ["1 / 0"], FAST).outcome.status == "grader"
    endless = assert_tests("def f(x): return x", ["while True: pass"], Limits(wall=0.3))
    assert endless.outcome.status == "grader"


def test_tests_that_choke_on_a_result_are_the_programs_failure(best):
    finding = assert_tests("def f(x): return 10**9", ["for _ in range(f(1)):\n    pass\nassert 0"], Limits(wall=0.4))
    assert finding.outcome.status == "timeout"


MIX = [
    *(source for source, _ in HOSTILE.values()),
    *CHEATS.values(),
    "import os\ndef f():\n    while True:\n        try: os.fork()\n        except OSError: pass",
    "import os\ndef f():\n    os.setsid()\n    if os.fork() == 0:\n        os.setsid()\n        while True: pass\n    return 1",
    "import threading\ndef f():\n    while True: threading.Thread(target=threading.Event().wait).start()",
    "import shutil\ndef f():\n    shutil.rmtree('/tmp', ignore_errors=True); return 1",
    "import os\ndef f():\n    [os.kill(pid, 9) for pid in (1, os.getppid(), -1)]",
    "import socket\ndef f(): return socket.create_connection(('127.0.0.1', 22), 1)",
    "def f():\n    while True: open('/tmp/x', 'ab').write(bytes(1 << 20))",
    "import os\ndef f():\n    for i in range(10**6): os.mkdir(f'/tmp/{i}')",
]


def _fingerprint():
    folder = Path(sandbox.__file__).parents[1]
    return hashlib.sha256(b"".join(path.read_bytes() for path in sorted(folder.rglob("*.py")))).hexdigest()


@pytest.mark.parametrize("count", [60, pytest.param(1000, marks=pytest.mark.long)], ids=["60", "1000"])
def test_a_crowd_of_hostile_programs_leaves_nothing_and_holds_nobody_up(monkeypatch, count):
    if levels.best() == "none":
        pytest.skip("only where programs are isolated: install bubblewrap or allow user namespaces")
    levels.use(levels.best(), monkeypatch)
    rng = random.Random(0)
    sources = [MIX[index % len(MIX)] for index in range(count)]
    rng.shuffle(sources)
    before, mounts = _fingerprint(), Path("/proc/mounts").read_text()
    # Their arguments hold this number, by which they are told from the sandboxes of other tests.
    limits = Limits(wall=0.15, memory=128 << 20, cpu=1_000_000 + os.getpid())

    def run(source):
        return call(source, limits=limits).status

    started = time.monotonic()
    with ThreadPoolExecutor(2) as pool:
        statuses = collections.Counter(pool.map(run, sources))
    assert sum(statuses.values()) == count and "grader" not in statuses, statuses
    assert len(statuses) >= 5, statuses
    assert time.monotonic() - started < count  # a second each, on a crowded machine
    assert levels.gone(limits.cpu.to_bytes(4, "little").hex())
    assert (_fingerprint(), Path("/proc/mounts").read_text()) == (before, mounts)


@pytest.mark.parametrize("level", levels.LEVELS)
def test_packages_are_there_where_they_are_wanted_even_in_a_temporary_environment(monkeypatch, tmp_path, level):
    levels.use(level, monkeypatch)
    folder = tmp_path / "site-packages"  # under /tmp, which is another one inside
    folder.mkdir()
    (folder / "mine.py").write_text("VALUE = 7\n")
    monkeypatch.syspath_prepend(str(folder))
    source = "def f():\n    import mine\n    return mine.VALUE\n"
    with Program(source, packages=True) as with_packages, Program(source) as without:
        assert with_packages.call("f").value == 7
        assert without.call("f").error == "ModuleNotFoundError"
