"""Publishes any text onto a lane of RabbitMQ: what a program does that has not read the documentation, or that has read
another version of it. Headers with whole numbers follow as name=value."""
import sys

import pika

url, route, text, *headers = sys.argv[1:]
headers = {name: int(value) for name, value in (header.split("=", 1) for header in headers)}
connection = pika.BlockingConnection(pika.URLParameters(url))
channel = connection.channel()
channel.confirm_delivery()
channel.basic_publish("bul.jobs", route, text.encode(), pika.BasicProperties(headers=headers, delivery_mode=2), mandatory=True)
connection.close()
