import bigfleet.v1alpha1.Provider.CapacityType;
import bigfleet.v1alpha1.Provider.ConfigureRequest;
import bigfleet.v1alpha1.Provider.CreateRequest;
import bigfleet.v1alpha1.Provider.DeleteRequest;
import bigfleet.v1alpha1.Provider.DrainRequest;
import bigfleet.v1alpha1.Provider.HostRef;
import bigfleet.v1alpha1.Provider.ListFilter;
import bigfleet.v1alpha1.Provider.Machine;
import bigfleet.v1alpha1.Provider.MachineList;
import bigfleet.v1alpha1.Provider.MachineRef;
import bigfleet.v1alpha1.Provider.Resources;
import bigfleet.v1alpha1.Provider.TransitionAck;
import com.google.protobuf.Message;
import io.grpc.InsecureServerCredentials;
import io.grpc.MethodDescriptor;
import io.grpc.ServerServiceDefinition;
import io.grpc.Status;
import io.grpc.netty.shaded.io.grpc.netty.NettyServerBuilder;
import io.grpc.protobuf.ProtoUtils;
import io.grpc.protobuf.services.HealthStatusManager;
import io.grpc.stub.ServerCalls;
import java.net.InetSocketAddress;
import java.time.Duration;
import java.util.HashMap;
import java.util.Map;
import java.util.function.Function;

/** A capacity provider on grpc-java and Netty. */
final class Server {
  private static final String SERVICE = "bigfleet.v1alpha1.CapacityProvider";

  private Server() {}

  public static void main(String[] arguments) throws Exception {
    Map<String, String> options = options(arguments);
    Duration latency = Duration.ofNanos((long) (Double.parseDouble(options.get("--latency")) * 1e9));
    Fleet fleet = new Fleet(Integer.parseInt(options.get("--machines")), latency, options.get("--defect"));
    io.grpc.Server server =
        NettyServerBuilder.forAddress(
                new InetSocketAddress("127.0.0.1", Integer.parseInt(options.get("--port"))),
                InsecureServerCredentials.create())
            .addService(service(fleet))
            .addService(new HealthStatusManager().getHealthService())
            .build()
            .start();
    Runtime.getRuntime().addShutdownHook(new Thread(server::shutdownNow));
    System.out.println("serving 127.0.0.1:" + server.getPort());
    server.awaitTermination();
  }

  /** Returns the options of the command line, which are the same for all stacks. */
  private static Map<String, String> options(String[] arguments) {
    Map<String, String> options =
        new HashMap<>(Map.of("--port", "0", "--machines", "64", "--latency", "0", "--defect", ""));
    for (int i = 0; i + 1 < arguments.length; i += 2) {
      if (options.put(arguments[i], arguments[i + 1]) == null) {
        throw new IllegalArgumentException("unknown option " + arguments[i]);
      }
    }
    String defect = options.get("--defect");
    if (!defect.isEmpty() && !Fleet.DEFECTS.contains(defect)) {
      throw new IllegalArgumentException("unknown defect " + defect);
    }
    return options;
  }

  private static ServerServiceDefinition service(Fleet fleet) {
    ServerServiceDefinition.Builder service = ServerServiceDefinition.builder(SERVICE);
    CreateRequest create = CreateRequest.getDefaultInstance();
    ConfigureRequest configure = ConfigureRequest.getDefaultInstance();
    DrainRequest drain = DrainRequest.getDefaultInstance();
    DeleteRequest delete = DeleteRequest.getDefaultInstance();
    TransitionAck ack = TransitionAck.getDefaultInstance();
    unary(service, "Create", create, ack, it -> ack(
        fleet.create(it.getMachineId(), token(it.getShardId(), it.getShardEpoch(), it.getSequenceNumber()))));
    unary(service, "Configure", configure, ack, it -> ack(
        fleet.configure(
            it.getMachineId(), token(it.getShardId(), it.getShardEpoch(), it.getSequenceNumber()),
            it.getClusterId(), it.getBootstrapBlob().size(), it.getShardMetadataMap())));
    unary(service, "Drain", drain, ack, it -> ack(
        fleet.drain(
            it.getMachineId(), token(it.getShardId(), it.getShardEpoch(), it.getSequenceNumber()),
            it.getGracePeriodSeconds())));
    unary(service, "Delete", delete, ack, it -> ack(
        fleet.delete(it.getMachineId(), token(it.getShardId(), it.getShardEpoch(), it.getSequenceNumber()))));
    unary(service, "Get", MachineRef.getDefaultInstance(), Machine.getDefaultInstance(),
        it -> message(fleet.get(it.getId())));
    unary(service, "List", ListFilter.getDefaultInstance(), MachineList.getDefaultInstance(),
        it -> MachineList.newBuilder()
            .addAllMachines(
                fleet.list(it.getStatesValueList(), it.getMaxResults()).stream().map(Server::message).toList())
            .build());
    return service.build();
  }

  /** Adds an RPC, as the code generator for gRPC would; a refusal of the fleet becomes the status of the call. */
  private static <Q extends Message, A extends Message> void unary(
      ServerServiceDefinition.Builder service, String name, Q request, A response, Function<Q, A> serve) {
    MethodDescriptor<Q, A> method =
        MethodDescriptor.<Q, A>newBuilder(ProtoUtils.marshaller(request), ProtoUtils.marshaller(response))
            .setType(MethodDescriptor.MethodType.UNARY)
            .setFullMethodName(MethodDescriptor.generateFullMethodName(SERVICE, name))
            .build();
    service.addMethod(method, ServerCalls.asyncUnaryCall((message, observer) -> {
      A answer;
      try {
        answer = serve.apply(message);
      } catch (Fleet.RefusedException refused) {
        Status.Code code = Status.Code.valueOf(refused.reason.name());
        observer.onError(code.toStatus().withDescription(refused.getMessage()).asRuntimeException());
        return;
      }
      observer.onNext(answer);
      observer.onCompleted();
    }));
  }

  private static Fleet.Token token(String shard, long epoch, long sequence) {
    return new Fleet.Token(shard, epoch, sequence);
  }

  private static TransitionAck ack(Fleet.Ack ack) {
    return TransitionAck.newBuilder().setOperationId(ack.operation()).setMachine(message(ack.machine())).build();
  }

  private static Machine message(Fleet.View machine) {
    Machine.Builder message =
        Machine.newBuilder()
            .setId(machine.id())
            .setStateValue(machine.state().ordinal())
            .setInstanceType("m1.large")
            .setZone(machine.zone())
            .setCapacityType(machine.spot() ? CapacityType.CAPACITY_TYPE_SPOT : CapacityType.CAPACITY_TYPE_ON_DEMAND)
            .setPricePerHour(0.1)
            .setInterruptionProbability(machine.spot() ? 0.05 : 0)
            .setResources(resources("2", "8Gi"))
            .setAllocatable(resources("1900m", "7Gi"))
            .setCluster(machine.cluster())
            .putAllShardMetadata(machine.metadata());
    if (!machine.host().isEmpty()) {
      message.setHost(HostRef.newBuilder().setProvider("grpc-java").setRef(machine.host()));
    }
    return message.build();
  }

  private static Resources resources(String cpu, String memory) {
    return Resources.newBuilder().putResources("cpu", cpu).putResources("memory", memory).build();
  }
}
