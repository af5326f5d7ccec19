"""The engine of a policy. The heavy packages are imported when one is made, not before."""

import contextlib
from typing import Any, Protocol

from fst_cli.engines.agreement import CheckedEngine
from fst_cli.engines.base import Engine
from fst_cli.engines.settings import EngineSettings
from fst_cli.policy.model import Policy


class Service(Engine, Protocol):
    """An engine that is costly to start and outlives a stage: it is given the weights it is to sample from."""

    def load(self, policy: Policy) -> None:
        """Sample from these weights from now on."""
        ...

    def sleep(self) -> None:
        """Give memory to the trainer until the next samples."""
        ...

    def close(self) -> None:
        """End what was started."""
        ...


class Engines(contextlib.AbstractContextManager):
    """Makes engines of one kind; closes on leaving what had to be started."""

    def __init__(self, settings: EngineSettings | None = None) -> None:
        self.settings = settings or EngineSettings()
        self._service: Service | None = None
        self._model = ""

    @property
    def lazy(self) -> bool:
        """Whether a policy's own model is needed for checks only."""
        return self.settings.name != "transformers"

    def of(self, policy: Policy) -> CheckedEngine:
        """The engine that samples from a policy, until that of another is asked for."""
        return CheckedEngine(self._engine(policy), policy, self.settings)

    def sleep(self) -> None:
        """Give memory to the trainer until the next samples."""
        if self._service:
            self._service.sleep()

    def __exit__(self, *exception: Any) -> None:
        self.close()

    def close(self) -> None:
        """End what was started."""
        if self._service:
            self._service.close()
            self._service = None

    def _engine(self, policy: Policy) -> Engine:
        if self.settings.name == "transformers":
            from fst_cli.engines.transformers_engine import TransformersEngine

            return TransformersEngine(policy, self.settings.max_batch)
        if self._service is None or self._model != policy.name:
            self.close()
            self._service, self._model = _start(policy, self.settings), policy.name
        self._service.load(policy)
        return self._service


def _start(policy: Policy, settings: EngineSettings) -> Service:
    if settings.name == "vllm":
        from fst_cli.engines.vllm_engine import VllmEngine

        return VllmEngine(policy, settings)
    from fst_cli.engines.openai_engine import OpenaiEngine

    return OpenaiEngine(policy, settings)
