"""Publishes a job in MessagePack straight onto RabbitMQ with pika and msgpack; bare, and as the data of a CloudEvent."""
import sys

import msgpack
import pika

url, tenant, text = sys.argv[1:]
job = {"query": text, "formats": ["md"], "data": {"sections": ["Scope"], "amount": 12.5, "count": 3, "paid": False}}
event = {"specversion": "1.0", "id": "order-4713", "source": "/erp", "type": "dev.bul.job.submitted.v1", "data": job}

connection = pika.BlockingConnection(pika.URLParameters(url))
channel = connection.channel()
channel.confirm_delivery()
# The content type is not needed, but spares a guess.
properties = pika.BasicProperties(content_type="application/msgpack", delivery_mode=pika.DeliveryMode.Persistent)
for message in (job, event):
    channel.basic_publish("bul.jobs", f"high.{tenant}", msgpack.packb(message), properties, mandatory=True)
connection.close()
print("published")
