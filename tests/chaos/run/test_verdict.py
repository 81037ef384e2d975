"""The verifier sees what is broken, and nothing where nothing is: made-up histories."""

from __future__ import annotations

from tests.chaos.run.backend import word
from tests.chaos.run.history import History, Message, Post, Run
from tests.chaos.run.verdict import FORGOTTEN, UNSURE, Verdict, judge

SAYINGS = {"I was interrupted": UNSURE}
TELEGRAM, SLACK = "telegram:910000000", "slack:D0CHAOS001"


class Story:
    """A history that is told in a few words; a second passes with each."""

    def __init__(self, place: str = TELEGRAM) -> None:
        self.place, self.history, self.now = place, History(), 1000.0
        self.probes: frozenset[str] = frozenset()

    def tick(self) -> float:
        self.now += 1
        return self.now

    def sent(self, *names: str, acked: bool = True) -> Story:
        for name in names:
            message = Message(self.place, name, self.tick())
            message.acked_at = self.tick() if acked else None
            self.history.messages[name] = message
        return self

    def run(self, number: int, *names: str, words: int = 4, key: str = "") -> Story:
        run = Run(f"run_{number}", key or f"key {names}", self.place, self.tick(), names, words, "completed")
        self.history.runs.append(run)
        return self

    def posted(self, number: int, first: int = 0, last: int = 3, place: str = "") -> Story:
        return self.said(" ".join(word(f"run_{number}", n) for n in range(first, last + 1)), place)

    def said(self, text: str, place: str = "") -> Story:
        place, at = place or self.place, self.tick()
        self.history.posts[place, str(at)] = Post(place, str(at), at, text)
        return self

    def judged(self) -> Verdict:
        return judge(self.history, SAYINGS, probes=self.probes)

    def breaches(self) -> list[str]:
        return [breach.kind for breach in self.judged().breaches]


def test_nothing_is_found_where_nothing_is_wrong() -> None:
    story = Story().sent("q0x1").run(1, "q0x1").posted(1).sent("q0x2", "q0x3").run(2, "q0x2", "q0x3", words=8)
    story.posted(2, 0, 3).posted(2, 4, 7)
    verdict = story.judged()
    assert (verdict.messages, verdict.acked, verdict.answered, verdict.parts) == (3, 3, 3, 3)
    assert verdict.breaches == []


def test_a_message_that_no_run_brought_is_lost() -> None:
    assert Story().sent("q0x1", "q0x2").run(1, "q0x2").posted(1).breaches() == ["lost"]


def test_a_message_that_was_never_acked_is_the_platforms() -> None:
    verdict = Story().sent("q0x1", acked=False).judged()
    assert (verdict.breaches, verdict.answered) == ([], 0)


def test_a_reply_that_never_came_is_lost() -> None:
    assert Story().sent("q0x1").run(1, "q0x1").breaches() == ["lost"]


def test_a_missing_part_is_lost_even_if_the_others_are_there() -> None:
    assert Story().sent("q0x1").run(1, "q0x1", words=12).posted(1, 0, 3).posted(1, 8, 11).breaches() == ["lost"]


def test_on_telegram_a_notice_tells_what_on_slack_has_to_be_known() -> None:
    for place, kinds, told in ((TELEGRAM, [], 1), (SLACK, ["lost"], 0)):
        story = Story(place).sent("q0x1").run(1, "q0x1", words=8).posted(1, 0, 3)
        verdict = story.said("I was interrupted while sending").judged()
        assert [breach.kind for breach in verdict.breaches] == kinds
        assert (verdict.told, verdict.notices) == (told, 1)


def test_a_notice_from_before_tells_nothing() -> None:
    assert Story().said("I was interrupted").sent("q0x1").run(1, "q0x1").breaches() == ["lost"]


def test_a_notice_about_the_next_reply_tells_nothing_of_this_one() -> None:
    story = Story().sent("q0x1", "q0x2").run(1, "q0x1").run(2, "q0x2").said("I was interrupted")
    assert [breach.what.split()[0] for breach in story.judged().breaches] == ["q0x1"]


def test_a_reply_that_stands_there_twice_is_doubled() -> None:
    assert Story(SLACK).sent("q1x1").run(1, "q1x1").posted(1).posted(1).breaches() == ["doubled"]


def test_a_part_that_was_split_elsewhere_and_overlaps_is_doubled() -> None:
    assert Story().sent("q0x1").run(1, "q0x1", words=8).posted(1, 0, 4).posted(1, 4, 7).breaches() == ["doubled"]


def test_a_reply_in_the_wrong_chat_is_astray_there_and_lost_here() -> None:
    story = Story().sent("q0x1").run(1, "q0x1").posted(1, place=SLACK)
    story.place = SLACK
    assert sorted(story.sent("q1x1").run(2, "q1x1").posted(2).breaches()) == ["astray", "lost"]


def test_two_runs_that_bring_one_message_are_a_doubled_run() -> None:
    story = Story().sent("q0x1").run(1, "q0x1", key="a").run(2, "q0x1", key="b").posted(1).posted(2)
    assert story.breaches() == ["doubled run"]


def test_two_runs_with_one_key_are_a_doubled_run() -> None:
    story = Story().sent("q0x1", "q0x2").run(1, "q0x1", key="a").run(2, "q0x2", key="a").posted(1).posted(2)
    assert story.breaches() == ["doubled run"]


def test_a_run_that_is_doubled_because_the_thread_was_forgotten_has_a_name_of_its_own() -> None:
    story = Story().sent("q0x1").run(1, "q0x1", key="a").run(2, "q0x1", key="b").posted(1).posted(2)
    story.history.runs[1].thread = "another"
    assert story.breaches() == [FORGOTTEN]


def test_a_message_twice_in_one_run_is_doubled() -> None:
    assert Story().sent("q0x1").run(1, "q0x1", "q0x1").posted(1).breaches() == ["doubled run"]


def test_what_was_ours_before_the_other_was_sent_comes_first() -> None:
    assert Story().sent("q0x1", "q0x2").run(1, "q0x2").posted(1).run(2, "q0x1").posted(2).breaches() == ["reordered"]
    assert Story().sent("q0x1", "q0x2").run(1, "q0x2", "q0x1").posted(1).breaches() == ["reordered"]


def test_what_was_not_yet_ours_may_come_later() -> None:
    story = Story().sent("q0x1", acked=False).sent("q0x2").run(1, "q0x2").posted(1).run(2, "q0x1").posted(2)
    assert story.breaches() == []


def test_replies_and_their_parts_come_in_order() -> None:
    two = Story().sent("q0x1", "q0x2").run(1, "q0x1").run(2, "q0x2")
    assert two.posted(2).posted(1).breaches() == ["reordered"]
    assert Story().sent("q0x1").run(1, "q0x1", words=8).posted(1, 4, 7).posted(1, 0, 3).breaches() == ["reordered"]


def test_a_last_message_without_an_answer_is_a_wedged_conversation() -> None:
    story = Story().sent("q0x1").run(1, "q0x1").posted(1).sent("q0x2")
    story.probes = frozenset({"q0x2"})
    assert story.breaches() == ["wedged"]


def test_a_placeholder_that_nobody_finished_is_a_stub() -> None:
    verdict = Story().sent("q0x1").run(1, "q0x1").said("…").posted(1).judged()
    assert (verdict.stubs, verdict.breaches) == (1, [])


def test_a_history_is_printed_in_the_order_of_time() -> None:
    story = Story().sent("q0x1").run(1, "q0x1").posted(1)
    lines = story.history.of(TELEGRAM)
    assert [line.split()[1] for line in lines] == ["person", "backend", "platform"]
