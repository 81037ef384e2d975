"""Who may come in: decided for each message at intake, before anything of it is stored.

Whom the settings name costs no look at Redis, everybody else one round trip at most.
"""

from __future__ import annotations

from collections import OrderedDict
from dataclasses import replace

from gateway.access import Rules, code_in, fingerprint
from gateway.domain.adapter import Mail
from gateway.domain.messages import Amendment, Command, InboundMessage, Origin, Refusal, adapter_of
from gateway.domain.pacing import Clock
from gateway.settings import Access, Settings
from gateway.store.pairings import Knock, Pairings
from gateway.telemetry import log

REMEMBER_S = 2.0
"""How long a gateway takes somebody who was paired for paired still: a revocation holds everywhere after it."""
REMEMBERED = 10_000
_NAME_CHARS = 100

_REFUSALS = {
    Knock.REFUSED: Refusal.NOT_PAIRED,
    Knock.WRONG_CODE: Refusal.WRONG_CODE,
    Knock.TOO_MANY_CODES: Refusal.TOO_MANY_CODES,
}


class Door:
    """One gateway's door. Lets in by the settings' rules and by what is paired, and remembers whom it refused."""

    def __init__(self, settings: Settings, pairings: Pairings, clock: Clock) -> None:
        self._settings = settings
        self._rules = Rules.of(settings.access_rules.allow, settings.access_rules.admins)
        self._pairings = pairings
        self._clock = clock
        self._paired: OrderedDict[str, float] = OrderedDict()
        """Person → until when (monotonic) they need not be looked up. Only who is in: a new pairing holds at once."""

    def is_admin(self, person: str) -> bool:
        """Whether a person (`Origin.person`) may order what others may not."""
        return self._rules.is_admin(person)

    async def judge(self, mail: Mail) -> Mail | None:
        """What may come in for `mail`: itself; a word for the workers about its author, with nothing of what they
        wrote; or None, as nothing is to be said.

        May be called twice with the same mail, and answers the same. Raises StoreDown.
        """
        platform = adapter_of(mail.conversation)
        mode = self._settings.effective_access(platform)
        origin = _origin(mail, platform)
        if mode is Access.OPEN or self._rules.allows(origin) or _brings_nothing_in(mail):
            return mail
        pairing = mode is Access.PAIRING
        message = mail if isinstance(mail, InboundMessage) else None
        code = _code(message, origin) if message and pairing else ""
        if pairing and not code and self._paired.get(origin.person, 0.0) > self._clock.monotonic():
            return mail
        knock = await self._pairings.knock(
            origin.person,
            message.event_id if message else "",
            code=fingerprint(code) if code else "",
            name=message.author_name[:_NAME_CHARS] if message else "",
            tell=message is not None and origin.addressed,
            pairing=pairing,
        )
        if knock in (Knock.IN, Knock.PAIRED):
            self._remember(origin.person)
        if knock is Knock.IN:
            return mail
        return self._word(message, knock, origin, mode) if message else None

    def _word(self, message: InboundMessage, knock: Knock, origin: Origin, mode: Access) -> InboundMessage | None:
        if knock is Knock.PAIRED:
            log.info("access.paired", person=origin.person)
            return _without_words(message, Command.PAIRED, "", origin)
        log.info("access.refused", person=origin.person, conversation=message.conversation, why=knock)
        if knock is Knock.SILENT:
            return None
        reason = Refusal.NOT_LISTED if mode is Access.ALLOWLIST else _REFUSALS[knock]
        return _without_words(message, Command.REFUSED, reason, origin)

    def _remember(self, person: str) -> None:
        self._paired[person] = self._clock.monotonic() + REMEMBER_S
        self._paired.move_to_end(person)
        while len(self._paired) > REMEMBERED:
            self._paired.popitem(last=False)


def _origin(mail: Mail, platform: str) -> Origin:
    """Who it is; of an adapter that does not say, the author it names."""
    if mail.origin.person or isinstance(mail, Amendment):
        return mail.origin
    return replace(mail.origin, person=f"{platform}:user:{mail.author_id}")


def _brings_nothing_in(mail: Mail) -> bool:
    """A deletion: there is nothing of a refused person that it could delete."""
    return isinstance(mail, Amendment) and mail.text is None


def _code(message: InboundMessage, origin: Origin) -> str:
    """The pairing code that a message is, "" for none. Where others read along it is not taken: it would be theirs as
    well; nor from who speaks as a chat, which may be several people."""
    is_person = origin.person.partition(":")[2].startswith("user:")
    if not (origin.direct and is_person):
        return ""
    return code_in(message.text, message.argument if message.command is Command.START else "")


def _without_words(message: InboundMessage, command: Command, argument: str, origin: Origin) -> InboundMessage:
    return InboundMessage(
        conversation=message.conversation,
        dedupe_keys=message.dedupe_keys,
        text="",
        author_id=message.author_id,
        language=message.language,
        command=command,
        argument=argument,
        message_id=message.message_id,
        reply_to=message.reply_to,
        sent_ms=message.sent_ms,
        order=message.order,
        origin=origin,
    )
