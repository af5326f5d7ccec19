import pytest

from fst_cli.data.errors import UsageError
from fst_cli.data.records import Example, Message, Problem
from fst_cli.fast.population import make_prompt
from fst_cli.policy.chat import PromptTooLongError, chat_messages, render, require_system_role

QUESTION = Message(role="user", content="1+1?")
EXAMPLE = Example(question="2+2?", reply="4", problem_id="other")


def problem(*messages, id_="p"):
    return Problem(id=id_, task="math", split="train", messages=list(messages or [QUESTION]), answer="2")


def test_the_instruction_is_the_system_message_and_examples_are_turns_before_the_problem():
    chat = chat_messages(make_prompt("Be good.", [EXAMPLE]), problem())
    assert [(m["role"], m["content"]) for m in chat] == [
        ("system", "Be good."),
        ("user", "2+2?"),
        ("assistant", "4"),
        ("user", "1+1?"),
    ]


def test_the_instruction_is_merged_with_the_tasks_own_system_message():
    chat = chat_messages(make_prompt("Be good."), problem(Message(role="system", content="You add."), QUESTION))
    assert [m["role"] for m in chat] == ["system", "user"]
    assert chat[0]["content"] == "Be good.\n\nYou add."


def test_an_empty_prompt_adds_nothing():
    assert [m["role"] for m in chat_messages(make_prompt(""), problem())] == ["user"]


def test_an_example_is_not_shown_for_the_problem_it_comes_from():
    prompt = make_prompt("", [EXAMPLE])
    assert len(chat_messages(prompt, problem(id_="other"))) == 1
    assert len(chat_messages(prompt, problem())) == 3


def test_a_prompt_is_never_cut(mini):
    long = make_prompt("word " * 2000)
    with pytest.raises(PromptTooLongError, match="problem p under prompt"):
        render(mini.tokenizer, long, problem(), mini.context)
    whole = render(mini.tokenizer, make_prompt("Be good."), problem(), mini.context)
    assert mini.tokenizer.decode(whole) == "<|system|>Be good.<|end|><|user|>1+1?<|end|><|assistant|>"


class Tokenizer:
    """A tokenizer with another template."""

    def __init__(self, real, template):
        self._real, self.chat_template = real, template

    def apply_chat_template(self, messages, **options):
        return self._real.apply_chat_template(messages, chat_template=self.chat_template, **options)


@pytest.mark.parametrize(
    ("template", "said"),
    [
        (None, "no chat template"),
        ("{{ raise_exception('no system role') }}", "refuses a system message"),
        (
            "{% for m in messages %}{% if m.role != 'system' %}{{ m.content }}{% endif %}{% endfor %}",
            "drops the system",
        ),
    ],
)
def test_a_template_without_a_system_role_is_refused(mini, template, said):
    with pytest.raises(UsageError, match=said):
        require_system_role(Tokenizer(mini.tokenizer, template))
    require_system_role(mini.tokenizer)
