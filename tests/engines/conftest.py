"""A server of completions as vLLM's, over the embedded engine: real requests, real sampling, and it can die."""

import http.server
import json
import threading
from pathlib import Path

import pytest

from fst_cli.data.records import Sampling
from fst_cli.engines.base import Request
from fst_cli.engines.transformers_engine import TransformersEngine
from fst_cli.policy.model import load_policy, make_trainable, save_weights

LOCK = threading.Lock()  # one sampling at a time: the servers share a model


class Server:
    """`lives` requests are answered, then connections are cut; `reveals` says what comes with the text."""

    def __init__(self, policy, reveals=("token_ids", "logprobs")):
        self.policies, self.reveals, self.lives = {"base": policy}, set(reveals), None
        self.answered, self.seen = 0, []
        server = self

        class Handler(http.server.BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_GET(self):
                if server.is_dead():
                    self.close_connection = True
                    return
                self.reply(200, {"object": "list", "data": [{"id": "base", "object": "model"}]})

            def do_POST(self):
                body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
                with LOCK:
                    if server.is_dead():
                        self.close_connection = True
                        return
                    self.reply(*server.answer(self.path.removeprefix("/v1/"), body))

            def reply(self, status, body):
                data = json.dumps(body).encode()
                self.send_response(status)
                self.send_header("Content-Type", "application/json")
                self.send_header("Content-Length", str(len(data)))
                self.end_headers()
                self.wfile.write(data)

            def log_message(self, *args):
                pass

        self.http = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        threading.Thread(target=self.http.serve_forever, daemon=True).start()
        self.url = f"http://127.0.0.1:{self.http.server_port}/v1"

    def is_dead(self):
        return self.lives is not None and self.answered >= self.lives

    def answer(self, path, body):
        self.seen.append((path, body))
        if path == "load_lora_adapter":
            self.policies[body["lora_name"]] = load_policy("mini", Path(body["lora_path"]))
            return 200, "loaded"
        if path == "unload_lora_adapter":
            del self.policies[body["lora_name"]]
            return 200, "unloaded"
        if body["model"] not in self.policies:
            return 404, {"error": {"message": f"The model {body['model']} does not exist."}}
        self.answered += 1
        policy = self.policies[body["model"]]
        sampling = Sampling(**{name: body[name] for name in ("temperature", "top_p", "top_k", "min_p", "max_tokens")})
        (done,) = TransformersEngine(policy).generate([Request(body["prompt"], body.get("seed", 0))], sampling)
        text = policy.tokenizer.decode(done.ids, skip_special_tokens=True)
        choice = {"index": 0, "text": text, "finish_reason": done.finish_reason, "logprobs": None}
        if "token_ids" in self.reveals:
            choice["token_ids"] = done.ids
        if "logprobs" in self.reveals and body.get("logprobs") is not None:
            choice["logprobs"] = {"token_logprobs": done.logprobs.tolist()}
        return 200, {"id": "1", "object": "text_completion", "created": 1, "model": "m", "choices": [choice]}


@pytest.fixture
def serve(mini):
    """Start a server."""
    running = []

    def start(**options):
        running.append(Server(mini, **options))
        return running[-1]

    yield start
    for server in running:
        server.http.shutdown()
        server.http.server_close()


@pytest.fixture(scope="session")
def adapter(tmp_path_factory):
    """The weights folder of an adapter that changes what mini says."""
    import torch

    policy = load_policy("mini")
    make_trainable(policy, "lora", 4, seed=0)
    generator = torch.Generator().manual_seed(1)
    for name, parameter in policy.model.named_parameters():
        if "lora_B" in name:
            parameter.data.normal_(std=0.4, generator=generator)
    folder = tmp_path_factory.mktemp("adapter") / "weights"
    save_weights(policy, folder)
    return folder
