"""The bare side of `turns`, in a process of its own: the same calls with the official SDK, and nothing else.

No queue, no store, no lease: what it does not survive is what threadway costs. It is given the transport that threadway
uses, the faster of the SDK's two, and as many sockets.
"""

from __future__ import annotations

import asyncio
import json
import sys
import time
import warnings

from openai import AsyncOpenAI, DefaultAioHttpClient

LOOK_EVERY_S = 0.5
CALLS = 64
"""Calls in flight, as in workers/backends/assistants.py."""


async def converse(client: AsyncOpenAI, gate: asyncio.Semaphore, name: str, text: str) -> float:
    """One conversation from its thread to its reply; when the reply was there (monotonic seconds)."""
    beta = client.beta.threads
    async with gate:
        thread = await beta.create(metadata={"threadway_conversation": name})
    async with gate:
        run = await beta.runs.create(
            thread.id, assistant_id="asst_1", additional_messages=[{"role": "user", "content": text}]
        )
    while run.status != "completed":
        await asyncio.sleep(LOOK_EVERY_S)
        async with gate:
            run = await beta.runs.retrieve(run.id, thread_id=thread.id)
    async with gate:
        page = await beta.messages.list(thread.id, run_id=run.id, order="asc")
    assert [block.text.value for block in page.data[0].content if block.type == "text"] == [f"echo 1: {text}"]
    return time.monotonic()


async def main(url: str, count: int, text: str) -> None:
    """`count` conversations at once; prints one JSON line: CPU and wall seconds, and when each reply was there."""
    async with AsyncOpenAI(
        base_url=url, api_key="none", max_retries=0, http_client=DefaultAioHttpClient(trust_env=False)
    ) as client:
        gate = asyncio.Semaphore(CALLS)
        await converse(client, gate, "warm-up", "hello")  # the SDK imports each resource at first use
        names = [f"bare:{number}" for number in range(count)]
        cpu_s, wall_s = time.process_time(), time.monotonic()
        seen = await asyncio.gather(*(converse(client, gate, name, text) for name in names))
        cpu_s, wall_s = time.process_time() - cpu_s, time.monotonic() - wall_s
    print(json.dumps({"cpu_s": cpu_s, "wall_s": wall_s, "seen": dict(zip(names, seen, strict=True))}), flush=True)


if __name__ == "__main__":
    warnings.filterwarnings("ignore", message="The Assistants API is deprecated", category=DeprecationWarning)
    asyncio.run(main(sys.argv[1], int(sys.argv[2]), sys.argv[3]))
