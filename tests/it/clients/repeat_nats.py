"""Publishes every message that lies on the lanes of NATS ten times more, in an order that is none: what a broker does at
its worst. The messages are read from FILE; where it is not there, COUNT of them are first taken down from the stream, and
stay in it."""
import asyncio
import json
import os
import random
import sys

import nats

url, file, count = sys.argv[1:]
STREAM = "BUL_JOBS"
TIMES = 10


async def take_down(jetstream):
    while True:
        state = (await jetstream.stream_info(STREAM)).state
        if state.messages >= int(count):
            break
        await asyncio.sleep(0.1)
    found = []
    for sequence in range(state.first_seq, state.last_seq + 1):
        message = await jetstream.get_msg(STREAM, sequence)
        # Under its name the stream would drop every copy.
        headers = {k: v for k, v in (message.headers or {}).items() if k != "Nats-Msg-Id"}
        found.append([message.subject, message.data.decode(), headers])
    return found


async def main():
    connection = await nats.connect(url)
    jetstream = connection.jetstream()
    if not os.path.exists(file):
        with open(file, "w") as out:
            json.dump(await take_down(jetstream), out)
    messages = json.load(open(file)) * TIMES
    assert len(messages) == int(count) * TIMES, len(messages)
    random.Random(5).shuffle(messages)
    for subject, body, headers in messages:
        await jetstream.publish(subject, body.encode(), headers=headers)
    await connection.drain()


asyncio.run(main())
