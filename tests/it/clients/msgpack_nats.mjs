// Publishes a job in MessagePack straight onto NATS with the packages nats and @msgpack/msgpack.
import { createRequire } from "node:module";

const [modules, url, tenant, text] = process.argv.slice(2);
const packages = createRequire(`${modules}/`);
const { connect, headers } = packages("nats");
const { encode } = packages("@msgpack/msgpack");
const job = { query: text, formats: ["html"], data: { sections: ["Scope"], amount: 12.5, count: 3, paid: false } };

const connection = await connect({ servers: url });
const header = headers();
header.set("Content-Type", "application/msgpack");
await connection.jetstream().publish(`bul.jobs.high.${tenant}`, encode(job), { headers: header });
await connection.drain();
console.log("published");
