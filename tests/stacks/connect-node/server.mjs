// A capacity provider on connect-node: the gRPC protocol over Node's own HTTP/2 server, without TLS.

import http2 from "node:http2";
import { create } from "@bufbuild/protobuf";
import { Code, ConnectError } from "@connectrpc/connect";
import { connectNodeAdapter } from "@connectrpc/connect-node";
import * as pb from "../gen/bigfleet/v1alpha1/provider_pb.js";
import { Fleet, Refused, Token, options } from "./fleet.mjs";

const { port, ...fleetOptions } = options();
const fleet = new Fleet(fleetOptions);
const CODES = {
  INVALID_ARGUMENT: Code.InvalidArgument,
  NOT_FOUND: Code.NotFound,
  FAILED_PRECONDITION: Code.FailedPrecondition,
  ABORTED: Code.Aborted,
};

const token = (request) => new Token(request.shardId, request.shardEpoch, request.sequenceNumber);

const message = (machine) =>
  create(pb.MachineSchema, {
    id: machine.id,
    state: machine.state,
    host: machine.host ? { provider: "connect-node", ref: machine.host } : undefined,
    instanceType: "m1.large",
    zone: machine.zone,
    capacityType: machine.capacityType,
    pricePerHour: 0.1,
    interruptionProbability: machine.capacityType === pb.CapacityType.SPOT ? 0.05 : 0,
    resources: { resources: { cpu: "2", memory: "8Gi" } },
    allocatable: { resources: { cpu: "1900m", memory: "7Gi" } },
    cluster: machine.cluster,
    shardMetadata: machine.metadata,
  });

const ack = ({ operation, machine }) => create(pb.TransitionAckSchema, { operationId: operation, machine: message(machine) });

// An interceptor: a refusal of the fleet becomes the call's status.
const refusing = (next) => async (request) => {
  try {
    return await next(request);
  } catch (error) {
    throw error instanceof Refused ? new ConnectError(error.message, CODES[error.reason]) : error;
  }
};

function routes(router) {
  router.service(pb.CapacityProvider, {
    create: (request) => ack(fleet.create(request.machineId, token(request))),
    configure: (request) =>
      ack(fleet.configure(request.machineId, token(request), {
        cluster: request.clusterId, blob: request.bootstrapBlob, metadata: request.shardMetadata,
      })),
    drain: (request) => ack(fleet.drain(request.machineId, token(request), request.gracePeriodSeconds)),
    delete: (request) => ack(fleet.delete(request.machineId, token(request))),
    get: (request) => message(fleet.get(request.id)),
    list: (request) => create(pb.MachineListSchema, { machines: fleet.list(request.states, request.maxResults).map(message) }),
  });
}

const server = http2.createServer(connectNodeAdapter({ routes, interceptors: [refusing] }));
server.listen(port, "127.0.0.1", () => console.log(`serving 127.0.0.1:${server.address().port}`));
process.on("SIGTERM", () => server.close(() => process.exit(0)));
