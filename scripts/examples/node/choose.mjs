// Asks banditd which variant to show, reports a reward for it, and prints both answers as JSON.
//
//   npm ci
//   node choose.mjs [ADDRESS] [EXPERIMENT] [CONTEXT] [REWARD]
//   node choose.mjs 127.0.0.1:50051 spring-email '{"recency": 3, "channel": "Web"}' 1
//
// ADDRESS is host:port or unix:/path. CONTEXT is a JSON object of signals: a string, a number, a boolean, or an
// array of strings each. Nothing here is generated: the .proto files are loaded as they are.

import { randomUUID } from "node:crypto";
import { fileURLToPath } from "node:url";
import grpc from "@grpc/grpc-js";
import protoLoader from "@grpc/proto-loader";

const protos = fileURLToPath(new URL("../../../protos", import.meta.url));
const definition = protoLoader.loadSync("bandit/v1/bandit.proto", {
  includeDirs: [protos],
  keepCase: true, // field names as in the .proto files
  enums: String,
  defaults: true,
});
const { BanditService } = grpc.loadPackageDefinition(definition).bandit.v1;

function featureValue(value) {
  switch (typeof value) {
    case "boolean":
      return { flag: value };
    case "number":
      return { number: value };
    case "string":
      return { text: value };
    default:
      return { texts: { values: value } };
  }
}

// A UUIDv7: ids that grow with time keep the event log's index compact.
function uuid7() {
  const milliseconds = Date.now().toString(16).padStart(12, "0");
  return `${milliseconds.slice(0, 8)}-${milliseconds.slice(8)}-7${randomUUID().slice(15)}`;
}

function call(client, method, request) {
  const deadline = Date.now() + 1000;
  return new Promise((resolve, reject) => {
    client[method](request, { deadline }, (error, response) => (error ? reject(error) : resolve(response)));
  });
}

const [address = "127.0.0.1:50051", experiment = "spring-email", contextJson = "{}", reward = "1"] =
  process.argv.slice(2);
let signals;
try {
  signals = JSON.parse(contextJson);
} catch (error) {
  console.error(`CONTEXT is not JSON: ${error.message}`);
  process.exit(2);
}
const context = Object.fromEntries(Object.entries(signals).map(([name, value]) => [name, featureValue(value)]));
const client = new BanditService(address, grpc.credentials.createInsecure());
try {
  const choice = await call(client, "Choose", {
    experiment_id: experiment,
    decision_id: uuid7(), // made here, so that a retry of this call is the same decision
    context,
  });
  const rewarded = await call(client, "Reward", { decision_id: choice.decision_id, value: Number(reward) });
  console.log(JSON.stringify({ choice, reward: rewarded }));
} catch (error) {
  console.error(`${grpc.status[error.code] ?? "ERROR"}: ${error.details ?? error.message}`);
  process.exitCode = 1;
} finally {
  client.close();
}
