"""Publishes a job in MessagePack straight onto NATS with nats-py and msgpack; bare, and as the data of a CloudEvent."""
import asyncio
import sys

import msgpack
import nats

url, tenant, text = sys.argv[1:]
job = {"query": text, "formats": ["md"], "data": {"sections": ["Scope"], "amount": 12.5, "count": 3, "paid": False}}
event = {"specversion": "1.0", "id": "order-4713", "source": "/erp", "type": "dev.bul.job.submitted.v1", "data": job}


async def main():
    connection = await nats.connect(url)
    jetstream = connection.jetstream()
    for message in (job, event):
        # The header is not needed, but spares a guess.
        headers = {"Content-Type": "application/msgpack"}
        await jetstream.publish(f"bul.jobs.high.{tenant}", msgpack.packb(message), headers=headers)
    await connection.drain()
    print("published")


asyncio.run(main())
