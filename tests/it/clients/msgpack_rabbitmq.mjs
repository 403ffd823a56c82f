// Publishes a job in MessagePack straight onto RabbitMQ with the packages amqplib and @msgpack/msgpack.
import { createRequire } from "node:module";

const [modules, url, tenant, text] = process.argv.slice(2);
const packages = createRequire(`${modules}/`);
const amqp = packages("amqplib");
const { encode } = packages("@msgpack/msgpack");
const job = { query: text, formats: ["html"], data: { sections: ["Scope"], amount: 12.5, count: 3, paid: false } };

const connection = await amqp.connect(url);
const channel = await connection.createConfirmChannel();
const options = { contentType: "application/msgpack", persistent: true, mandatory: true };
channel.publish("bul.jobs", `high.${tenant}`, Buffer.from(encode(job)), options);
await channel.waitForConfirms();
await connection.close();
console.log("published");
