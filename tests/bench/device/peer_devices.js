// The peer's devices: each has a PouchDB in memory with its documents, and replicates it to the server; so many at a time.
//
// `node peer_devices.js JOB.json` with {url, at_once, devices: [{name, documents: [...]}]}; prints one line of JSON at the end.
// What it replicates and what is measured is peer.py's matter.

"use strict";

const fs = require("fs");
require("events").defaultMaxListeners = 0; // every database of the run listens to the same "destroyed"
const PouchDB = require("pouchdb-core")
  .plugin(require("pouchdb-adapter-memory"))
  .plugin(require("pouchdb-adapter-http"))
  .plugin(require("pouchdb-replication"));

async function recorded(device) {
  const local = new PouchDB(device.name, { adapter: "memory" });
  const results = await local.bulkDocs(device.documents);
  const refused = results.filter((one) => !one.ok);
  if (refused.length) throw new Error(JSON.stringify(refused[0]));
  return local;
}

async function main() {
  const job = JSON.parse(fs.readFileSync(process.argv[2], "utf8"));
  const locals = [];
  for (const device of job.devices) locals.push(await recorded(device));
  const remote = new PouchDB(job.url, { adapter: "http" });
  await remote.info();
  const began = Date.now();
  let written = 0;
  const waiting = locals[Symbol.iterator]();
  const some = async () => {
    for (const local of waiting) written += (await PouchDB.replicate(local, remote)).docs_written;
  };
  await Promise.all(Array.from({ length: job.at_once }, some));
  console.log(JSON.stringify({ began: began / 1000, ended: Date.now() / 1000, written }));
  process.exit(0);
}

main().catch((fault) => {
  console.error(fault);
  process.exit(1);
});
