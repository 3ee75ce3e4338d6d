import java.time.Duration;
import java.util.HashMap;
import java.util.List;
import java.util.Map;
import java.util.TreeMap;

/**
 * The machines of a capacity provider and their rules, without gRPC. Safe for concurrent calls.
 *
 * <p>A transition settles when a call reads its machine after the latency has passed; there are no timers.
 */
final class Fleet {
  static final List<String> DEFECTS = List.of("double-create", "no-fence-on-drain", "trims-metadata");
  private static final int MAX_METADATA = 256 << 10;
  private static final int MAX_BLOB = 2 << 20;

  /** The reason of a refusal, with the name of the gRPC status code. */
  enum Reason { INVALID_ARGUMENT, NOT_FOUND, FAILED_PRECONDITION, ABORTED }

  /** The fleet refuses a call. */
  static final class RefusedException extends RuntimeException {
    final Reason reason;

    RefusedException(Reason reason, String message) {
      super(message, null, false, false);
      this.reason = reason;
    }
  }

  /** The states of a machine; {@code ordinal} is the number of MachineState in the proto. */
  enum State { UNSPECIFIED, SPECULATIVE, CREATING, IDLE, CONFIGURING, CONFIGURED, DRAINING, DELETING }

  private enum Verb {
    CREATE(State.SPECULATIVE, State.CREATING, State.IDLE),
    CONFIGURE(State.IDLE, State.CONFIGURING, State.CONFIGURED),
    DRAIN(State.CONFIGURED, State.DRAINING, State.IDLE),
    DELETE(State.IDLE, State.DELETING, State.SPECULATIVE);

    final State source;
    final State via;
    final State target;

    Verb(State source, State via, State target) {
      this.source = source;
      this.via = via;
      this.target = target;
    }
  }

  /** The fencing token of a call. */
  record Token(String shard, long epoch, long sequence) {
    boolean absent() {
      return shard.isEmpty() && epoch == 0 && sequence == 0;
    }

    boolean newerThan(Token mark) {
      return epoch > mark.epoch || epoch == mark.epoch && sequence > mark.sequence;
    }
  }

  /** One machine as it is at a moment. */
  record View(
      String id, String zone, boolean spot, State state, String host, String cluster, Map<String, String> metadata) {}

  /** The answer to a mutating call. */
  record Ack(String operation, View machine) {}

  private record Mark(String shard, String machine) {}

  private static final class Machine {
    final String id;
    final String zone;
    final boolean spot;
    State state = State.SPECULATIVE;
    String host = "";
    String cluster = "";
    Map<String, String> metadata = Map.of();
    String createdBy = "";
    Verb last;
    String operation = "";
    boolean moving;
    long due; // of System.nanoTime, if it is moving

    Machine(int number) {
      id = String.format("slot-%05d", number);
      zone = number % 2 == 0 ? "zone-a" : "zone-b";
      spot = number % 4 == 0;
    }

    boolean isRetry(Verb verb) {
      return last == verb && (state == verb.via || state == verb.target);
    }

    void settle() {
      if (!moving || due - System.nanoTime() > 0) {
        return;
      }
      moving = false;
      state = last.target;
      switch (last) {
        case CREATE -> host = "host-" + operation;
        case CONFIGURE -> {}
        case DRAIN -> {
          cluster = "";
          metadata = Map.of();
        }
        case DELETE -> {
          host = "";
          createdBy = "";
        }
      }
    }

    View view() {
      return new View(id, zone, spot, state, host, cluster, metadata);
    }
  }

  private final Map<String, Machine> machines = new TreeMap<>();
  private final Map<Mark, Token> marks = new HashMap<>();
  private final Duration latency;
  private final String defect;
  private long operations;

  Fleet(int size, Duration latency, String defect) {
    for (int number = 1; number <= size; number++) {
      Machine machine = new Machine(number);
      machines.put(machine.id, machine);
    }
    this.latency = latency;
    this.defect = defect;
  }

  synchronized View get(String id) {
    return find(id).view();
  }

  /** Returns the machines in one of the states, or in any if there are none; at most maxResults if that is not 0. */
  synchronized List<View> list(List<Integer> states, int maxResults) {
    if (maxResults < 0) {
      throw new RefusedException(Reason.INVALID_ARGUMENT, "max_results is negative");
    }
    machines.values().forEach(Machine::settle);
    return machines.values().stream()
        .filter(each -> states.isEmpty() || states.contains(each.state.ordinal()))
        .limit(maxResults == 0 ? Long.MAX_VALUE : maxResults)
        .map(Machine::view)
        .toList();
  }

  synchronized Ack create(String id, Token token) {
    fence(id, token);
    Machine machine = find(id);
    boolean created = machine.state == State.CREATING || machine.state == State.IDLE;
    if (!created || machine.createdBy.isEmpty()) {
      return start(Verb.CREATE, machine, () -> {});
    }
    if (defect.equals("double-create")) {
      machine.createdBy = newOperation();
    }
    return new Ack(machine.createdBy, machine.view());
  }

  synchronized Ack configure(String id, Token token, String cluster, int blobSize, Map<String, String> metadata) {
    fence(id, token);
    Machine machine = find(id);
    if (cluster.isEmpty()) {
      throw new RefusedException(Reason.INVALID_ARGUMENT, "cluster_id is empty");
    }
    if (blobSize > MAX_BLOB) {
      throw new RefusedException(Reason.INVALID_ARGUMENT, "bootstrap_blob is larger than " + MAX_BLOB + " bytes");
    }
    if (size(metadata) > MAX_METADATA) {
      throw new RefusedException(Reason.INVALID_ARGUMENT, "shard_metadata is larger than " + MAX_METADATA + " bytes");
    }
    if (machine.isRetry(Verb.CONFIGURE) && machine.cluster.equals(cluster)) {
      return new Ack(machine.operation, machine.view());
    }
    Map<String, String> stored = new HashMap<>(metadata);
    if (defect.equals("trims-metadata")) {
      stored.replaceAll((key, value) -> value.strip());
    }
    return start(Verb.CONFIGURE, machine, () -> {
      machine.cluster = cluster;
      machine.metadata = stored;
    });
  }

  synchronized Ack drain(String id, Token token, long grace) {
    if (!defect.equals("no-fence-on-drain")) {
      fence(id, token);
    }
    Machine machine = find(id);
    if (grace < 0) {
      throw new RefusedException(Reason.INVALID_ARGUMENT, "grace_period_seconds is negative");
    }
    return startOnce(Verb.DRAIN, machine);
  }

  synchronized Ack delete(String id, Token token) {
    fence(id, token);
    return startOnce(Verb.DELETE, find(id));
  }

  /** Checks the token against the mark of (shard, machine), and raises the mark (FEN-1 to FEN-14). */
  private void fence(String id, Token token) {
    if (token.absent()) {
      return;
    }
    Mark key = new Mark(token.shard(), id);
    Token mark = marks.get(key);
    if (mark == null && (token.epoch() < 0 || token.sequence() < 0)) {
      throw new RefusedException(
          Reason.INVALID_ARGUMENT, "shard_epoch and sequence_number must not be negative");
    }
    if (mark != null && !token.newerThan(mark)) {
      throw new RefusedException(Reason.FAILED_PRECONDITION, "the token is not newer than the mark");
    }
    marks.put(key, token);
  }

  private Machine find(String id) {
    if (id.isEmpty()) {
      throw new RefusedException(Reason.INVALID_ARGUMENT, "the machine id is empty");
    }
    Machine machine = machines.get(id);
    if (machine == null) {
      throw new RefusedException(Reason.NOT_FOUND, "there is no such machine");
    }
    machine.settle();
    return machine;
  }

  private Ack startOnce(Verb verb, Machine machine) {
    return machine.isRetry(verb) ? new Ack(machine.operation, machine.view()) : start(verb, machine, () -> {});
  }

  private Ack start(Verb verb, Machine machine, Runnable bind) {
    if (machine.state != verb.source) {
      throw new RefusedException(Reason.ABORTED, verb + " has no edge from " + machine.state + ": " + machine.id);
    }
    machine.last = verb;
    machine.operation = newOperation();
    machine.state = verb.via;
    machine.moving = true;
    machine.due = System.nanoTime() + latency.toNanos();
    if (verb == Verb.CREATE) {
      machine.createdBy = machine.operation;
    }
    bind.run();
    machine.settle();
    return new Ack(machine.operation, machine.view());
  }

  private String newOperation() {
    operations++;
    return "op-" + operations;
  }

  private static int size(Map<String, String> metadata) {
    return metadata.entrySet().stream().mapToInt(each -> utf8(each.getKey()) + utf8(each.getValue())).sum();
  }

  private static int utf8(String text) {
    return text.getBytes(java.nio.charset.StandardCharsets.UTF_8).length;
  }
}
