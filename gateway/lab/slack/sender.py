"""Brings events, commands and button presses to the app: signed POSTs or Socket Mode envelopes, repeated until taken.

Sources: docs.slack.dev, "The Events API" (3 s, three more tries: at once, after 1 min, after 5 min, x-slack-retry-num
and -reason, x-slack-no-retry) and "Verifying requests from Slack" (v0 signature).
"""

from __future__ import annotations

import hashlib
import hmac
import json
import uuid
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import cycle
from urllib.parse import urlencode

from gateway.domain.pacing import Clock
from gateway.lab.background import Background
from gateway.lab.courier import Answer, Courier, within
from gateway.lab.faults import Faults
from gateway.lab.feed import Json
from gateway.lab.slack.socket import Sockets
from gateway.telemetry import log

ANSWER_LIMIT_S = 3.0
RETRY_AFTER_S = (0.0, 60.0, 300.0)
"""Slack's own patience. A test that keeps an app away for longer brings a longer one."""


@dataclass(frozen=True, slots=True)
class Parcel:
    """One thing to deliver; `payload` is the Events API body, or the fields of a command or interaction."""

    kind: str
    """Socket Mode's word: events_api | slash_commands | interactive"""
    payload: Json
    name: str
    """For logs: the event id or the kind."""

    def body(self) -> tuple[bytes, str]:
        """HTTP body and content type."""
        if self.kind == "events_api":
            return json.dumps(self.payload, ensure_ascii=False).encode(), "application/json"
        fields = {"payload": json.dumps(self.payload)} if self.kind == "interactive" else self.payload
        return urlencode(fields).encode(), "application/x-www-form-urlencoded"


class Sender:
    """Delivers parcels, each in a task of its own; nothing is promised about their order, as with the real Slack.

    Several `urls` stand for the replicas behind a load balancer: each attempt goes to the next one.
    """

    def __init__(
        self,
        urls: Sequence[str],
        secret: str,
        clock: Clock,
        faults: Faults,
        courier: Courier,
        sockets: Sockets,
        background: Background,
        retry_after_s: Sequence[float] = RETRY_AFTER_S,
    ) -> None:
        self._urls, self._retry_after_s = cycle(urls), retry_after_s
        self._secret, self._clock, self._faults = secret, clock, faults
        self._courier, self._sockets, self._background = courier, sockets, background

    def send_event(self, payload: Json) -> None:
        """Deliver an event in the background, with retries."""
        self._background.start(self._insist(Parcel("events_api", payload, payload["event_id"])))

    async def send_once(self, parcel: Parcel) -> Answer:
        """Deliver a command or interaction: one attempt, whose answer the caller shows."""
        return await self._attempt(parcel, 0, "")

    async def verify_url(self) -> bool:
        """Do the url_verification handshake; True when the challenge came back."""
        challenge = uuid.uuid4().hex
        payload = {"token": "legacy", "challenge": challenge, "type": "url_verification"}
        answer = await self._post(Parcel("events_api", payload, "url_verification"), 0, "")
        told = answer.body.decode(errors="replace").strip()
        return answer.accepted and challenge in told

    def sign(self, body: bytes, timestamp: str) -> str:
        """X-Slack-Signature of a body."""
        base = b"v0:" + timestamp.encode() + b":" + body
        return "v0=" + hmac.new(self._secret.encode(), base, hashlib.sha256).hexdigest()

    async def _insist(self, parcel: Parcel) -> None:
        twice = self._faults.duplicate("slack")
        attempt, reason = 0, ""
        while True:
            answer = await self._attempt(parcel, attempt, reason)
            if answer.accepted and not twice:
                return
            if answer.accepted:
                # The fault "duplicates": taken, but Slack did not hear it and says so in the second delivery.
                twice, reason = False, "http_timeout"
            else:
                reason = answer.reason
                log.warning("lab.event.failed", event_id=parcel.name, status=answer.status, reason=reason)
                if answer.headers.get("x-slack-no-retry") == "1":
                    return
            if attempt == len(self._retry_after_s):
                return
            await self._clock.sleep(self._retry_after_s[attempt])
            attempt += 1

    async def _attempt(self, parcel: Parcel, attempt: int, reason: str) -> Answer:
        if self._sockets.wanted:
            return await self._frame(parcel, attempt, reason)
        return await self._post(parcel, attempt, reason)

    async def _post(self, parcel: Parcel, attempt: int, reason: str) -> Answer:
        body, content_type = parcel.body()
        timestamp = str(int(self._clock.now().timestamp()))
        headers = {
            "Content-Type": content_type,
            "X-Slack-Request-Timestamp": timestamp,
            "X-Slack-Signature": self.sign(body, timestamp),
        }
        if attempt:
            headers |= {"X-Slack-Retry-Num": str(attempt), "X-Slack-Retry-Reason": reason}
        return await self._courier.post(next(self._urls), body, headers, ANSWER_LIMIT_S)

    async def _frame(self, parcel: Parcel, attempt: int, reason: str) -> Answer:
        envelope: Json = {
            "envelope_id": str(uuid.uuid4()),
            "type": parcel.kind,
            "payload": parcel.payload,
            "accepts_response_payload": parcel.kind != "events_api",
        }
        if parcel.kind == "events_api":
            envelope |= {"retry_attempt": attempt, "retry_reason": reason}
        try:
            ack = await within(self._clock, ANSWER_LIMIT_S, self._sockets.send(envelope))
        except TimeoutError:
            return Answer(0, "timeout")
        except ConnectionError:
            return Answer(0, "connection_failed")
        return Answer(200, body=json.dumps(ack.get("payload") or {}).encode())
