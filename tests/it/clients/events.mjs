// Submits a job and follows its events to the end; nothing but Node's own fetch.
const [url, key] = process.argv.slice(2);
const headers = { Authorization: `Bearer ${key}`, "Content-Type": "application/json" };

const job = { query: "Campaign brief for a harbour festival", formats: ["html"] };
const answer = await fetch(`${url}/v1/jobs`, { method: "POST", headers, body: JSON.stringify(job) });
if (answer.status !== 202) throw new Error(`${answer.status} ${await answer.text()}`);
const { id } = await answer.json();

const stream = await fetch(`${url}/v1/jobs/${id}/events`, { headers, signal: AbortSignal.timeout(60_000) });
let text = "";
for await (const chunk of stream.body.pipeThrough(new TextDecoderStream())) text += chunk;
const states = [...text.matchAll(/^data: ?(.*)$/gm)].map((m) => JSON.parse(m[1])).filter((e) => e.state);
console.log(`state ${states.at(-1).state}`);
