// A capacity provider on grpc-js, with the contract loaded at run time by proto-loader.

import grpc from "@grpc/grpc-js";
import protoLoader from "@grpc/proto-loader";
import { HealthImplementation } from "grpc-health-check";
import { CapacityType, Fleet, Refused, Token, options } from "./fleet.mjs";

const { port, ...fleetOptions } = options();
const fleet = new Fleet(fleetOptions);

// 64-bit numbers come as strings: a JavaScript number is exact only up to 2^53.
const definition = protoLoader.loadSync("bigfleet/v1alpha1/provider.proto", {
  includeDirs: [process.env.PROTO_DIR], keepCase: true, longs: String, enums: Number, defaults: true,
});
const { bigfleet } = grpc.loadPackageDefinition(definition);

const token = (request) => new Token(request.shard_id, BigInt(request.shard_epoch), BigInt(request.sequence_number));

function message(machine) {
  return {
    id: machine.id,
    state: machine.state,
    host: machine.host ? { provider: "grpc-js", ref: machine.host } : null,
    instance_type: "m1.large",
    zone: machine.zone,
    capacity_type: machine.capacityType,
    price_per_hour: 0.1,
    interruption_probability: machine.capacityType === CapacityType.SPOT ? 0.05 : 0,
    resources: { resources: { cpu: "2", memory: "8Gi" } },
    allocatable: { resources: { cpu: "1900m", memory: "7Gi" } },
    cluster: machine.cluster,
    shard_metadata: machine.metadata,
  };
}

const ack = ({ operation, machine }) => ({ operation_id: operation, machine: message(machine) });

// Turns a function of a request into a unary handler; a refusal becomes the call's status.
function unary(serve) {
  return (call, callback) => {
    try {
      callback(null, serve(call.request));
    } catch (error) {
      const code = error instanceof Refused ? grpc.status[error.reason] : grpc.status.INTERNAL;
      callback({ code, details: error.message });
    }
  };
}

const server = new grpc.Server();
server.addService(bigfleet.v1alpha1.CapacityProvider.service, {
  Create: unary((request) => ack(fleet.create(request.machine_id, token(request)))),
  Configure: unary((request) =>
    ack(fleet.configure(request.machine_id, token(request), {
      cluster: request.cluster_id, blob: request.bootstrap_blob, metadata: request.shard_metadata,
    }))),
  Drain: unary((request) => ack(fleet.drain(request.machine_id, token(request), BigInt(request.grace_period_seconds)))),
  Delete: unary((request) => ack(fleet.delete(request.machine_id, token(request)))),
  Get: unary((request) => message(fleet.get(request.id))),
  List: unary((request) => ({ machines: fleet.list(request.states, request.max_results).map(message) })),
});
new HealthImplementation({ "": "SERVING" }).addToServer(server);

server.bindAsync(`127.0.0.1:${port}`, grpc.ServerCredentials.createInsecure(), (error, bound) => {
  if (error) throw error;
  console.log(`serving 127.0.0.1:${bound}`);
});
process.on("SIGTERM", () => server.tryShutdown(() => process.exit(0)));
