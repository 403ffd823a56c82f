"""Publishes any text onto a lane of NATS: what a program does that has not read the documentation, or that has read
another version of it. A text of the form @FILE stands for the bytes of a file. Headers follow as name=value."""
import asyncio
import sys

import nats

url, route, text, *headers = sys.argv[1:]
body = open(text[1:], "rb").read() if text.startswith("@") else text.encode()
headers = dict(header.split("=", 1) for header in headers) or None


async def main():
    connection = await nats.connect(url)
    await connection.jetstream().publish(f"bul.jobs.{route}", body, headers=headers)
    await connection.drain()


asyncio.run(main())
