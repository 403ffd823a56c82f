"""Publishes a job straight onto NATS with nats-py: acknowledged by the stream, and an error if no lane takes it."""
import asyncio
import json
import sys

import nats

url, tenant, text = sys.argv[1:]
job = {"query": text, "formats": ["md"], "priority": "high"}


async def main():
    connection = await nats.connect(url)
    jetstream = connection.jetstream()  # connection.publish() would not wait for the stream
    headers = {
        "Content-Type": "application/json",
        "Nats-Msg-Id": "order-4711",  # with it a second publication of the same job is dropped
        "traceparent": "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01",
    }
    # The subject is bul.jobs.<lane>.<tenant>.
    for expected in (False, True):
        ack = await jetstream.publish(f"bul.jobs.high.{tenant}", json.dumps(job).encode(), headers=headers)
        assert bool(ack.duplicate) is expected, ack
    try:
        await jetstream.publish(f"bul.jobs.urgent.{tenant}", b"{}")
        sys.exit("a lane that does not exist took a message")
    except nats.js.errors.NoStreamResponseError:
        print("published")
    await connection.drain()


asyncio.run(main())
