// Package fleet has the machines of a capacity provider and their rules, without gRPC.
//
// A transition settles when a call reads its machine after the latency has passed; there are no timers.
package fleet

import (
	"fmt"
	"maps"
	"slices"
	"strings"
	"sync"
	"time"
)

const (
	maxMetadata = 256 << 10
	maxBlob     = 2 << 20
)

// The defects that Fleet can have.
const (
	DoubleCreate   = "double-create"
	NoFenceOnDrain = "no-fence-on-drain"
	TrimsMetadata  = "trims-metadata"
)

// Reason is the reason of a refusal; servers translate it to a status code.
type Reason int

const (
	Invalid Reason = iota // INVALID_ARGUMENT
	Unknown               // NOT_FOUND
	Fenced                // FAILED_PRECONDITION
	NoEdge                // ABORTED
)

// Refused is the error of a call that the fleet refuses.
type Refused struct {
	Reason  Reason
	Message string
}

func (refused *Refused) Error() string { return refused.Message }

func refuse(reason Reason, format string, values ...any) error {
	return &Refused{reason, fmt.Sprintf(format, values...)}
}

// State has the numbers of MachineState in the proto.
type State int32

const (
	Speculative State = iota + 1
	Creating
	Idle
	Configuring
	Configured
	Draining
	Deleting
)

type verb string

const (
	create    verb = "create"
	configure verb = "configure"
	drain     verb = "drain"
	remove    verb = "delete"
)

var edges = map[verb]struct{ source, via, target State }{
	create:    {Speculative, Creating, Idle},
	configure: {Idle, Configuring, Configured},
	drain:     {Configured, Draining, Idle},
	remove:    {Idle, Deleting, Speculative},
}

// Token is the fencing token of a call.
type Token struct {
	Shard           string
	Epoch, Sequence int64
}

func (token Token) newerThan(mark Token) bool {
	return token.Epoch > mark.Epoch || token.Epoch == mark.Epoch && token.Sequence > mark.Sequence
}

// Machine is one machine as it is at a moment; the fields from CreatedBy on describe its transitions.
type Machine struct {
	ID, Zone  string
	Spot      bool
	State     State
	Host      string
	Cluster   string
	Metadata  map[string]string // never changed, only replaced
	CreatedBy string
	Last      verb
	Operation string
	Due       time.Time // zero if no transition runs
}

// Ack is the answer to a mutating call.
type Ack struct {
	Operation string
	Machine   Machine
}

type markKey struct{ Shard, Machine string }

// Fleet is safe for concurrent use.
type Fleet struct {
	latency time.Duration
	defect  string

	mutex      sync.Mutex
	machines   map[string]*Machine
	order      []string
	marks      map[markKey]Token
	operations int
	journal    *Journal // nil if the state is only in memory
}

// New returns a fleet of SPECULATIVE machines.
func New(machines int, latency time.Duration, defect string) *Fleet {
	fleet := &Fleet{
		latency: latency, defect: defect, machines: make(map[string]*Machine), marks: make(map[markKey]Token),
	}
	for n := 1; n <= machines; n++ {
		id := fmt.Sprintf("slot-%05d", n)
		zone := []string{"zone-a", "zone-b"}[n%2]
		fleet.machines[id] = &Machine{ID: id, Zone: zone, Spot: n%4 == 0, State: Speculative}
		fleet.order = append(fleet.order, id)
	}
	return fleet
}

// Get returns the machine with this id.
func (fleet *Fleet) Get(id string) (Machine, error) {
	fleet.mutex.Lock()
	defer fleet.mutex.Unlock()
	machine, err := fleet.get(id)
	if err != nil {
		return Machine{}, err
	}
	return *machine, nil
}

// List returns the machines in one of the states, or in any state if there are none; at most limit if it is not 0.
func (fleet *Fleet) List(states []State, limit int) ([]Machine, error) {
	if limit < 0 {
		return nil, refuse(Invalid, "max_results is negative")
	}
	fleet.mutex.Lock()
	defer fleet.mutex.Unlock()
	var found []Machine
	for _, id := range fleet.order {
		machine := fleet.machines[id]
		settle(machine)
		if len(states) == 0 || slices.Contains(states, machine.State) {
			found = append(found, *machine)
		}
	}
	if limit > 0 && len(found) > limit {
		found = found[:limit]
	}
	return found, nil
}

// Create attaches a host.
func (fleet *Fleet) Create(id string, token Token) (Ack, error) {
	return fleet.call(id, token, create, func(machine *Machine) (Ack, error) {
		if (machine.State == Creating || machine.State == Idle) && machine.CreatedBy != "" {
			if fleet.defect == DoubleCreate {
				machine.CreatedBy = fleet.newOperation()
			}
			return Ack{machine.CreatedBy, *machine}, nil
		}
		return fleet.start(create, machine, nil)
	})
}

// Configure binds an IDLE machine to a cluster.
func (fleet *Fleet) Configure(id string, token Token, cluster string, blob []byte, metadata map[string]string) (Ack, error) {
	return fleet.call(id, token, configure, func(machine *Machine) (Ack, error) {
		switch {
		case cluster == "":
			return Ack{}, refuse(Invalid, "cluster_id is empty")
		case len(blob) > maxBlob:
			return Ack{}, refuse(Invalid, "bootstrap_blob is larger than %d bytes", maxBlob)
		case size(metadata) > maxMetadata:
			return Ack{}, refuse(Invalid, "shard_metadata is larger than %d bytes", maxMetadata)
		case machine.isRetry(configure) && machine.Cluster == cluster:
			return Ack{machine.Operation, *machine}, nil
		}
		stored := maps.Clone(metadata)
		if fleet.defect == TrimsMetadata {
			for key, value := range stored {
				stored[key] = strings.TrimSpace(value)
			}
		}
		return fleet.start(configure, machine, func() { machine.Cluster, machine.Metadata = cluster, stored })
	})
}

// Drain unbinds a CONFIGURED machine.
func (fleet *Fleet) Drain(id string, token Token, grace int64) (Ack, error) {
	return fleet.call(id, token, drain, func(machine *Machine) (Ack, error) {
		if grace < 0 {
			return Ack{}, refuse(Invalid, "grace_period_seconds is negative")
		}
		return fleet.startOnce(drain, machine)
	})
}

// Delete gives the host of an IDLE machine back.
func (fleet *Fleet) Delete(id string, token Token) (Ack, error) {
	return fleet.call(id, token, remove, func(machine *Machine) (Ack, error) {
		return fleet.startOnce(remove, machine)
	})
}

// call passes the fence, finds the machine and then mutates it, all under the lock. A refused call is kept too: it may
// have raised a mark.
func (fleet *Fleet) call(id string, token Token, verb verb, mutate func(*Machine) (Ack, error)) (Ack, error) {
	fleet.mutex.Lock()
	defer fleet.mutex.Unlock()
	defer fleet.keep(markKey{token.Shard, id})
	if verb != drain || fleet.defect != NoFenceOnDrain {
		if err := fleet.fence(id, token); err != nil {
			return Ack{}, err
		}
	}
	machine, err := fleet.get(id)
	if err != nil {
		return Ack{}, err
	}
	return mutate(machine)
}

// fence checks the token against the mark of (shard, machine), and raises the mark (FEN-1 to FEN-14).
func (fleet *Fleet) fence(id string, token Token) error {
	if token == (Token{}) {
		return nil
	}
	key := markKey{token.Shard, id}
	mark, marked := fleet.marks[key]
	if !marked && (token.Epoch < 0 || token.Sequence < 0) {
		return refuse(Invalid, "shard_epoch and sequence_number must not be negative")
	}
	if marked && !token.newerThan(mark) {
		return refuse(Fenced, "token (%d, %d) is not newer than the mark", token.Epoch, token.Sequence)
	}
	fleet.marks[key] = token
	return nil
}

func (fleet *Fleet) get(id string) (*Machine, error) {
	if id == "" {
		return nil, refuse(Invalid, "the machine id is empty")
	}
	machine, known := fleet.machines[id]
	if !known {
		return nil, refuse(Unknown, "there is no machine %.64q", id)
	}
	settle(machine)
	return machine, nil
}

func (fleet *Fleet) startOnce(verb verb, machine *Machine) (Ack, error) {
	if machine.isRetry(verb) {
		return Ack{machine.Operation, *machine}, nil
	}
	return fleet.start(verb, machine, nil)
}

func (fleet *Fleet) start(verb verb, machine *Machine, bind func()) (Ack, error) {
	edge := edges[verb]
	if machine.State != edge.source {
		return Ack{}, refuse(NoEdge, "cannot %s %s: its state is %d", verb, machine.ID, machine.State)
	}
	machine.Last, machine.Operation = verb, fleet.newOperation()
	machine.State, machine.Due = edge.via, time.Now().Add(fleet.latency)
	if verb == create {
		machine.CreatedBy = machine.Operation
	}
	if bind != nil {
		bind()
	}
	settle(machine)
	return Ack{machine.Operation, *machine}, nil
}

func (fleet *Fleet) newOperation() string {
	fleet.operations++
	return fmt.Sprintf("op-%d", fleet.operations)
}

func (machine *Machine) isRetry(verb verb) bool {
	edge := edges[verb]
	return machine.Last == verb && (machine.State == edge.via || machine.State == edge.target)
}

func settle(machine *Machine) {
	if machine.Due.IsZero() || machine.Due.After(time.Now()) {
		return
	}
	machine.Due, machine.State = time.Time{}, edges[machine.Last].target
	switch machine.Last {
	case create:
		machine.Host = "host-" + machine.Operation
	case drain:
		machine.Cluster, machine.Metadata = "", nil
	case remove:
		machine.Host, machine.CreatedBy = "", ""
	}
}

func size(metadata map[string]string) int {
	sum := 0
	for key, value := range metadata {
		sum += len(key) + len(value)
	}
	return sum
}
