// A capacity provider on gRPC C++'s synchronous server.
#include <grpcpp/grpcpp.h>
#include <grpcpp/health_check_service_interface.h>
#include <signal.h>

#include <iostream>
#include <thread>

#include "bigfleet/v1alpha1/provider.grpc.pb.h"
#include "fleet.h"

namespace pb = bigfleet::v1alpha1;

namespace {

grpc::StatusCode CodeOf(Reason reason) {
  switch (reason) {
    case Reason::kInvalid:
      return grpc::StatusCode::INVALID_ARGUMENT;
    case Reason::kUnknown:
      return grpc::StatusCode::NOT_FOUND;
    case Reason::kFenced:
      return grpc::StatusCode::FAILED_PRECONDITION;
    case Reason::kNoEdge:
      return grpc::StatusCode::ABORTED;
  }
  return grpc::StatusCode::INTERNAL;
}

void Fill(const Machine& machine, pb::Machine* message) {
  message->set_id(machine.id);
  message->set_state(static_cast<pb::MachineState>(machine.state));
  if (!machine.host.empty()) {
    message->mutable_host()->set_provider("grpc-cpp");
    message->mutable_host()->set_ref(machine.host);
  }
  message->set_instance_type("m1.large");
  message->set_zone(machine.zone);
  message->set_capacity_type(machine.spot ? pb::CAPACITY_TYPE_SPOT : pb::CAPACITY_TYPE_ON_DEMAND);
  message->set_price_per_hour(0.1);
  message->set_interruption_probability(machine.spot ? 0.05 : 0);
  auto& resources = *message->mutable_resources()->mutable_resources();
  resources["cpu"] = "2";
  resources["memory"] = "8Gi";
  auto& allocatable = *message->mutable_allocatable()->mutable_resources();
  allocatable["cpu"] = "1900m";
  allocatable["memory"] = "7Gi";
  message->set_cluster(machine.cluster);
  message->mutable_shard_metadata()->insert(machine.metadata.begin(), machine.metadata.end());
}

void Fill(const Ack& ack, pb::TransitionAck* message) {
  message->set_operation_id(ack.operation);
  Fill(ack.machine, message->mutable_machine());
}

template <typename Request>
Token TokenOf(const Request& request) {
  return {request.shard_id(), request.shard_epoch(), request.sequence_number()};
}

// Serves a call; a refusal of the fleet becomes its status.
template <typename Serve>
grpc::Status Unary(Serve serve) {
  try {
    serve();
    return grpc::Status::OK;
  } catch (const Refused& refused) {
    return {CodeOf(refused.reason), refused.what()};
  }
}

class Provider final : public pb::CapacityProvider::Service {
 public:
  explicit Provider(const Options& options) : fleet_(options) {}

  grpc::Status Create(grpc::ServerContext*, const pb::CreateRequest* request, pb::TransitionAck* ack) override {
    return Unary([&] { Fill(fleet_.Create(request->machine_id(), TokenOf(*request)), ack); });
  }

  grpc::Status Configure(grpc::ServerContext*, const pb::ConfigureRequest* request, pb::TransitionAck* ack) override {
    const auto& metadata = request->shard_metadata();
    return Unary([&] {
      Fill(fleet_.Configure(request->machine_id(), TokenOf(*request), request->cluster_id(),
                            request->bootstrap_blob().size(), Metadata(metadata.begin(), metadata.end())),
           ack);
    });
  }

  grpc::Status Drain(grpc::ServerContext*, const pb::DrainRequest* request, pb::TransitionAck* ack) override {
    return Unary([&] {
      Fill(fleet_.Drain(request->machine_id(), TokenOf(*request), request->grace_period_seconds()), ack);
    });
  }

  grpc::Status Delete(grpc::ServerContext*, const pb::DeleteRequest* request, pb::TransitionAck* ack) override {
    return Unary([&] { Fill(fleet_.Delete(request->machine_id(), TokenOf(*request)), ack); });
  }

  grpc::Status Get(grpc::ServerContext*, const pb::MachineRef* request, pb::Machine* machine) override {
    return Unary([&] { Fill(fleet_.Get(request->id()), machine); });
  }

  grpc::Status List(grpc::ServerContext*, const pb::ListFilter* request, pb::MachineList* list) override {
    std::vector<State> states;
    for (const int state : request->states()) states.push_back(static_cast<State>(state));
    return Unary([&] {
      for (const Machine& machine : fleet_.List(states, request->max_results())) Fill(machine, list->add_machines());
    });
  }

 private:
  Fleet fleet_;
};

}  // namespace

int main(int argc, char** argv) {
  // Blocked before gRPC starts its threads, so that only the thread below receives it.
  sigset_t terminated;
  sigemptyset(&terminated);
  sigaddset(&terminated, SIGTERM);
  pthread_sigmask(SIG_BLOCK, &terminated, nullptr);

  const Options options = Options::Parse(argc, argv);
  Provider provider(options);
  int port = 0;
  grpc::EnableDefaultHealthCheckService(true);
  grpc::ServerBuilder builder;
  builder.AddListeningPort("127.0.0.1:" + std::to_string(options.port), grpc::InsecureServerCredentials(), &port);
  builder.RegisterService(&provider);
  const std::unique_ptr<grpc::Server> server = builder.BuildAndStart();
  if (!server) return 1;

  std::thread stopper([&] {
    int signal = 0;
    sigwait(&terminated, &signal);
    server->Shutdown(std::chrono::system_clock::now() + std::chrono::seconds(1));
  });
  std::cout << "serving 127.0.0.1:" << port << std::endl;
  server->Wait();
  stopper.join();
}
