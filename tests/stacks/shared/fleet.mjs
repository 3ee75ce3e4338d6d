// The fleet that the JavaScript providers of this directory share: machines and their rules, without gRPC.
//
// Node runs one function at a time, and no method here waits, so calls need no lock. Transitions end by timer.

import { parseArgs } from "node:util";

const MAX_METADATA = 256 * 1024;
const MAX_BLOB = 2 * 1024 * 1024;
const DEFECTS = ["double-create", "no-fence-on-drain", "trims-metadata"];

// The numbers of MachineState and CapacityType in the proto.
export const State = Object.freeze({
  SPECULATIVE: 1, CREATING: 2, IDLE: 3, CONFIGURING: 4, CONFIGURED: 5, DRAINING: 6, DELETING: 7,
});
export const CapacityType = Object.freeze({ ON_DEMAND: 3, SPOT: 4 });

const EDGES = {
  create: [State.SPECULATIVE, State.CREATING, State.IDLE],
  configure: [State.IDLE, State.CONFIGURING, State.CONFIGURED],
  drain: [State.CONFIGURED, State.DRAINING, State.IDLE],
  delete: [State.IDLE, State.DELETING, State.SPECULATIVE],
};

// The fleet refuses a call; `reason` is the name of the gRPC status code.
export class Refused extends Error {
  constructor(reason, message) {
    super(message);
    this.reason = reason;
  }
}

// The fencing token of a call; epoch and sequence are BigInts.
export class Token {
  constructor(shard, epoch, sequence) {
    Object.assign(this, { shard, epoch, sequence });
  }

  get absent() {
    return this.shard === "" && this.epoch === 0n && this.sequence === 0n;
  }

  newerThan(mark) {
    return this.epoch > mark.epoch || (this.epoch === mark.epoch && this.sequence > mark.sequence);
  }
}

export class Fleet {
  #machines = new Map();
  #marks = new Map();
  #operations = 0;
  #latency;
  #defect;

  constructor({ machines, latency, defect }) {
    this.#latency = latency;
    this.#defect = defect;
    for (let n = 1; n <= machines; n++) {
      const id = `slot-${String(n).padStart(5, "0")}`;
      const capacityType = n % 4 === 0 ? CapacityType.SPOT : CapacityType.ON_DEMAND;
      this.#machines.set(id, {
        id, capacityType, zone: n % 2 ? "zone-a" : "zone-b", state: State.SPECULATIVE,
        host: "", cluster: "", metadata: {}, createdBy: "", verb: "", operation: "",
      });
    }
  }

  get(id) {
    if (id === "") throw new Refused("INVALID_ARGUMENT", "the machine id is empty");
    const machine = this.#machines.get(id);
    if (!machine) throw new Refused("NOT_FOUND", `there is no machine ${JSON.stringify(id.slice(0, 64))}`);
    return machine;
  }

  list(states, maxResults) {
    if (maxResults < 0) throw new Refused("INVALID_ARGUMENT", "max_results is negative");
    const wanted = new Set(states);
    const found = [...this.#machines.values()].filter((each) => !wanted.size || wanted.has(each.state));
    return maxResults ? found.slice(0, maxResults) : found;
  }

  create(id, token) {
    this.#fence(id, token);
    const machine = this.get(id);
    if (machine.createdBy && (machine.state === State.CREATING || machine.state === State.IDLE)) {
      if (this.#defect === "double-create") machine.createdBy = this.#newOperation();
      return { operation: machine.createdBy, machine };
    }
    return this.#start("create", machine);
  }

  configure(id, token, { cluster, blob, metadata }) {
    this.#fence(id, token);
    const machine = this.get(id);
    if (cluster === "") throw new Refused("INVALID_ARGUMENT", "cluster_id is empty");
    if (blob.length > MAX_BLOB) throw new Refused("INVALID_ARGUMENT", `bootstrap_blob is larger than ${MAX_BLOB} bytes`);
    const size = Object.entries(metadata).reduce((sum, [k, v]) => sum + Buffer.byteLength(k) + Buffer.byteLength(v), 0);
    if (size > MAX_METADATA) throw new Refused("INVALID_ARGUMENT", `shard_metadata is larger than ${MAX_METADATA} bytes`);
    if (this.#isRetry("configure", machine) && machine.cluster === cluster) {
      return { operation: machine.operation, machine };
    }
    if (this.#defect === "trims-metadata") {
      metadata = Object.fromEntries(Object.entries(metadata).map(([k, v]) => [k, v.trim()]));
    }
    return this.#start("configure", machine, { cluster, metadata });
  }

  drain(id, token, grace) {
    if (this.#defect !== "no-fence-on-drain") this.#fence(id, token);
    const machine = this.get(id);
    if (grace < 0n) throw new Refused("INVALID_ARGUMENT", "grace_period_seconds is negative");
    if (this.#isRetry("drain", machine)) return { operation: machine.operation, machine };
    return this.#start("drain", machine);
  }

  delete(id, token) {
    this.#fence(id, token);
    const machine = this.get(id);
    if (this.#isRetry("delete", machine)) return { operation: machine.operation, machine };
    return this.#start("delete", machine);
  }

  // Checks the token against the mark of (shard, machine), and raises the mark (FEN-1 to FEN-14).
  #fence(id, token) {
    if (token.absent) return;
    const key = JSON.stringify([token.shard, id]);
    const mark = this.#marks.get(key);
    if (!mark && (token.epoch < 0n || token.sequence < 0n)) {
      throw new Refused("INVALID_ARGUMENT", "shard_epoch and sequence_number must not be negative");
    }
    if (mark && !token.newerThan(mark)) {
      throw new Refused("FAILED_PRECONDITION", `token (${token.epoch}, ${token.sequence}) is not newer than the mark`);
    }
    this.#marks.set(key, token);
  }

  #isRetry(verb, machine) {
    return machine.verb === verb && EDGES[verb].slice(1).includes(machine.state);
  }

  #start(verb, machine, binding = {}) {
    const [source, via] = EDGES[verb];
    if (machine.state !== source) {
      const name = Object.keys(State).find((each) => State[each] === machine.state);
      throw new Refused("ABORTED", `cannot ${verb} ${machine.id}: it is ${name}`);
    }
    const operation = this.#newOperation();
    Object.assign(machine, { verb, operation, state: via }, binding);
    if (verb === "create") machine.createdBy = operation;
    if (this.#latency > 0) setTimeout(() => this.#settle(machine), this.#latency * 1000);
    else this.#settle(machine);
    return { operation, machine };
  }

  #settle(machine) {
    machine.state = EDGES[machine.verb][2];
    if (machine.verb === "create") machine.host = `host-${machine.operation}`;
    if (machine.verb === "drain") Object.assign(machine, { cluster: "", metadata: {} });
    if (machine.verb === "delete") Object.assign(machine, { host: "", createdBy: "" });
  }

  #newOperation() {
    this.#operations += 1;
    return `op-${this.#operations}`;
  }
}

// The options of the command line, which are the same for all stacks.
export function options() {
  const { values } = parseArgs({
    options: {
      port: { type: "string", default: "0" },
      machines: { type: "string", default: "64" },
      latency: { type: "string", default: "0" },
      defect: { type: "string", default: "" },
    },
  });
  if (values.defect && !DEFECTS.includes(values.defect)) throw new Error(`unknown defect ${values.defect}`);
  const { port, machines, latency, defect } = values;
  return { port: Number(port), machines: Number(machines), latency: Number(latency), defect };
}
