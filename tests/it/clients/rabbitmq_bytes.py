"""Publishes any text onto a lane of RabbitMQ: what a program does that has not read the documentation, or that has read
another version of it. A text of the form @FILE stands for the bytes of a file. Headers with whole numbers follow as name=value."""
import sys

import pika

url, route, text, *headers = sys.argv[1:]
body = open(text[1:], "rb").read() if text.startswith("@") else text.encode()
headers = {name: int(value) for name, value in (header.split("=", 1) for header in headers)}
connection = pika.BlockingConnection(pika.URLParameters(url))
channel = connection.channel()
channel.confirm_delivery()
channel.basic_publish("bul.jobs", route, body, pika.BasicProperties(headers=headers, delivery_mode=2), mandatory=True)
connection.close()
