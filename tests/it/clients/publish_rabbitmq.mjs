// Publishes a job straight onto RabbitMQ with amqplib: confirmed, and an error if no queue takes it.
import { createRequire } from "node:module";

const [modules, url, tenant, text] = process.argv.slice(2);
const amqp = createRequire(`${modules}/`)("amqplib");
const job = { query: text, formats: ["html"] };

const connection = await amqp.connect(url);
const channel = await connection.createConfirmChannel(); // without confirms a lost message looks like a sent one
const returned = [];
channel.on("return", (message) => returned.push(message.fields.routingKey));
const options = {
  contentType: "application/cloudevents+json",
  persistent: true,
  messageId: "order-4712", // with it a second publication of the same job is known for one
  mandatory: true, // without it a message that no queue takes is dropped silently
};
const event = { specversion: "1.0", id: "order-4712", source: "/erp", type: "dev.bul.job.submitted.v1", data: job };
// The routing key is <lane>.<tenant>.
channel.publish("bul.jobs", `high.${tenant}`, Buffer.from(JSON.stringify(event)), options);
channel.publish("bul.jobs", `urgent.${tenant}`, Buffer.from("{}"), options);
await channel.waitForConfirms();
await connection.close();
if (returned.join() !== `urgent.${tenant}`) throw new Error(`returned: ${returned}`);
console.log("published");
