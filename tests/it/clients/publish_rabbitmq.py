"""Publishes a job straight onto RabbitMQ with pika: confirmed, and an error if no queue takes it."""
import json
import sys

import pika

url, tenant, text = sys.argv[1:]
job = {"query": text, "formats": ["md"], "priority": "high"}

connection = pika.BlockingConnection(pika.URLParameters(url))
channel = connection.channel()
channel.confirm_delivery()  # without it a lost message looks like a sent one
properties = pika.BasicProperties(
    content_type="application/json",
    delivery_mode=pika.DeliveryMode.Persistent,
    message_id="order-4711",  # with it a second publication of the same job is known for one
    headers={"traceparent": "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"},
)
# The routing key is <lane>.<tenant>; mandatory: raises UnroutableError instead of dropping it silently.
channel.basic_publish("bul.jobs", f"high.{tenant}", json.dumps(job).encode(), properties, mandatory=True)
try:
    channel.basic_publish("bul.jobs", f"urgent.{tenant}", b"{}", properties, mandatory=True)
    sys.exit("a lane that does not exist took a message")
except pika.exceptions.UnroutableError:
    print("published")
connection.close()
