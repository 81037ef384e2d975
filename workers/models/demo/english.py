"""The demo model's English."""

from __future__ import annotations

from workers.models.demo.language import Language, Topic, pattern, spoken

_SHOW = r"\b(?:show|write|make|give|create|draw|send|print)\b"

ENGLISH = Language(
    code="en",
    topics=(
        (
            Topic.FIRST_SAID,
            pattern(
                r"what (?:did|have) i (?:say|said|write|ask|tell)[^?]{0,20}\b(?:first|beginning|start)\b"
                r"|what was (?:my|the) first (?:message|question|thing)"
            ),
        ),
        (
            Topic.SAID_BEFORE,
            pattern(
                r"what (?:did|have) i (?:just )?(?:say|said|write|written|ask|tell)"
                r"|my (?:last|previous) (?:message|question)|repeat what i said"
            ),
        ),
        (
            Topic.SUMMARY,
            pattern(r"\bsummar(?:y|ies|i[sz]e)\b|\brecap\b|what (?:have|did) we (?:talk|discuss|speak)"),
        ),
        (Topic.LONG, pattern(r"\blong(?:er)? (?:text|story|answer|reply|message|essay)\b")),
        (Topic.TABLE, pattern(rf"{_SHOW}.*\btables?\b|^\W*(?:a )?table\W*$")),
        (Topic.LIST, pattern(rf"{_SHOW}.*\b(?:list|bullets?)\b|^\W*(?:a )?list\W*$")),
        (Topic.CODE, pattern(rf"{_SHOW}.*\b(?:code|snippet)\b|\bcode block\b|^\W*code\W*$")),
        (Topic.MARKDOWN, pattern(r"\bmarkdown\b|\bformatting\b")),
        (Topic.BOLD, pattern(r"\bbold\b|\bitalics?\b")),
        (Topic.JOKE, pattern(r"\bjokes?\b|make me laugh|something funny")),
        (Topic.TELEGRAM, pattern(r"\btelegram\b|\bbotfather\b")),
        (Topic.SLACK, pattern(r"\bslack\b")),
        (
            Topic.REAL_MODEL,
            pattern(
                r"\b(?:real|another|other|different|better|local|own|proper|actual) (?:language "
                r"|ai )?(?:model|llm)\b"
                r"|\b(?:ollama|openai|api key|vllm|lm studio)\b|\b(?:use|connect|change"
                r"|switch) (?:the |a )?(?:model|llm)\b"
            ),
        ),
        (Topic.COMMANDS, pattern(r"\bcommands?\b|(?:^|\s)[/!](?:new|stop|help)\b")),
        (
            Topic.WHO,
            pattern(
                r"\b(?:who|what) are you\b|\bwhat(?:'s|’s| is) your name\b|\bwhich model\b|\bwhat model\b"
                r"|\bare you (?:an? )?(?:bot|ai|human|robot|real|person|chatgpt|gpt|language model|llm"
                r"|demo|intelligent)\b"
            ),
        ),
        (Topic.HOW_ARE_YOU, pattern(r"\bhow are you\b|\bhow(?:'s|’s| is) it going\b")),
        (Topic.WHAT_IS, pattern(r"\bthreadway\b|\bwhat is this\b|\bhow does (?:this|it) (?:all )?work\b")),
        (Topic.HELP, pattern(r"\bhelp\b|\bwhat can (?:you|i) (?:do|ask|say|try)\b|\bexamples?\b")),
        (Topic.THANKS, pattern(r"\bthank(?:s| you)\b|\bcheers\b")),
        (Topic.GOODBYE, pattern(r"\b(?:good)?bye\b|\bsee you\b|\bgood night\b")),
        (Topic.GREETING, pattern(r"^\W*(?:hi|hello|hey|howdy|greetings|good (?:morning|afternoon|evening))\b")),
    ),
    name_is=pattern(
        r"\b(?:my name(?: is|'s|’s)|call me|i am called)\s+"
        r"(?P<value>[^\s,.!?;:]{1,40}(?: (?-i:[A-Z])[^\s,.!?;:]{0,40})?)"
    ),
    fact_is=(pattern(r"\bmy\s+(?P<thing>\S.{0,40}?)\s+(?:is|are)\s+(?P<value>\S.{0,79}?)[\s.!]*$"),),
    asks_name=pattern(
        r"\bwhat(?:'s|’s| is| was) my name\b|\bwho am i\b|\b(?:know|remember) (?:my name"
        r"|who i am)\b"
    ),
    asks_fact=pattern(
        r"\b(?:what(?:'s|’s| is| are| was| were)|who is|do you (?:know|remember|recall)|recall)\s+my\s+"
        r"(?P<thing>\S.{0,59}?)[\s?.!]*$"
    ),
    asks_all=pattern(r"\bwhat (?:do|did|can|else do) you (?:still )?(?:remember|recall|know about me)\b"),
    remember=(
        pattern(
            r"\bremember\b(?: please)?(?: that| this)?[:,]?\s+(?:my\s+)?"
            r"(?P<thing>\S.{0,59}?)\s+(?:is|are|=)\s+(?P<value>\S.{0,199}?)[\s.!]*$"
        ),
        pattern(r"\bremember\b(?: please)?(?: that| this)?[:,]?\s+(?P<value>\S.{0,199}?)[\s.!]*$"),
    ),
    wait=pattern(r"\b(?:wait|sleep|pause)\b(?: for)?\s+(?P<seconds>\d{1,6})\s*(?:s|sec|secs|seconds?)\b"),
    time=pattern(
        r"\bwhat(?:'s|’s| is)?\s+(?:the\s+)?(?:current\s+|local\s+)?time\b(?! complexity)"
        r"|\btime (?:is it|now|in)\b"
        r"|\bcurrent time\b|\bwhat (?:day|date) is\b|\btoday(?:'s|’s) date\b|\bwhat(?:'s|’s| is) the date\b"
    ),
    place=pattern(r"\bin\s+(?P<place>(?!the\b|this\b|your\b|my\b)[\w/+-]{2,40}(?: (?-i:[A-Z])\w{1,40})?)"),
    name_words=frozenset({"name", "first name"}),
    decimal_comma=False,
    **spoken("en"),
)
