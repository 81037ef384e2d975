"""Deliberate breaks of the store's scripts, one line each, and the test that has to notice."""

from __future__ import annotations

from collections.abc import Callable, Coroutine
from dataclasses import dataclass
from typing import Any

from tests.redis import test_dead_letters as letters
from tests.redis import test_joining as joining
from tests.redis import test_mailbox as mailbox
from tests.redis import test_rounds as rounds
from tests.redis import test_store as scripts


@dataclass(frozen=True)
class Mutant:
    """One break of one script."""

    script: str
    old: str
    """Stands in the script exactly once."""
    new: str
    why: str
    """What would go wrong."""
    caught_by: Callable[..., Coroutine[Any, Any, None]] | None = None
    """None: by the state machine."""

    def __str__(self) -> str:
        return f"{self.script}: {self.why}"


MUTANTS = (
    # -- ingest
    Mutant(
        "ingest",
        "if redis.call('EXISTS', KEYS[i]) == 1 then known",
        "if i == 4 and redis.call('EXISTS', KEYS[i]) == 1 then known",
        "a message known by its second name is stored again",
        scripts.test_a_message_is_stored_once_under_all_its_names,
    ),
    Mutant(
        "ingest",
        "for i = 4, #KEYS do redis.call('SET', KEYS[i], '1', 'EX', ttl) end\n  return",
        "return",
        "a new name of a known message is not learned",
        scripts.test_a_message_is_stored_once_under_all_its_names,
    ),
    Mutant(
        "ingest",
        "waiting >= cap",
        "waiting > cap",
        "one message more than the cap",
        scripts.test_a_full_inbox_refuses_and_takes_the_message_when_it_is_sent_again,
    ),
    Mutant(
        "ingest",
        "work[2] and tonumber(work[3]) or 0",
        "0",
        "a late message is put into the batch of the turn at work",
        mailbox.test_a_message_that_comes_late_is_not_put_before_the_turn_at_work,
    ),
    Mutant(
        "ingest",
        "(tonumber(content.order) or 0) <= order",
        "(tonumber(content.order) or 0) < order",
        "equal numbers turn the arrival round",
        mailbox.test_the_same_number_keeps_the_order_of_arrival,
    ),
    Mutant(
        "ingest",
        "if (tonumber(content.order) or 0) <= order",
        "if content.order ~= 0 and content.order <= order",
        "what has no number is overtaken",
        mailbox.test_what_has_no_number_is_not_overtaken,
    ),
    Mutant(
        "ingest",
        "at, before = at - 1, other",
        "at, before = at - 1, before or other",
        "a message overtakes one at most",
        mailbox.test_what_waits_together_is_answered_in_the_platforms_order,
    ),
    Mutant(
        "ingest",
        "if passed then redis.call('HSET', KEYS[2], 'stop', passed) end",
        "",
        "a stop that was stored first does not stop what was sent before it",
        mailbox.test_a_stop_with_nothing_before_it_stops_what_came_late,
    ),
    Mutant(
        "ingest",
        "if not passed then redis.call('HSET', KEYS[2], 'stop', seq) end",
        "redis.call('HSET', KEYS[2], 'stop', seq)",
        "an older stop takes the mark from a newer one",
        mailbox.test_of_two_stops_the_later_one_counts_not_the_one_that_came_later,
    ),
    Mutant(
        "ingest",
        "if kind == 's' and at > 0 then",
        "if kind == 's' then",
        "a stop with nothing to stop leaves a mark",
        scripts.test_a_stop_with_nothing_to_stop_is_an_ordinary_command,
    ),
    Mutant(
        "ingest",
        "redis.call('HDEL', KEYS[2], 'until') --",
        "--",
        "a parked turn hears of a stop when its wait is over",
        scripts.test_a_parked_turn_waits_its_time_and_does_not_count_as_a_failure,
    ),
    Mutant(
        "ingest",
        "if work[2] ~= 'replying' then",
        "if true then",
        "a platform that said slow down is asked at once",
        scripts.test_a_reply_that_waits_for_the_platform_is_not_hastened_by_a_stop,
    ),
    Mutant(
        "ingest",
        "kind == 'm' and 3 or 0",
        "3",
        "a command is taken for mail that may join",
        mailbox.test_mail_for_a_held_conversation_is_told_apart,
    ),
    Mutant(
        "ingest",
        "if debounce > 0 then",
        "if false then",
        "a burst is not collected",
        mailbox.test_a_burst_is_not_shortened_by_order,
    ),
    Mutant(
        "ingest",
        "redis.call('ZADD', KEYS[3], now + debounce + grace, conversation)",
        "",
        "mail that nobody would ever look at",
    ),
    Mutant("ingest", "if held then return {'stored', seq, 2} end", "", "a stop does not reach who works"),
    Mutant("ingest", "local seq = redis.call('HINCRBY', KEYS[2], 'seq', 1)", "local seq = 7", "numbers are not unique"),
    # -- find, amend, withdraw
    Mutant(
        "find",
        "if kind == 'm' and readable",
        "if readable",
        "a command is edited into a text",
        mailbox.test_a_command_is_not_edited_but_may_be_deleted,
    ),
    Mutant(
        "find",
        "and content.message_id == ARGV[1]",
        "",
        "an edit changes another message",
        mailbox.test_an_edit_of_what_does_not_wait_is_nothing,
    ),
    Mutant("find", "work[1] and tonumber(work[2]) or 0", "0", "an edit is tried on the batch of the turn at work"),
    Mutant(
        "amend",
        "if work[1] and at < tonumber(work[2]) then return 0 end",
        "",
        "an edit lands in a batch that was collected meanwhile",
        mailbox.test_an_edit_looks_again_when_the_message_changed_meanwhile,
    ),
    Mutant(
        "amend",
        "redis.call('LSET', KEYS[1], at, ARGV[2])",
        "",
        "an edit is told as done and is not",
        mailbox.test_an_edit_replaces_the_text_of_a_waiting_message,
    ),
    Mutant(
        "amend",
        "#!lua\n",
        "#!lua flags=allow-oom\n",
        "edits fill a Redis that is full",
        mailbox.test_a_full_redis_refuses_an_edit_but_never_a_deletion,
    ),
    Mutant(
        "withdraw",
        "#!lua flags=allow-oom\n",
        "#!lua\n",
        "a full Redis answers what was deleted",
        mailbox.test_a_full_redis_refuses_an_edit_but_never_a_deletion,
    ),
    Mutant(
        "withdraw",
        "(kind == 'm' or kind == 'c')",
        "true",
        "a stop is deleted, and its mark stays",
        mailbox.test_a_command_is_not_edited_but_may_be_deleted,
    ),
    Mutant(
        "withdraw",
        "redis.call('ZREM', KEYS[3], ARGV[1])",
        "",
        "workers look for what was deleted",
        mailbox.test_when_the_last_waiting_message_is_deleted_nobody_has_to_look,
    ),
    Mutant(
        "withdraw",
        "redis.call('HDEL', KEYS[2], 'until')",
        "",
        "a burst goes on without its message",
        mailbox.test_when_the_last_waiting_message_is_deleted_nobody_has_to_look,
    ),
    Mutant(
        "withdraw",
        "if redis.call('LLEN', KEYS[1]) == 0 then",
        "if true then",
        "the due entry goes with the first of two messages",
        mailbox.test_a_deletion_beside_a_turn_at_work_leaves_its_due_entry,
    ),
    Mutant("withdraw", "work[1] and tonumber(work[2]) or 0", "0", "a message is deleted out of a batch"),
    # -- acquire
    Mutant(
        "acquire",
        "if held[1] and tonumber(held[1]) > now then",
        "if false then",
        "two holders at once",
        scripts.test_a_conversation_has_one_holder,
    ),
    Mutant(
        "acquire",
        "if held[2] == owner then return answer(held[5]) end",
        "",
        "a lost answer leaves a conversation without a holder for a lease",
        joining.test_a_repeated_acquire_gets_the_same_answer,
    ),
    Mutant("acquire", "string.format('%06d', tonumber(t[2]))", "'000000'", "a fence is handed out twice"),
    Mutant(
        "acquire",
        "redis.call('HINCRBY', KEYS[2], 'tries', 1)",
        "",
        "a turn that kills its workers is never given up",
        scripts.test_an_unfinished_turn_is_taken_up_where_it_stopped,
    ),
    Mutant(
        "acquire",
        "if kind ~= 'm' then",
        "if kind == 's' then",
        "a command joins a batch",
        scripts.test_a_command_is_a_turn_of_its_own,
    ),
    Mutant(
        "acquire",
        "return {'not_yet', held[3] - now}",
        "return {'not_yet', 0}",
        "a parked turn is asked for without a pause",
        scripts.test_a_parked_turn_waits_its_time_and_does_not_count_as_a_failure,
    ),
    Mutant(
        "acquire",
        "known[1] and now or 0",
        "now",
        "a new installation is suspicious",
        joining.test_a_redis_that_was_restarted_is_suspicious_for_ten_minutes,
    ),
    Mutant(
        "acquire",
        "SUSPICIOUS_MS = 600000",
        "SUSPICIOUS_MS = 590000",
        "suspicion ends too early",
        joining.test_a_redis_that_was_restarted_is_suspicious_for_ten_minutes,
    ),
    Mutant(
        "acquire",
        "redis.call('HSET', KEYS[2], 'ri', 1)",
        "",
        "a replay does not look for the run that there is",
        joining.test_a_replayed_letter_is_a_turn_of_its_own_under_its_old_key,
    ),
    Mutant(
        "acquire",
        "{key = content.key, over",
        "{over",
        "a replay has another key, and is done twice",
        joining.test_a_replayed_letter_has_the_id_that_it_had,
    ),
    Mutant(
        "acquire",
        "if type(id) == 'string' then redis.call('HSET', KEYS[2], 'mid:' .. part, id) end",
        "",
        "a replay posts again what was posted",
        joining.test_of_a_replayed_reply_only_what_was_not_posted_is_left,
    ),
    Mutant(
        "acquire",
        "known.command == 'stop' and 's' or 'c'",
        "'m'",
        "a replayed command is a plain message",
        joining.test_a_replayed_command_is_still_one,
    ),
    Mutant(
        "acquire",
        "letter and take_up(letter) or n",
        "n",
        "a replayed turn has one message",
        joining.test_a_replayed_letter_is_a_turn_of_its_own_under_its_old_key,
    ),
    # -- step, renew, park
    Mutant(
        "step",
        "if held[1] ~= ARGV[2] or not held[2]",
        "if not held[2]",
        "a stale holder writes",
        scripts.test_a_stale_holder_writes_nothing,
    ),
    Mutant("step", "redis.call('HSET', KEYS[1], 'lease', until_ms)", "", "writing does not renew the lease"),
    Mutant(
        "step",
        "return {1, held[3] or ''}",
        "return {1, ''}",
        "whoever writes does not hear of a stop",
        scripts.test_stop_reaches_the_holder_and_covers_what_was_sent_before_it,
    ),
    Mutant(
        "renew",
        "held[1] == fence and held[2]",
        "held[2]",
        "a stale holder believes that it still holds",
        scripts.test_a_stale_holder_writes_nothing,
    ),
    Mutant(
        "renew",
        "held[3] and 3 or 1",
        "1",
        "a heartbeat does not tell of a stop",
        scripts.test_stop_reaches_the_holder_and_covers_what_was_sent_before_it,
    ),
    Mutant(
        "renew",
        "KEYS[i + 1], held[4])",
        "KEYS[i + 1], -1)",
        "mail behind a command is told as mail that may join",
        joining.test_a_heartbeat_tells_of_plain_mail_directly_behind_the_batch,
    ),
    Mutant("renew", "redis.call('HSET', KEYS[i], 'lease', until_ms)", "", "a heartbeat renews nothing"),
    Mutant(
        "park",
        "if redis.call('HGET', KEYS[1], 'fence') ~= ARGV[2] then return 0 end",
        "",
        "a stale holder puts the turn of another one down",
        scripts.test_a_stale_holder_writes_nothing,
    ),
    Mutant(
        "park",
        "ARGV[5] ~= '1' and",
        "",
        "a stop that was heard ends every wait",
        scripts.test_a_stop_that_was_heard_does_not_shorten_the_wait,
    ),
    Mutant(
        "park",
        "redis.call('HINCRBY', KEYS[1], 'tries', -1)",
        "",
        "a long run is given up for waiting",
        scripts.test_a_parked_turn_waits_its_time_and_does_not_count_as_a_failure,
    ),
    Mutant("park", "redis.call('HDEL', KEYS[1], 'lease', 'owner')", "", "a turn put down is still held"),
    # -- extend, behind, reject
    Mutant(
        "extend",
        "if held[1] ~= ARGV[2] or not held[2]",
        "if not held[2]",
        "a stale holder changes the batch",
        joining.test_a_stale_holder_extends_and_rejects_nothing,
    ),
    Mutant(
        "extend",
        "'sent', n,",
        "'sent', 0,",
        "messages are brought into the thread twice",
        joining.test_waiting_messages_join_the_turn_and_the_next_run_brings_just_them,
    ),
    Mutant(
        "extend",
        "if not held[5] and not held[6] then",
        "if false then",
        "a repeated call loses what joined the first time",
        joining.test_a_lost_answer_to_extend_is_given_again,
    ),
    Mutant(
        "extend",
        "if not string.match(envelope, '^%d+ m') then break end",
        "",
        "a command joins the turn and is not obeyed",
        joining.test_waiting_messages_join_the_turn_and_the_next_run_brings_just_them,
    ),
    Mutant(
        "extend",
        "string.match(field, '^mid:')",
        "false",
        "parts of the new reply are taken for posted",
        joining.test_a_reply_that_was_under_way_is_forgotten_when_mail_joins,
    ),
    Mutant(
        "extend",
        "string.match(field, '^ti?:')",
        "string.match(field, '^t:')",
        "a tool of the earlier run is taken for started",
        joining.test_waiting_messages_join_the_turn_and_the_next_run_brings_just_them,
    ),
    Mutant(
        "extend",
        "redis.call('HSET', KEYS[2], 'lease', until_ms)",
        "",
        "extending does not renew the lease",
        joining.test_extend_renews_the_lease,
    ),
    Mutant(
        "extend",
        "'tries', 1, 'sent'",
        "'sent'",
        "a turn that grew is given up for the tries of its earlier run",
        joining.test_waiting_messages_join_the_turn_and_the_next_run_brings_just_them,
    ),
    Mutant(
        "behind",
        "if not string.match(envelope, '^%d+ m') then break end",
        "",
        "a command is turned away as mail",
        joining.test_exactly_the_named_messages_are_rejected,
    ),
    Mutant(
        "behind",
        "held[1] ~= ARGV[1] or",
        "",
        "a stale holder reads the batch of another one",
        joining.test_a_stale_holder_extends_and_rejects_nothing,
    ),
    Mutant(
        "reject",
        "if at and at >= tonumber(held[3]) then",
        "if at then",
        "a message of the turn at work is lost",
        joining.test_the_batch_of_the_turn_cannot_be_rejected,
    ),
    Mutant(
        "reject",
        "held[1] ~= ARGV[1] or",
        "",
        "a stale holder turns mail away",
        joining.test_a_stale_holder_extends_and_rejects_nothing,
    ),
    # -- finish
    Mutant(
        "finish",
        "held[1] ~= ARGV[2] or",
        "",
        "a stale holder ends the turn of another one",
        scripts.test_a_stale_holder_writes_nothing,
    ),
    Mutant(
        "finish",
        "if string.match(envelope, '^%d+') == held[4] then",
        "if tonumber(string.match(envelope, '^%d+')) <= tonumber(held[4]) then",
        "a stop swallows what was sent after it",
        mailbox.test_a_stop_that_was_sent_earlier_spares_what_overtook_it,
    ),
    Mutant(
        "finish",
        "kind == 'c' or kind == 'r'",
        "kind == 'c'",
        "a stop loses a replayed letter",
        joining.test_a_stop_spares_a_letter_before_it,
    ),
    Mutant(
        "finish",
        "kind == 'c' or",
        "",
        "a stop swallows the command before it",
        scripts.test_a_stop_spares_the_commands_before_it,
    ),
    Mutant(
        "finish",
        "stop = last > 0",
        "stop = true",
        "an answered stop goes on stopping",
        scripts.test_an_answered_stop_stops_nothing_any_more,
    ),
    Mutant(
        "finish",
        "stop = last > 0",
        "stop = false",
        "a stop that was not heard is forgotten",
        scripts.test_a_stop_that_the_turn_at_work_did_not_hear_stops_the_mail_before_it,
    ),
    Mutant(
        "finish",
        "redis.call('LTRIM', KEYS[1], n, -1)",
        "redis.call('DEL', KEYS[1])",
        "mail that came meanwhile is lost",
        scripts.test_finish_may_be_repeated_and_spares_mail_that_came_meanwhile,
    ),
    Mutant(
        "finish",
        "redis.call('RPUSH', KEYS[4], held[5])",
        "",
        "the thread before /new is lost",
        scripts.test_new_opens_the_next_thread_and_keeps_the_old_one,
    ),
    Mutant(
        "finish",
        "if tonumber(ARGV[6]) > 0 and held[6] then",
        "if false then",
        "/last has nothing to show",
        joining.test_the_last_reply_is_kept_for_as_long_as_asked,
    ),
    Mutant("finish", "redis.call('ZREM', KEYS[3], ARGV[1])", "", "an answered conversation stays due"),
    Mutant(
        "finish",
        "redis.call('ZADD', KEYS[3], t[1] * 1000 + math.floor(t[2] / 1000) + tonumber(ARGV[5]), ARGV[1])",
        "",
        "mail that came meanwhile waits for the end of a lease that is given back",
    ),
    # -- the fleet, dead letters, small things
    Mutant(
        "sweep",
        "now + tonumber(ARGV[3])",
        "now",
        "every worker wakes the same conversation",
        scripts.test_the_sweep_names_what_is_due_once_per_interval,
    ),
    Mutant(
        "sweep",
        "left = left - math.min(left, here)",
        "",
        "a sweep names more than was asked for",
        rounds.test_a_sweep_is_one_round_trip_and_names_no_more_than_asked,
    ),
    Mutant(
        "report",
        "redis.call('ZREMRANGEBYSCORE', KEYS[i], '(' .. now, '+inf')",
        "",
        "a dead worker keeps its share after the clock was set back",
        rounds.test_a_clock_that_was_set_back_keeps_no_dead_worker,
    ),
    Mutant(
        "report",
        "if ARGV[2] == '1' then",
        "if true then",
        "who has no room keeps its share",
        rounds.test_who_has_no_room_or_leaves_has_no_share,
    ),
    Mutant(
        "bury",
        "if string.sub(letter, 1, #beginning) == beginning then return 0 end",
        "",
        "a turn is buried twice",
        letters.test_a_turn_is_kept_once_for_each_stage,
    ),
    Mutant(
        "bury",
        "redis.call('LTRIM', KEYS[1], 0, tonumber(ARGV[5]) - 1)",
        "",
        "dead letters grow without end",
        letters.test_only_so_many_are_kept_for_a_conversation,
    ),
    Mutant(
        "drop_dead",
        "redis.call('LREM', KEYS[1], 0, ARGV[2])",
        "redis.call('DEL', KEYS[1])",
        "dropping one letter drops all",
        letters.test_what_is_dropped_is_gone_and_the_rest_stays,
    ),
    Mutant(
        "replay_dead",
        "if redis.call('ZSCORE', KEYS[5], conversation) then return {1, 0} end",
        "",
        "a replay ends the wait of a parked turn",
        letters.test_a_replay_is_due_at_once_unless_somebody_looks_anyway,
    ),
    Mutant(
        "deliver",
        "'RPUSH'",
        "'LPUSH'",
        "a terminal reads the newest reply first",
        scripts.test_replies_wait_for_a_terminal_in_order_and_not_for_ever,
    ),
    Mutant(
        "keep_leader",
        "if owner and owner ~= ARGV[1] then return 0 end",
        "",
        "two leaders",
        scripts.test_leader_roles_have_one_owner,
    ),
    Mutant(
        "keep_leader",
        "redis.call('DEL', KEYS[1])",
        "",
        "a role that was given back is taken for a lease longer",
        scripts.test_leader_roles_have_one_owner,
    ),
)
