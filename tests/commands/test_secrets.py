"""Keys and passwords stay where they are: in no file, no message, no traceback, no report."""

import http.server
import threading
from contextlib import contextmanager

import pytest

from tests.cycle.tiny import TINY

SECRET = "sk-5ecret-9f2"


@contextmanager
def rude_server():
    """Answers every request with an error that repeats the key it was sent."""

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_POST(self):
            self.rfile.read(int(self.headers["Content-Length"]))
            said = f'{{"error": {{"message": "bad key {self.headers["Authorization"]}"}}}}'.encode()
            self.send_response(401)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(said)))
            self.end_headers()
            self.wfile.write(said)

        def log_message(self, *args):
            pass

    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield f"http://127.0.0.1:{server.server_port}/v1"
    server.shutdown()


def test_a_key_is_in_no_file_and_no_message_even_where_a_server_repeats_it(fst_here, tmp_path, monkeypatch):
    monkeypatch.setenv("OPENAI_API_KEY", SECRET)
    with rude_server() as url:
        done = fst_here("cycle", "--out=run", *TINY, "--reflector=openai:m", f"--reflector-base-url={url}")
    assert done.returncode == 1 and "bad key" in done.stderr
    assert SECRET not in done.stderr + done.stdout
    files = [path for path in tmp_path.rglob("*") if path.is_file()]
    assert files and not [path for path in files if SECRET.encode() in path.read_bytes()]


@pytest.mark.parametrize("option", ["--reflector-base-url=http://me:{}@h/v1", "--base-url=http://{}@h/v1"])
def test_a_url_with_a_password_is_refused_without_repeating_it(fst_here, tmp_path, option):
    done = fst_here("cycle", "--out=run", *TINY, option.format(SECRET))
    assert done.returncode == 2 and "OPENAI_API_KEY" in done.stderr and SECRET not in done.stderr
    assert not (tmp_path / "run").exists()
    assert fst_here("generate", "--task=math", "--count=2", "-o", "problems.jsonl").returncode == 0
    stage = "evolve-prompts" if "reflector" in option else "rollout"
    done = fst_here(stage, "problems.jsonl", "-o", "out.jsonl", option.format(SECRET))
    assert done.returncode == 2 and "OPENAI_API_KEY" in done.stderr and SECRET not in done.stderr
