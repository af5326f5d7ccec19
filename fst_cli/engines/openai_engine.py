"""Servers that speak OpenAI's completions interface, vLLM's foremost: one or many, retried and rebalanced.

Prompts go out as token ids and completions come back as token ids with their log-probabilities, so that nothing is
tokenised twice (PITFALLS 3). A trained adapter is loaded by every server from the step's weights folder, which they
must see under the same path: the disk is the weight-sync channel.
"""

import contextlib
import os
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed
from dataclasses import dataclass
from typing import Any

import numpy as np

from fst_cli.console import say, warn
from fst_cli.data.errors import RunError, UsageError
from fst_cli.data.records import FinishReason, Sampling
from fst_cli.engines.base import Completion, Request
from fst_cli.engines.settings import EngineSettings
from fst_cli.policy.model import Policy

GREETING = 5.0  # seconds that a server has to say that it is there
PAUSES = (1.0, 3.0, 10.0, 30.0)  # seconds to wait when no server answers, each time, before giving up


@dataclass
class _Server:
    """One server; `busy` requests are with it, `down` since it failed one."""

    url: str
    client: Any
    base: str  # the base model's name there
    busy: int = 0
    down: bool = False


class OpenaiEngine:
    """Sends each request to the least busy server that answers."""

    name = "openai"

    def __init__(self, policy: Policy, settings: EngineSettings) -> None:
        from openai import OpenAI

        urls = [url.strip().rstrip("/") for url in settings.base_url.split(",") if url.strip()]
        if not urls:
            raise UsageError(
                "engine openai needs the servers' address", hint="for example --base-url http://localhost:8000/v1"
            )
        key = os.environ.get("OPENAI_API_KEY") or "none"  # local servers ask for none, the client insists on one
        clients = [OpenAI(base_url=url, api_key=key, timeout=settings.timeout, max_retries=0) for url in urls]
        self._settings, self._lock = settings, threading.Lock()
        self._tokenizer, self._stop_ids = policy.tokenizer, sorted(policy.stop_ids)
        self._adapter: tuple[str, str] | None = None  # name and folder
        self._loaded = ""  # hash of the policy it samples from
        self._servers = [_Server(url, client, settings.served_model) for url, client in zip(urls, clients, strict=True)]
        for server in self._servers:
            self._greet(server)
        if all(server.down for server in self._servers):
            raise RunError(f"no server answers at {', '.join(urls)}", hint="start one, or correct --base-url")

    def load(self, policy: Policy) -> None:
        """Sample from these weights from now on.

        Raises UsageError for whole trained models, which a server can't be given, and RunError where no server takes
        the adapter.
        """
        if policy.hash == self._loaded:
            return
        if policy.weights is not None and not policy.is_adapter:
            raise UsageError(
                "servers can't be given a whole trained model", hint="train with --method lora, or use --engine vllm"
            )
        old, self._adapter = self._adapter, None
        if policy.weights is not None:
            self._adapter = f"fst-{policy.hash}", str(policy.weights.resolve())
        for server in self._servers:
            if not server.down:
                self._swap(server, old)
        if all(server.down for server in self._servers):
            raise RunError(f"no server took the adapter {policy.weights}")
        self._loaded = policy.hash

    def generate(
        self, requests: Sequence[Request], sampling: Sampling, advance: Callable[[int], None] | None = None
    ) -> list[Completion]:
        """Sample one completion a request, `max_batch` of them under way at once.

        Raises RunError where no server answers any more, or the answers lack what training needs.
        """
        for server in self._servers:
            if server.down:
                self._greet(server)
        found: dict[int, Completion] = {}
        with ThreadPoolExecutor(self._settings.max_batch) as pool:
            asked = {pool.submit(self._one, request, sampling): row for row, request in enumerate(requests)}
            try:
                for done in as_completed(asked):
                    found[asked[done]] = done.result()
                    if advance:
                        advance(1)
            except BaseException:
                pool.shutdown(wait=False, cancel_futures=True)
                raise
        return [found[row] for row in range(len(requests))]

    def sleep(self) -> None:
        """Servers have memory of their own."""

    def close(self) -> None:
        """Take our adapter out of the servers."""
        for server in self._servers:
            if self._adapter and not server.down:
                self._post(server, "unload_lora_adapter", {"lora_name": self._adapter[0]})
            server.client.close()

    def _one(self, request: Request, sampling: Sampling) -> Completion:
        import openai

        reason: Any = ""
        for pause in (0.0, *PAUSES):
            time.sleep(pause)
            for _ in self._servers:
                with self._taken() as server:
                    try:
                        return self._ask(server, request, sampling)
                    except openai.NotFoundError as error:  # it came back without the adapter
                        reason = error
                        self._swap(server, None)
                    except (openai.APIConnectionError, openai.InternalServerError, openai.RateLimitError) as error:
                        reason = error
                        self._fell(server, error)
                    except openai.APIStatusError as error:
                        raise RunError(f"{server.url} refuses a request: {error}") from None
        raise RunError(
            f"no server answers any more: {reason}",
            hint="a vLLM server on a CPU dies of a seed per request: --seeds engine; "
            "the same command, or --resume, goes on when they are back",
        )

    @contextlib.contextmanager
    def _taken(self) -> Iterator[_Server]:
        """The least busy server, one that answers if there is one, for the length of a request."""
        with self._lock:
            server = min(self._servers, key=lambda one: (one.down, one.busy))
            server.busy += 1
        try:
            yield server
        finally:
            with self._lock:
                server.busy -= 1

    def _ask(self, server: _Server, request: Request, sampling: Sampling) -> Completion:
        reply = server.client.completions.create(
            model=self._adapter[0] if self._adapter else server.base,
            prompt=request.prompt_ids,
            temperature=sampling.temperature,
            top_p=sampling.top_p,
            max_tokens=request.limit(sampling),
            presence_penalty=0.0,
            frequency_penalty=0.0,
            n=1,
            seed=None if self._settings.seeds == "engine" else request.seed,
            logprobs=None if self._settings.logprobs == "none" else 0,
            extra_body={
                "top_k": sampling.top_k,
                "min_p": sampling.min_p,
                "repetition_penalty": 1.0,
                "min_tokens": 0,
                "stop_token_ids": self._stop_ids,
                "ignore_eos": False,
                "return_token_ids": True,
            },
        )
        self._stood(server)
        return self._completion(server, reply.choices[0])

    def _completion(self, server: _Server, choice: Any) -> Completion:
        reason: FinishReason = "length" if choice.finish_reason == "length" else "stop"
        ids = (choice.model_extra or {}).get("token_ids")
        logprobs = choice.logprobs.token_logprobs if choice.logprobs else None
        if self._settings.logprobs == "require" and (ids is None or logprobs is None or len(ids) != len(logprobs)):
            raise RunError(
                f"{server.url} returns no {'token ids' if ids is None else 'log-probabilities'} with its completions, "
                "which training needs",
                hint="vLLM servers do; --logprobs recompute has the trainer's model compute them, "
                "--logprobs none is enough for fst eval",
            )
        if ids is None:
            ids = self._tokenizer.encode(choice.text, add_special_tokens=False)
            ids += [self._tokenizer.eos_token_id] if reason == "stop" else []
        if logprobs is None or len(logprobs) != len(ids):
            logprobs = [np.nan] * len(ids)
        return Completion(list(ids), np.asarray(logprobs, dtype=np.float32), reason)

    def _greet(self, server: _Server) -> None:
        import openai

        try:
            first = next(iter(server.client.with_options(timeout=GREETING).models.list())).id
            server.base = server.base or first
            self._stood(server)
        except (openai.APIConnectionError, openai.InternalServerError) as error:
            self._fell(server, error)
        except openai.APIStatusError as error:
            raise RunError(f"{server.url} refuses to list its models: {error}") from None

    def _stood(self, server: _Server) -> None:
        if server.down:
            server.down = False
            say(f"{server.url} answers again")

    def _fell(self, server: _Server, error: Exception) -> None:
        if not server.down:
            server.down = True
            warn(f"{server.url} does not answer ({error}); its requests go to the other servers")

    def _swap(self, server: _Server, old: tuple[str, str] | None) -> None:
        """Give a server the adapter of now, and take the old one away."""
        if not server.base:
            self._greet(server)
        if self._adapter:
            name, folder = self._adapter
            refused = self._post(server, "load_lora_adapter", {"lora_name": name, "lora_path": folder})
            if refused and "already been loaded" not in refused:
                raise RunError(
                    f"{server.url} does not load the adapter {folder}: {refused}",
                    hint="start vLLM with --enable-lora --max-lora-rank R and VLLM_ALLOW_RUNTIME_LORA_UPDATING=1, "
                    "on a disk where it sees this folder",
                )
        if old and old != self._adapter:
            self._post(server, "unload_lora_adapter", {"lora_name": old[0]})

    def _post(self, server: _Server, path: str, body: dict[str, str]) -> str:
        """What the server objects, or nothing."""
        import openai

        try:
            server.client.post(f"/{path}", body=body, cast_to=str)
        except openai.APIStatusError as error:
            return str(error)
        except openai.APIConnectionError as error:
            self._fell(server, error)
        return ""
