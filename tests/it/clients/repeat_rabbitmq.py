"""Publishes every message that lies on the lanes of RabbitMQ ten times more, in an order that is none: what a broker does
at its worst. The messages are read from FILE; where it is not there, COUNT of them are first taken down from the queues,
and put back."""
import json
import os
import random
import sys
import time

import pika

url, file, count = sys.argv[1:]
LANES = ["critical", "high", "normal", "low"]
TIMES = 10


def take_down(channel):
    found = []
    while len(found) < int(count):
        for lane in LANES:
            method, properties, body = channel.basic_get(f"bul.jobs.{lane}")
            while method:
                found.append([method.routing_key, body.decode(), properties.headers])
                method, properties, body = channel.basic_get(f"bul.jobs.{lane}")
        time.sleep(0.1)
    channel.basic_nack(0, multiple=True, requeue=True)
    return found


connection = pika.BlockingConnection(pika.URLParameters(url))
channel = connection.channel()
channel.confirm_delivery()
if not os.path.exists(file):
    with open(file, "w") as out:
        json.dump(take_down(channel), out)
messages = json.load(open(file)) * TIMES
assert len(messages) == int(count) * TIMES, len(messages)
random.Random(5).shuffle(messages)
for route, body, headers in messages:
    channel.basic_publish("bul.jobs", route, body.encode(), pika.BasicProperties(headers=headers, delivery_mode=2), mandatory=True)
connection.close()
