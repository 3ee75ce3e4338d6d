// Package provider translates between the messages of the contract and the fleet. grpc-go and connect-go serve it alike.
package provider

import (
	"context"
	"flag"
	"log"
	"slices"
	"time"

	"example.com/capacity-provider/fleet"
	pb "example.com/capacity-provider/gen"
)

// Provider implements the six RPCs. Its errors are those of the fleet.
type Provider struct {
	pb.UnimplementedCapacityProviderServer
	name  string // of the stack
	fleet *fleet.Fleet
}

// FromFlags returns a provider and its port. The options are the same for all stacks.
func FromFlags(name string) (*Provider, int) {
	port := flag.Int("port", 0, "")
	machines := flag.Int("machines", 64, "")
	latency := flag.Float64("latency", 0, "seconds")
	defect := flag.String("defect", "", "")
	state := flag.String("state", "", "directory that keeps the state; in memory if empty")
	flag.Parse()
	known := []string{"", fleet.DoubleCreate, fleet.NoFenceOnDrain, fleet.TrimsMetadata}
	if !slices.Contains(known, *defect) {
		panic("unknown defect " + *defect)
	}
	wait := time.Duration(*latency * float64(time.Second))
	kept := fleet.New(*machines, wait, *defect)
	if *state != "" {
		if err := kept.Restore(*state); err != nil {
			log.Fatal(err)
		}
	}
	return &Provider{name: name, fleet: kept}, *port
}

func (provider *Provider) Create(_ context.Context, request *pb.CreateRequest) (*pb.TransitionAck, error) {
	return provider.ack(provider.fleet.Create(request.MachineId, token(request)))
}

func (provider *Provider) Configure(_ context.Context, request *pb.ConfigureRequest) (*pb.TransitionAck, error) {
	return provider.ack(provider.fleet.Configure(
		request.MachineId, token(request), request.ClusterId, request.BootstrapBlob, request.ShardMetadata,
	))
}

func (provider *Provider) Drain(_ context.Context, request *pb.DrainRequest) (*pb.TransitionAck, error) {
	return provider.ack(provider.fleet.Drain(request.MachineId, token(request), request.GracePeriodSeconds))
}

func (provider *Provider) Delete(_ context.Context, request *pb.DeleteRequest) (*pb.TransitionAck, error) {
	return provider.ack(provider.fleet.Delete(request.MachineId, token(request)))
}

func (provider *Provider) Get(_ context.Context, request *pb.MachineRef) (*pb.Machine, error) {
	machine, err := provider.fleet.Get(request.Id)
	if err != nil {
		return nil, err
	}
	return provider.message(machine), nil
}

func (provider *Provider) List(_ context.Context, request *pb.ListFilter) (*pb.MachineList, error) {
	states := make([]fleet.State, len(request.States))
	for i, state := range request.States {
		states[i] = fleet.State(state)
	}
	machines, err := provider.fleet.List(states, int(request.MaxResults))
	if err != nil {
		return nil, err
	}
	list := &pb.MachineList{Machines: make([]*pb.Machine, len(machines))}
	for i, machine := range machines {
		list.Machines[i] = provider.message(machine)
	}
	return list, nil
}

func token(request interface {
	GetShardId() string
	GetShardEpoch() int64
	GetSequenceNumber() int64
}) fleet.Token {
	return fleet.Token{Shard: request.GetShardId(), Epoch: request.GetShardEpoch(), Sequence: request.GetSequenceNumber()}
}

func (provider *Provider) ack(ack fleet.Ack, err error) (*pb.TransitionAck, error) {
	if err != nil {
		return nil, err
	}
	return &pb.TransitionAck{OperationId: ack.Operation, Machine: provider.message(ack.Machine)}, nil
}

func (provider *Provider) message(machine fleet.Machine) *pb.Machine {
	message := &pb.Machine{
		Id:            machine.ID,
		State:         pb.MachineState(machine.State),
		InstanceType:  "m1.large",
		Zone:          machine.Zone,
		CapacityType:  pb.CapacityType_CAPACITY_TYPE_ON_DEMAND,
		PricePerHour:  0.1,
		Resources:     &pb.Resources{Resources: map[string]string{"cpu": "2", "memory": "8Gi"}},
		Allocatable:   &pb.Resources{Resources: map[string]string{"cpu": "1900m", "memory": "7Gi"}},
		Cluster:       machine.Cluster,
		ShardMetadata: machine.Metadata,
	}
	if machine.Host != "" {
		message.Host = &pb.HostRef{Provider: provider.name, Ref: machine.Host}
	}
	if machine.Spot {
		message.CapacityType = pb.CapacityType_CAPACITY_TYPE_SPOT
		message.InterruptionProbability = 0.05
	}
	return message
}
