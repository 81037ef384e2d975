"""The demo model: what it understands, in four languages, and that nothing anybody writes makes it fail."""

from __future__ import annotations

import json
import re
import time
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from string import Formatter
from typing import Any
from zoneinfo import available_timezones

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from workers.models import ModelAnswer, ModelCall, ModelMessage, ModelRequest
from workers.models.demo import CHARS_PER_TOKEN, DemoModel
from workers.models.demo.arithmetic import find_expressions
from workers.models.demo.guess import LANGUAGES, guess
from workers.models.demo.language import Topic
from workers.models.demo.places import ZONES, find_places
from workers.models.demo.thread import sentences
from workers.tools import load_tools

BUILTIN = load_tools(["clock", "calculator", "remember", "recall"])


def tool(name: str, parameters: Mapping[str, Any]) -> dict[str, Any]:
    return {"type": "function", "function": {"name": name, "description": "", "parameters": parameters}}


TOOLS = [tool(each.name, each.parameters) for each in BUILTIN.values()]
FIND_ORDER = tool(
    "find_order",
    {
        "type": "object",
        "properties": {"order_id": {"type": "integer"}},
        "required": ["order_id"],
        "additionalProperties": False,
    },
)
OUTPUTS = {
    "calculator": "144",
    "clock": '{"zone":"Asia/Tokyo","time":"2026-11-22T00:23:12+09:00","weekday":"Sunday"}',
    "remember": "Remembered under 'x'.",
}


class RecordingClock:
    """Time that passes at once and is written down."""

    def __init__(self) -> None:
        self.slept: list[float] = []

    def now(self) -> datetime:
        return datetime(2026, 11, 21, tzinfo=UTC)

    def monotonic(self) -> float:
        return sum(self.slept)

    async def sleep(self, seconds: float) -> None:
        self.slept.append(seconds)


class Chat:
    """One thread: sends what a user writes, answers the tool calls, keeps the messages."""

    def __init__(
        self,
        tools: Sequence[Mapping[str, Any]] = TOOLS,
        outputs: Mapping[str, str] = OUTPUTS,
        **request: Any,
    ) -> None:
        self.clock = RecordingClock()
        self.model = DemoModel(self.clock)
        self.tools, self.outputs, self.request = tools, outputs, request
        self.messages: list[ModelMessage] = []
        self.rounds: list[list[tuple[str, Any]]] = []

    async def say(self, *texts: str) -> str:
        self.messages += [ModelMessage("user", text) for text in texts]
        self.rounds, run = [], list(self.messages)
        while (answer := await self.ask(run)).calls:
            assert answer.stop_reason == "tool_calls"
            assert len(self.rounds) < 5, "the model never comes to an end"
            self.rounds.append([(call.name, json.loads(call.arguments)) for call in answer.calls])
            run.append(ModelMessage("assistant", answer.text, answer.calls))
            run += [ModelMessage("tool", self.outputs.get(c.name, "{}"), call_id=c.id) for c in answer.calls]
        self.messages.append(ModelMessage("assistant", answer.text))
        return answer.text

    async def ask(self, messages: Sequence[ModelMessage]) -> ModelAnswer:
        return await self.model.answer(ModelRequest("any", messages, self.tools, **self.request))


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("What is 12 times 12?", ["12 * 12"]),
        ("12*12", ["12 * 12"]),
        ("was ist 3 plus 4", ["3 + 4"]),
        ("12 乘以 12 是多少", ["12 * 12"]),
        ("十二乘以十二是多少", ["12 * 12"]),
        ("144的平方根", ["sqrt(144)"]),
        ("cuánto es 7 por 8", ["7 * 8"]),
        ("seven times eight", ["7 * 8"]),
        ("What is 15% of 80?", ["15 / 100 * 80"]),
        ("the square root of 2", ["sqrt(2)"]),
        ("(3 + 4) * -2", ["(3 + 4) * -2"]),
        ("what is 144/12?", ["144 / 12"]),
        ("1 + 1, and 2 + 2", ["1 + 1", "2 + 2"]),
        ("1,000.5 + 1", ["1000.5 + 1"]),
        ("24/7 support", []),
        ("from 2026-11-21 - 3 days ago", []),
        ("call 555-1234 now", []),
        ("C++ 11", []),
        ("one or two", []),
        ("+-*/", []),
    ],
)
def test_arithmetic_is_found(text: str, expected: list[str]) -> None:
    assert find_expressions(text, decimal_comma=False) == expected


def test_the_comma_is_decimal_where_the_language_says_so() -> None:
    assert find_expressions("Was ist 1.000,5 mal 2?", decimal_comma=True) == ["1000.5 * 2"]


@pytest.mark.parametrize(
    ("text", "code"),
    [
        ("What can you do?", "en"),
        ("Was kannst du?", "de"),
        ("¿Qué puedes hacer?", "es"),
        ("你会什么？", "zh"),
        ("12*12", "en"),
        ("Wie spät ist es in Tokio?", "de"),
        ("threadway 是什么？", "zh"),
    ],
)
def test_language_is_guessed(text: str, code: str) -> None:
    assert guess(text).code == code


async def test_the_language_of_the_thread_stays_where_a_message_has_none() -> None:
    chat = Chat(tools=())
    await chat.say("Hallo, wie geht es dir?")
    assert "Werkzeug `calculator`" in await chat.say("12*12")


@pytest.mark.parametrize(
    ("text", "phrase"),
    [
        ("Who are you?", "not a language model"),
        ("Wer bist du?", "kein Sprachmodell"),
        ("¿Quién eres?", "no un modelo de lenguaje"),
        ("你是谁？", "不是语言模型"),
        ("help", "not a language model"),
        ("Hilfe", "kein Sprachmodell"),
        ("ayuda", "no un modelo de lenguaje"),
        ("帮助", "不是语言模型"),
        ("What is threadway?", "AI assistants into Telegram and Slack"),
        ("How do I use a real model?", "THREADWAY_MODEL="),
        ("Wie benutze ich ein echtes Modell?", "THREADWAY_MODEL="),
        ("¿Cómo uso un modelo real?", "THREADWAY_MODEL="),
        ("怎么使用真正的模型？", "THREADWAY_MODEL="),
        ("How do I connect Telegram?", "TELEGRAM_BOT_TOKEN"),
        ("wie verbinde ich Slack?", "SLACK_BOT_TOKEN"),
        ("which commands are there?", "`/new`"),
        ("show me a table", "|---|"),
        ("zeig mir eine Tabelle", "|---|"),
        ("muéstrame una tabla", "|---|"),
        ("给我一个表格", "|---|"),
        ("show me some code", "```python"),
        ("write a list", "1. "),
        ("write something in bold", "**bold**"),
        ("tell me a joke", "queue"),
        ("hello", "demo model"),
        ("hola", "demostración"),
        ("danke", "Gern"),
        ("再见", "再见"),
        ("Why is the sky blue?", "Why is the sky blue?"),
        ("", "no text"),
        ("   ", "no text"),
    ],
)
async def test_topics(text: str, phrase: str) -> None:
    assert phrase in await Chat().say(text)


async def test_markdown_shows_everything() -> None:
    shown = await Chat().say("write markdown")
    assert all(sign in shown for sign in ("**", "1. ", "|---|", "```", "> ", "]("))


@pytest.mark.parametrize(
    "text", ["write a long text", "schreib einen langen Text", "escribe un texto largo", "写一篇很长的文章"]
)
async def test_a_long_text_needs_more_than_one_message(text: str) -> None:
    assert len((await Chat().say(text)).encode("utf-16-le")) // 2 > 4096


@pytest.mark.parametrize(
    "text",
    [
        "What is 12 times 12, and what time is it in Tokyo?",
        "Was ist 12 mal 12, und wie spät ist es in Tokio?",
        "¿Cuánto es 12 por 12, y qué hora es en Tokio?",
        "12 乘以 12 是多少，东京现在几点？",
    ],
)
async def test_two_questions_use_two_tools_at_once(text: str) -> None:
    chat = Chat()
    reply = await chat.say(text)
    assert chat.rounds == [[("calculator", {"expression": "12 * 12"}), ("clock", {"zone": "Asia/Tokyo"})]]
    assert "144" in reply
    assert "00:23" in reply


async def test_without_parallel_calls_the_tools_come_one_by_one() -> None:
    chat = Chat(parallel_tool_calls=False)
    reply = await chat.say("What is 12 times 12, and what time is it in Tokyo?")
    assert [len(calls) for calls in chat.rounds] == [1, 1]
    assert "144" in reply
    assert "00:23" in reply


async def test_what_the_model_writes_is_what_the_real_tools_accept() -> None:
    for text in ("12*12", "time in Tokyo?", "remember that my dog is Rex", "what is my dog?", "what do you remember?"):
        chat = Chat()
        await chat.say(text)
        [[(name, arguments)]] = chat.rounds
        assert BUILTIN[name].check(json.dumps(arguments)) is not None


@pytest.mark.parametrize("name", ["clock", "calculator"])
async def test_a_tools_error_is_told(name: str) -> None:
    chat = Chat(outputs={name: "It broke, honestly."})
    reply = await chat.say("What is 1/0?" if name == "calculator" else "What time is it in Atlantis?")
    assert f"`{name}`" in reply
    assert "It broke, honestly." in reply


async def test_without_tools_it_says_that_it_cannot() -> None:
    chat = Chat(tools=())
    assert "`calculator`" in await chat.say("12*12")
    assert chat.rounds == []


async def test_unknown_places_go_to_the_clock_as_they_are() -> None:
    chat = Chat()
    await chat.say("What time is it in Atlantis?")
    assert chat.rounds == [[("clock", {"zone": "Atlantis"})]]


@pytest.mark.parametrize(
    ("tell", "ask", "value"),
    [
        ("My name is Ann", "What is my name?", "Ann"),
        ("Ich heiße Anna", "Wie heiße ich?", "Anna"),
        ("Me llamo Ana", "¿Cómo me llamo?", "Ana"),
        ("我叫小安", "我叫什么？", "小安"),
        ("my dog is Rex.", "what's my dog?", "Rex"),
        ("Mein Hund heißt Rex", "Wie heißt mein Hund?", "Rex"),
        ("mi perro es Rex", "¿Cuál es mi perro?", "Rex"),
        ("我的狗是旺财", "我的狗是什么？", "旺财"),
        ("My name is Ann", "Wie heiße ich?", "Ann"),
    ],
)
async def test_the_thread_remembers(tell: str, ask: str, value: str) -> None:
    chat = Chat()
    assert value in await chat.say(tell)
    await chat.say("tell me a joke")
    assert value in await chat.say(ask)
    assert chat.rounds == []
    chat.messages.clear()  # a new thread
    assert value not in await chat.say(ask)
    assert [name for name, _ in chat.rounds[0]] == ["recall"]


@pytest.mark.parametrize(
    ("order", "ask", "key", "value"),
    [
        ("remember that my favourite colour is green", "what is my favourite colour?", "favourite colour", "green"),
        ("Merk dir, dass meine Lieblingsfarbe grün ist", "Was ist meine Lieblingsfarbe?", "lieblingsfarbe", "grün"),
        ("recuerda que mi color favorito es verde", "¿cuál es mi color favorito?", "color favorito", "verde"),
        ("记住，我最喜欢的颜色是绿色", "我最喜欢的颜色是什么？", "最喜欢的颜色", "绿色"),
    ],
)
async def test_memory_beyond_the_thread(order: str, ask: str, key: str, value: str) -> None:
    chat = Chat(outputs={**OUTPUTS, "recall": json.dumps({key: value})})
    assert value in await chat.say(order)
    assert chat.rounds == [[("remember", {"key": key, "value": value})]]
    chat.messages.clear()
    assert value in await chat.say(ask)
    assert chat.rounds == [[("recall", {"key": key})]]
    without_tools = Chat(tools=())
    await without_tools.say(order)
    assert value in await without_tools.say(ask)


async def test_looking_back() -> None:
    chat = Chat()
    assert "begins with" in await chat.say("What did I say first?")
    await chat.say("My name is Ann")
    assert "What did I say first?" in await chat.say("what did I say first?")
    await chat.say("I like trains")
    assert "I like trains" in await chat.say("what did I just say?")
    summary = await chat.say("Summarise our conversation")
    assert "5 messages" in summary
    assert "name: Ann" in summary


async def test_every_message_of_a_batch_is_answered() -> None:
    chat = Chat()
    reply = await chat.say("My name is Ann", "What is 12*12?", "What is my name?")
    assert "Ann" in reply
    assert "144" in reply
    assert "Your name is Ann" in reply


async def test_small_talk_gives_way() -> None:
    assert await Chat().say("Hello! What is 12*12?") == "12 × 12 = **144**"


async def test_it_explains_itself_once_and_is_short_afterwards() -> None:
    chat = Chat()
    assert len(await chat.say("Why is the sky blue?")) > 2 * len(await chat.say("Why is the sea blue?"))


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        ("wait 5 seconds", 5),
        ("warte 7 Sekunden", 7),
        ("espera 9 segundos", 9),
        ("等 3 秒", 3),
        ("wait 500 seconds", 60),
    ],
)
async def test_it_waits_when_asked_to(text: str, seconds: int) -> None:
    chat = Chat()
    assert str(seconds) in await chat.say(text)
    assert chat.clock.slept == [seconds]


async def test_a_wait_that_was_stopped_is_not_taken_up_again() -> None:
    chat = Chat()
    reply = await chat.say("wait 60 seconds", "What is 12*12?")
    assert "144" in reply
    assert chat.clock.slept == []


@pytest.mark.parametrize(
    "text",
    [
        "call find_order order_id=17",
        'please use find_order with {"order_id": 17}',
        "find_order order_id: 17.",
        "rufe find_order 17",
        "调用 find_order order_id=17",
    ],
)
async def test_a_users_function_is_called_by_name(text: str) -> None:
    chat = Chat(tools=[*TOOLS, FIND_ORDER], outputs={"find_order": '{"state": "sent"}'})
    reply = await chat.say(text)
    assert chat.rounds == [[("find_order", {"order_id": 17})]]
    assert '{"state": "sent"}' in reply


async def test_a_functions_mere_mention_calls_nothing() -> None:
    chat = Chat(tools=[FIND_ORDER])
    await chat.say("what is find_order?")
    assert chat.rounds == []


async def test_tool_choice_none_calls_nothing() -> None:
    chat = Chat(tool_choice="none")
    assert "`calculator`" in await chat.say("12*12")
    assert chat.rounds == []


@pytest.mark.parametrize("choice", ["required", {"type": "function", "function": {"name": "find_order"}}])
async def test_a_demanded_call_is_made_once(choice: Any) -> None:
    chat = Chat(tools=[FIND_ORDER], tool_choice=choice, outputs={"find_order": "sent"})
    assert "sent" in await chat.say("hello, number 4")
    assert chat.rounds == [[("find_order", {"order_id": 4})]]


async def test_json_on_demand() -> None:
    reply = json.loads(await Chat(response_format={"type": "json_object"}).say("who are you?"))
    assert "demo model" in reply["reply"]
    schema = {"type": "object", "properties": {"answer": {"type": "string"}, "n": {"type": "integer"}}}
    wanted = {"type": "json_schema", "json_schema": {"name": "x", "schema": schema}}
    shaped = json.loads(await Chat(response_format=wanted).say("who are you?"))
    assert set(shaped) == {"answer", "n"}
    assert "demo model" in shaped["answer"]


async def test_the_token_limit_cuts() -> None:
    request = ModelRequest("any", [ModelMessage("user", "help")], max_completion_tokens=10)
    answer = await DemoModel().answer(request)
    assert answer.stop_reason == "length"
    assert len(answer.text) == 10 * CHARS_PER_TOKEN
    assert answer.usage.completion_tokens == 10
    assert answer.usage.prompt_tokens == 1


async def test_the_same_request_gives_the_same_answer_and_ids_differ_between_rounds() -> None:
    chat = Chat()
    messages = [ModelMessage("user", "12*12")]
    first, second = await chat.ask(messages), await chat.ask(messages)
    assert first == second
    later = await chat.ask([ModelMessage("user", "hi"), ModelMessage("assistant", "hi"), *messages])
    assert later.calls[0].id != first.calls[0].id


async def test_the_stream_is_the_answer_word_by_word() -> None:
    for text in ("help", "帮助", "show me some code"):
        request = ModelRequest("any", [ModelMessage("user", text)], TOOLS)
        *pieces, last = [piece async for piece in DemoModel().stream(request)]
        assert isinstance(last, ModelAnswer)
        assert "".join(str(piece) for piece in pieces) == last.text == (await DemoModel().answer(request)).text
        assert len(pieces) > 10


def _fields(text: str) -> set[str]:
    return {name for _, name, _, _ in Formatter().parse(text) if name is not None}


@pytest.mark.parametrize("language", LANGUAGES, ids=lambda language: language.code)
def test_the_languages_are_complete(language: Any) -> None:
    english = LANGUAGES[0]
    assert language.texts.keys() == english.texts.keys()
    filled = [key for key in english.texts if key not in ("code",)]  # shows a program with braces, is not filled
    assert {key: _fields(language.texts[key]) for key in filled} == {key: _fields(english.texts[key]) for key in filled}
    assert {topic for topic, _ in language.topics} == set(Topic)
    assert len(language.texts["weekdays"].split()) == 7


def test_every_place_has_a_real_zone() -> None:
    assert set(ZONES.values()) <= available_timezones()
    assert find_places("in mexico city and Europe/Paris") == {
        "Mexico City": "America/Mexico_City",
        "Europe/Paris": "Europe/Paris",
    }


HELP_EXAMPLES = [
    (language, example)
    for language in LANGUAGES
    for example in re.findall(r"`([^`]+)`", language.texts["help"])
    if not example.startswith(("/", "…", "¿…"))
]


@pytest.mark.parametrize(("language", "text"), HELP_EXAMPLES, ids=lambda value: getattr(value, "code", None))
async def test_what_help_offers_is_understood(language: Any, text: str) -> None:
    opening = language.texts["unknown"].partition("{text}")[0]
    assert not (await Chat().say(text)).startswith(opening)


nasty = st.one_of(
    st.text(max_size=300),
    st.lists(
        st.sampled_from(
            ["my", "is", "remember that", "what is", "12", "*", "(", ")", "-", "%", "sqrt", "call", "find_order",
             "order_id=", "{", "}", "[", "wait", "9999 seconds", "is it", "in", "time", "我", "是", "记住", "mein",
             "ist", "merk dir, dass", "mi", "es", "recuerda que", "?", ".", "{text}", "\ud800", "\x00", "`", "\n"]
        ),
        max_size=80,
    ).map(" ".join),
)  # fmt: skip


@given(
    text=nasty, output=nasty, schema=st.sampled_from([{}, {"type": "object", "properties": None}, {"type": ["x", 3]}])
)
@example(text="{" * 20_000, output="", schema={})
@example(text="find_order {" + '"a":[' * 3000, output="", schema={})
async def test_no_text_makes_it_fail(text: str, output: str, schema: dict[str, Any]) -> None:
    chat = Chat(
        tools=[*TOOLS, tool("find_order", schema)],
        outputs=dict.fromkeys(("calculator", "clock", "remember", "recall", "find_order"), output),
    )
    await chat.say("hello")
    assert isinstance(await chat.say(text), str)


@given(roles=st.lists(st.sampled_from(["system", "user", "assistant", "tool", "call", "odd"]), max_size=12))
async def test_no_order_of_messages_makes_it_fail(roles: list[str]) -> None:
    messages = [
        ModelMessage("assistant", calls=(ModelCall("1", "clock", "{no json"),))
        if role == "call"
        else ModelMessage(role, "12*12", call_id="1")
        for role in roles
    ]
    assert await Chat().ask(messages)


@pytest.mark.parametrize(
    "piece",
    ["my ", "my is ", "remember that my a is ", "12 * ", "((((", "find_order a=", "wait 5 ", "我是", "a", " ", "{",
     "what is ", "in Tokyo ", "and what ", "merk dir, dass a ist ", "recuerda que mi es ", "1,", "-", "\n", "我叫",
     "show "],
)  # fmt: skip
async def test_a_long_message_takes_no_time(piece: str) -> None:
    text = (piece * 20_000)[:20_000]
    chat = Chat(tools=[*TOOLS, FIND_ORDER])
    took = []
    for _ in range(3):  # the best of three: the machine has other work too
        began = time.process_time()
        await chat.ask([ModelMessage("user", text)])
        took.append(time.process_time() - began)
    assert min(took) < 0.05


def test_sentences() -> None:
    assert sentences("Hello! What is 3.5 + 1? 你好。再见") == ["Hello!", "What is 3.5 + 1?", "你好。", "再见"]
    assert sentences("What is my name and what time is it?") == ["What is my name", "what time is it?"]
