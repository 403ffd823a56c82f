"""Publishes any text onto a lane of RabbitMQ: what a program does that has not read the documentation."""
import sys

import pika

url, route, text = sys.argv[1:]
connection = pika.BlockingConnection(pika.URLParameters(url))
channel = connection.channel()
channel.confirm_delivery()
channel.basic_publish("bul.jobs", route, text.encode(), mandatory=True)
connection.close()
