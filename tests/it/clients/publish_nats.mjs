// Publishes a job straight onto NATS with the package nats: acknowledged by the stream, and an error if no lane takes it.
import { createRequire } from "node:module";

const [modules, url, tenant, text] = process.argv.slice(2);
const { connect, headers, ErrorCode } = createRequire(`${modules}/`)("nats");
const job = { query: text, formats: ["html"] };
const event = { specversion: "1.0", id: "order-4712", source: "/erp", type: "dev.bul.job.submitted.v1", data: job };

const connection = await connect({ servers: url });
const jetstream = connection.jetstream(); // connection.publish() would not wait for the stream
const header = headers();
header.set("Content-Type", "application/cloudevents+json");
// msgID is the header Nats-Msg-Id: with it a second publication of the same job is dropped.
const options = { msgID: "order-4712", headers: header };
// The subject is bul.jobs.<lane>.<tenant>.
for (const expected of [false, true]) {
  const ack = await jetstream.publish(`bul.jobs.high.${tenant}`, JSON.stringify(event), options);
  if (ack.duplicate !== expected) throw new Error(`duplicate: ${ack.duplicate}`);
}
const refused = await jetstream.publish(`bul.jobs.urgent.${tenant}`, "{}").catch((error) => error.code);
if (refused !== ErrorCode.NoResponders) throw new Error(`a lane that does not exist took a message: ${refused}`);
await connection.drain();
console.log("published");
