#include "fleet.h"

#include <algorithm>
#include <array>
#include <cstdio>

namespace {

constexpr size_t kMaxMetadata = 256 << 10;
constexpr size_t kMaxBlob = 2 << 20;

struct Edge {
  const char* name;
  State source, via, target;
};

const Edge& EdgeOf(Verb verb) {
  static const std::map<Verb, Edge> edges = {
      {Verb::kCreate, {"create", State::kSpeculative, State::kCreating, State::kIdle}},
      {Verb::kConfigure, {"configure", State::kIdle, State::kConfiguring, State::kConfigured}},
      {Verb::kDrain, {"drain", State::kConfigured, State::kDraining, State::kIdle}},
      {Verb::kDelete, {"delete", State::kIdle, State::kDeleting, State::kSpeculative}},
  };
  return edges.at(verb);
}

bool IsRetry(Verb verb, const Machine& machine) {
  const Edge& edge = EdgeOf(verb);
  return machine.verb == verb && (machine.state == edge.via || machine.state == edge.target);
}

void Settle(Machine& machine) {
  if (!machine.due || *machine.due > Clock::now()) return;
  machine.due.reset();
  machine.state = EdgeOf(machine.verb).target;
  if (machine.verb == Verb::kCreate) machine.host = "host-" + machine.operation;
  if (machine.verb == Verb::kDrain) {
    machine.cluster.clear();
    machine.metadata.clear();
  }
  if (machine.verb == Verb::kDelete) {
    machine.host.clear();
    machine.created_by.clear();
  }
}

std::string Trimmed(const std::string& text) {
  constexpr char kSpaces[] = " \t\r\n\v\f";
  const size_t first = text.find_first_not_of(kSpaces);
  return first == std::string::npos ? "" : text.substr(first, text.find_last_not_of(kSpaces) - first + 1);
}

}  // namespace

Options Options::Parse(int argc, char** argv) {
  Options options;
  for (int i = 1; i + 1 < argc; i += 2) {
    const std::string name = argv[i], value = argv[i + 1];
    if (name == "--port") {
      options.port = std::stoi(value);
    } else if (name == "--machines") {
      options.machines = std::stoi(value);
    } else if (name == "--latency") {
      options.latency = std::stod(value);
    } else if (name == "--defect" &&
               (value == "double-create" || value == "no-fence-on-drain" || value == "trims-metadata")) {
      options.defect = value;
    } else {
      throw std::invalid_argument("unknown option " + name + " " + value);
    }
  }
  return options;
}

Fleet::Fleet(const Options& options)
    : latency_(std::chrono::duration_cast<Clock::duration>(std::chrono::duration<double>(options.latency))),
      defect_(options.defect) {
  for (int n = 1; n <= options.machines; ++n) {
    std::array<char, 16> id;
    std::snprintf(id.data(), id.size(), "slot-%05d", n);
    Machine machine{};
    machine.id = id.data();
    machine.zone = n % 2 ? "zone-b" : "zone-a";
    machine.spot = n % 4 == 0;
    machines_.emplace(machine.id, machine);
  }
}

Machine Fleet::Get(const std::string& id) {
  const std::lock_guard lock(mutex_);
  return Find(id);
}

std::vector<Machine> Fleet::List(const std::vector<State>& states, int max_results) {
  if (max_results < 0) throw Refused(Reason::kInvalid, "max_results is negative");
  const size_t limit = max_results ? max_results : machines_.size();
  const std::lock_guard lock(mutex_);
  std::vector<Machine> found;
  for (auto& [id, machine] : machines_) {
    if (found.size() == limit) break;
    Settle(machine);
    if (states.empty() || std::find(states.begin(), states.end(), machine.state) != states.end()) {
      found.push_back(machine);
    }
  }
  return found;
}

Ack Fleet::Create(const std::string& id, const Token& token) {
  const std::lock_guard lock(mutex_);
  Fence(id, token);
  Machine& machine = Find(id);
  if ((machine.state == State::kCreating || machine.state == State::kIdle) && !machine.created_by.empty()) {
    if (defect_ == "double-create") machine.created_by = NewOperation();
    return {machine.created_by, machine};
  }
  return Start(Verb::kCreate, machine);
}

Ack Fleet::Configure(const std::string& id, const Token& token, const std::string& cluster, size_t blob_size,
                     Metadata metadata) {
  const std::lock_guard lock(mutex_);
  Fence(id, token);
  Machine& machine = Find(id);
  if (cluster.empty()) throw Refused(Reason::kInvalid, "cluster_id is empty");
  if (blob_size > kMaxBlob) throw Refused(Reason::kInvalid, "bootstrap_blob is too large");
  size_t size = 0;
  for (const auto& [key, value] : metadata) size += key.size() + value.size();
  if (size > kMaxMetadata) throw Refused(Reason::kInvalid, "shard_metadata is too large");
  if (IsRetry(Verb::kConfigure, machine) && machine.cluster == cluster) return {machine.operation, machine};
  if (defect_ == "trims-metadata") {
    for (auto& [key, value] : metadata) value = Trimmed(value);
  }
  return Start(Verb::kConfigure, machine, [&] {
    machine.cluster = cluster;
    machine.metadata = std::move(metadata);
  });
}

Ack Fleet::Drain(const std::string& id, const Token& token, int64_t grace) {
  const std::lock_guard lock(mutex_);
  if (defect_ != "no-fence-on-drain") Fence(id, token);
  Machine& machine = Find(id);
  if (grace < 0) throw Refused(Reason::kInvalid, "grace_period_seconds is negative");
  if (IsRetry(Verb::kDrain, machine)) return {machine.operation, machine};
  return Start(Verb::kDrain, machine);
}

Ack Fleet::Delete(const std::string& id, const Token& token) {
  const std::lock_guard lock(mutex_);
  Fence(id, token);
  Machine& machine = Find(id);
  if (IsRetry(Verb::kDelete, machine)) return {machine.operation, machine};
  return Start(Verb::kDelete, machine);
}

// Checks the token against the mark of (shard, machine), and raises the mark (FEN-1 to FEN-14).
void Fleet::Fence(const std::string& id, const Token& token) {
  if (token.absent()) return;
  const auto key = std::make_pair(token.shard, id);
  const auto mark = marks_.find(key);
  if (mark == marks_.end() && (token.epoch < 0 || token.sequence < 0)) {
    throw Refused(Reason::kInvalid, "shard_epoch and sequence_number must not be negative");
  }
  if (mark != marks_.end() && token.number() <= mark->second) {
    throw Refused(Reason::kFenced, "the token is not newer than the mark");
  }
  marks_[key] = token.number();
}

Machine& Fleet::Find(const std::string& id) {
  if (id.empty()) throw Refused(Reason::kInvalid, "the machine id is empty");
  const auto found = machines_.find(id);
  if (found == machines_.end()) throw Refused(Reason::kUnknown, "there is no such machine");
  Settle(found->second);
  return found->second;
}

Ack Fleet::Start(Verb verb, Machine& machine, const std::function<void()>& bind) {
  const Edge& edge = EdgeOf(verb);
  if (machine.state != edge.source) {
    throw Refused(Reason::kNoEdge, std::string("cannot ") + edge.name + " " + machine.id + " from state " +
                                       std::to_string(static_cast<int>(machine.state)));
  }
  machine.verb = verb;
  machine.operation = NewOperation();
  machine.state = edge.via;
  machine.due = Clock::now() + latency_;
  if (verb == Verb::kCreate) machine.created_by = machine.operation;
  bind();
  Settle(machine);
  return {machine.operation, machine};
}

std::string Fleet::NewOperation() { return "op-" + std::to_string(++operations_); }
