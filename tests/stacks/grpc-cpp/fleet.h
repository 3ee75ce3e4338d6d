// The machines of a capacity provider and their rules, without gRPC.
//
// A transition settles when a call reads its machine after the latency has passed; there are no timers.
#pragma once

#include <chrono>
#include <cstdint>
#include <functional>
#include <map>
#include <mutex>
#include <optional>
#include <stdexcept>
#include <string>
#include <tuple>
#include <utility>
#include <vector>

using Clock = std::chrono::steady_clock;
using Metadata = std::map<std::string, std::string>;

// The reason of a refusal; the server translates it to a status code.
enum class Reason { kInvalid, kUnknown, kFenced, kNoEdge };

// The fleet refuses a call.
class Refused : public std::runtime_error {
 public:
  Refused(Reason reason, const std::string& message) : std::runtime_error(message), reason(reason) {}

  const Reason reason;
};

// The states of a machine, with the numbers of MachineState in the proto.
enum class State { kSpeculative = 1, kCreating, kIdle, kConfiguring, kConfigured, kDraining, kDeleting };

enum class Verb { kNone, kCreate, kConfigure, kDrain, kDelete };

// The fencing token of a call.
struct Token {
  std::string shard;
  int64_t epoch;
  int64_t sequence;

  bool absent() const { return shard.empty() && epoch == 0 && sequence == 0; }
  std::pair<int64_t, int64_t> number() const { return {epoch, sequence}; }
};

// One machine as it is at a moment. `verb`, `operation` and `due` describe its last transition.
struct Machine {
  std::string id;
  std::string zone;
  bool spot;
  State state = State::kSpeculative;
  std::string host;
  std::string cluster;
  Metadata metadata;
  std::string created_by;
  Verb verb = Verb::kNone;
  std::string operation;
  std::optional<Clock::time_point> due;
};

// The answer to a mutating call.
struct Ack {
  std::string operation;
  Machine machine;
};

// The options of the command line, which are the same for all stacks.
struct Options {
  int port = 0;
  int machines = 64;
  double latency = 0;  // seconds
  std::string defect;

  static Options Parse(int argc, char** argv);
};

// Machines, marks and operations. Safe for concurrent calls, each of which throws Refused.
class Fleet {
 public:
  explicit Fleet(const Options& options);

  Machine Get(const std::string& id);
  std::vector<Machine> List(const std::vector<State>& states, int max_results);
  Ack Create(const std::string& id, const Token& token);
  Ack Configure(const std::string& id, const Token& token, const std::string& cluster, size_t blob_size,
                Metadata metadata);
  Ack Drain(const std::string& id, const Token& token, int64_t grace);
  Ack Delete(const std::string& id, const Token& token);

 private:
  // These expect that the caller holds the mutex.
  void Fence(const std::string& id, const Token& token);
  Machine& Find(const std::string& id);
  Ack Start(Verb verb, Machine& machine, const std::function<void()>& bind = [] {});
  std::string NewOperation();

  const Clock::duration latency_;
  const std::string defect_;
  std::mutex mutex_;
  std::map<std::string, Machine> machines_;
  std::map<std::pair<std::string, std::string>, std::pair<int64_t, int64_t>> marks_;
  int64_t operations_ = 0;
};
