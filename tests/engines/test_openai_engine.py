import numpy as np
import pytest

from fst_cli.data.errors import RunError, UsageError
from fst_cli.data.records import Sampling
from fst_cli.engines import openai_engine
from fst_cli.engines.base import Request
from fst_cli.engines.registry import Engines
from fst_cli.engines.settings import EngineSettings
from fst_cli.engines.transformers_engine import TransformersEngine
from fst_cli.policy.chat import encode_chat
from fst_cli.policy.model import load_policy

SAMPLING = Sampling(max_tokens=12)


@pytest.fixture(autouse=True)
def no_pauses(monkeypatch):
    monkeypatch.setattr(openai_engine, "PAUSES", (0.01,))


@pytest.fixture(scope="module")
def requests(mini):
    ids = encode_chat(mini.tokenizer, [{"role": "user", "content": "What is 4 + 5?"}])
    return [Request(ids, seed) for seed in range(10)]


def engines(*servers, **settings):
    url = " , ".join(server.url for server in servers)
    return Engines(EngineSettings(name="openai", base_url=url, max_batch=4, **settings))


def same(found, expected):
    assert [one.ids for one in found] == [one.ids for one in expected]
    assert [one.finish_reason for one in found] == [one.finish_reason for one in expected]
    for one, other in zip(found, expected, strict=True):
        np.testing.assert_allclose(one.logprobs, other.logprobs, atol=1e-4)


def test_samples_come_back_as_they_were_drawn(mini, serve, requests):
    server, told = serve(), []
    with engines(server) as opened:
        engine = opened.of(mini)
        same(engine.generate(requests, SAMPLING, told.append), TransformersEngine(mini).generate(requests, SAMPLING))
    assert engine.agreement.mismatch_kl < 1e-9 and sum(told) == len(requests)
    sent = server.seen[0][1]
    assert {"temperature", "top_p", "top_k", "min_p", "repetition_penalty", "presence_penalty", "seed"} <= set(sent)


def test_work_is_shared_and_nothing_is_lost_when_a_server_dies(mini, serve, requests, capfd):
    first, second = serve(), serve()
    first.lives = 3
    expected = TransformersEngine(mini).generate(requests, SAMPLING)
    with engines(first, second) as opened:
        same(opened.of(mini).generate(requests, SAMPLING), expected)
        assert first.answered == 3 and second.answered == 7
        first.lives = None  # it is back, and gets its share again
        same(opened.of(mini).generate(requests, SAMPLING), expected)
        assert first.answered > 3 and first.answered + second.answered == 20
    told = capfd.readouterr().err
    assert f"{first.url} does not answer" in told and f"{first.url} answers again" in told


def test_a_server_that_comes_back_is_used_again(mini, serve, requests, capfd):
    server = serve()
    server.lives = 3
    with engines(server) as opened:
        engine = opened.of(mini)
        with pytest.raises(RunError, match="no server answers any more") as error:
            engine.generate(requests, SAMPLING)
        assert "--resume" in error.value.hint
        server.lives = None
        assert len(engine.generate(requests, SAMPLING)) == len(requests)
    assert "answers again" in capfd.readouterr().err


def test_an_adapter_is_loaded_from_its_folder_and_swapped(mini, adapter, serve, requests):
    server = serve()
    trained = load_policy("mini", adapter)
    expected = TransformersEngine(trained).generate(requests, SAMPLING)
    with engines(server) as opened:
        opened.of(mini).generate(requests[:2], SAMPLING)
        same(opened.of(trained).generate(requests, SAMPLING), expected)
        name = f"fst-{trained.hash}"
        assert list(server.policies) == ["base", name]
        del server.policies[name]  # it was started anew
        same(opened.of(trained).generate(requests, SAMPLING), expected)
        opened.of(mini).generate(requests[:2], SAMPLING)
        assert list(server.policies) == ["base"]
    assert "unload_lora_adapter" in [path for path, _ in server.seen]


@pytest.mark.parametrize("reveals", [[], ["logprobs"], ["token_ids"]])
def test_a_server_without_log_probabilities_or_ids_is_not_trained_from(mini, serve, requests, reveals):
    server = serve(reveals=reveals)
    with engines(server) as opened, pytest.raises(RunError, match="returns no .* training needs") as error:
        opened.of(mini).generate(requests, SAMPLING)
    assert "--logprobs recompute" in error.value.hint
    expected = TransformersEngine(mini).generate(requests, SAMPLING)
    with engines(server, logprobs="recompute") as opened:
        found = opened.of(mini).generate(requests, SAMPLING)
    if "token_ids" in reveals:
        same(found, expected)
    else:  # from the text alone: what was text comes back as the same text
        for one, other in zip(found, expected, strict=True):
            assert mini.tokenizer.decode(one.ids) == mini.tokenizer.decode(other.ids)
            assert np.isfinite(one.logprobs).all()


def test_a_whole_trained_model_and_a_missing_address_are_refused(mini, serve, tmp_path):
    from fst_cli.policy.model import save_weights

    whole = load_policy("mini")
    save_weights(whole, tmp_path / "weights")
    with engines(serve()) as opened, pytest.raises(UsageError, match="whole trained model"):
        opened.of(whole)
    with engines() as opened, pytest.raises(UsageError, match="address"):
        opened.of(mini)


def test_servers_that_are_not_there_fail_at_once(mini):
    settings = EngineSettings(name="openai", base_url="http://127.0.0.1:9/v1")
    with Engines(settings) as opened, pytest.raises(RunError, match="no server answers at"):
        opened.of(mini)
