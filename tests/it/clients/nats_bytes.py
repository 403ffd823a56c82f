"""Publishes any text onto a lane of NATS: what a program does that has not read the documentation."""
import asyncio
import sys

import nats

url, route, text = sys.argv[1:]


async def main():
    connection = await nats.connect(url)
    await connection.jetstream().publish(f"bul.jobs.{route}", text.encode())
    await connection.drain()


asyncio.run(main())
