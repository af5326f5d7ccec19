from dataclasses import replace

import numpy as np
import pytest

from fst_cli.data.errors import RunError
from fst_cli.data.records import Sampling
from fst_cli.engines.agreement import CheckedEngine
from fst_cli.engines.base import Request
from fst_cli.engines.settings import EngineSettings
from fst_cli.engines.transformers_engine import TransformersEngine
from fst_cli.policy.chat import encode_chat
from fst_cli.policy.mismatch import mismatch_kl, ratio_quantiles
from fst_cli.policy.model import load_policy

SAMPLING = Sampling(max_tokens=16, temperature=0.8)


class Forgetful(TransformersEngine):
    """Its log-probabilities are missing."""

    def generate(self, *given):
        return [replace(one, logprobs=np.full(len(one.ids), np.nan, np.float32)) for one in super().generate(*given)]


@pytest.fixture(scope="module")
def requests(mini):
    texts = ["What is 4 + 5?", "Compute 17 - 8.", "Hello."]
    return [Request(encode_chat(mini.tokenizer, [{"role": "user", "content": t}]), s) for t in texts for s in range(3)]


def test_the_embedded_engine_agrees_with_the_trainer(mini, requests):
    engine = CheckedEngine(TransformersEngine(mini), mini, EngineSettings())
    engine.generate(requests, SAMPLING)
    assert engine.agreement.probed == 4 and 0 <= engine.agreement.mismatch_kl < 1e-9
    low, *_, high = engine.agreement.ratio_quantiles
    assert 0.999 < low <= 1 <= high < 1.001


def test_an_engine_with_other_weights_fails_the_run(mini, adapter, requests):
    engine = CheckedEngine(TransformersEngine(load_policy("mini", adapter)), mini, EngineSettings())
    with pytest.raises(RunError, match=r"mismatch KL \d.* the limit is 0.1") as error:
        engine.generate(requests, SAMPLING)
    assert "--mismatch-limit" in error.value.hint
    lenient = CheckedEngine(engine._engine, mini, EngineSettings(mismatch_limit=100.0))
    lenient.generate(requests, SAMPLING)
    assert lenient.agreement.mismatch_kl > 0.1


def test_missing_log_probabilities_fail_the_run_too(mini, requests):
    with pytest.raises(RunError, match="disagree"):
        CheckedEngine(Forgetful(mini), mini, EngineSettings()).generate(requests, SAMPLING)


def test_recomputed_log_probabilities_are_those_of_the_sampler(mini, requests):
    settings = EngineSettings(logprobs="recompute")
    engine = CheckedEngine(Forgetful(mini), mini, settings)
    for own, sampled in zip(
        engine.generate(requests, SAMPLING), TransformersEngine(mini).generate(requests, SAMPLING), strict=True
    ):
        assert own.ids == sampled.ids
        np.testing.assert_allclose(own.logprobs, sampled.logprobs, atol=1e-4)
    assert engine.agreement is None


@pytest.mark.parametrize("fields", [{"top_p": 0.5}, {"top_k": 3}, {"temperature": 0.0}])
def test_a_sampling_that_is_not_the_policys_own_is_not_compared(mini, requests, fields):
    engine = CheckedEngine(Forgetful(mini), mini, EngineSettings())
    engine.generate(requests, Sampling(**{"max_tokens": 4, **fields}))
    assert engine.agreement is None


def test_the_mismatch_is_the_kl_of_the_two_distributions():
    rng = np.random.default_rng(0)
    p, q = rng.dirichlet(np.ones(6)), rng.dirichlet(np.ones(6))
    tokens = rng.choice(6, 400_000, p=p)
    difference = np.log(q / p)[tokens]  # trainer q, sampler p
    assert mismatch_kl(difference) == pytest.approx((p * np.log(p / q)).sum(), rel=0.03)
    assert ratio_quantiles(difference)[0] == pytest.approx((q / p).min())
