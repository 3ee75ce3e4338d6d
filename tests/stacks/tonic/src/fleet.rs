//! The machines of a capacity provider and their rules, without gRPC.
//!
//! A transition settles when a call reads its machine after the latency has passed; there are no timers.

use std::collections::{BTreeMap, HashMap};
use std::time::{Duration, Instant};

const MAX_METADATA: usize = 256 << 10;
const MAX_BLOB: usize = 2 << 20;

pub type Metadata = HashMap<String, String>;

/// The fleet refuses a call. Servers translate each variant to a status code.
#[derive(Debug)]
pub enum Refused {
    Invalid(String),
    Unknown(String),
    Fenced(String),
    NoEdge(String),
}

/// The states of a machine, with the numbers of `MachineState` in the proto.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum State {
    Speculative = 1,
    Creating,
    Idle,
    Configuring,
    Configured,
    Draining,
    Deleting,
}

#[derive(Clone, Copy, Debug, PartialEq)]
enum Verb {
    Create,
    Configure,
    Drain,
    Delete,
}

impl Verb {
    /// The source, the transitional state and the target.
    fn edge(self) -> (State, State, State) {
        match self {
            Verb::Create => (State::Speculative, State::Creating, State::Idle),
            Verb::Configure => (State::Idle, State::Configuring, State::Configured),
            Verb::Drain => (State::Configured, State::Draining, State::Idle),
            Verb::Delete => (State::Idle, State::Deleting, State::Speculative),
        }
    }
}

#[derive(Clone, Copy, PartialEq)]
pub enum Defect {
    DoubleCreate,
    NoFenceOnDrain,
    TrimsMetadata,
}

/// The fencing token of a call.
pub struct Token {
    pub shard: String,
    pub epoch: i64,
    pub sequence: i64,
}

impl Token {
    fn absent(&self) -> bool {
        self.shard.is_empty() && self.epoch == 0 && self.sequence == 0
    }
}

/// One machine as it is at a moment. The private fields describe its last transition.
#[derive(Clone)]
pub struct Machine {
    pub id: String,
    pub zone: &'static str,
    pub spot: bool,
    pub state: State,
    pub host: String,
    pub cluster: String,
    pub metadata: Metadata,
    created_by: Option<String>,
    last: Option<Verb>,
    operation: String,
    due: Option<Instant>,
}

impl Machine {
    fn is_retry(&self, verb: Verb) -> bool {
        let (_, via, target) = verb.edge();
        self.last == Some(verb) && (self.state == via || self.state == target)
    }

    fn settle(&mut self) {
        let (Some(verb), Some(due)) = (self.last, self.due) else { return };
        if due > Instant::now() {
            return;
        }
        self.due = None;
        self.state = verb.edge().2;
        match verb {
            Verb::Create => self.host = format!("host-{}", self.operation),
            Verb::Configure => {}
            Verb::Drain => {
                self.cluster.clear();
                self.metadata.clear();
            }
            Verb::Delete => {
                self.host.clear();
                self.created_by = None;
            }
        }
    }
}

/// The answer to a mutating call.
pub struct Ack {
    pub operation: String,
    pub machine: Machine,
}

/// Machines, marks and operations. The caller serialises the calls.
pub struct Fleet {
    latency: Duration,
    defect: Option<Defect>,
    machines: BTreeMap<String, Machine>,
    marks: HashMap<(String, String), (i64, i64)>,
    operations: u64,
}

impl Fleet {
    pub fn new(machines: u32, latency: Duration, defect: Option<Defect>) -> Self {
        let machine = |n: u32| Machine {
            id: format!("slot-{n:05}"),
            zone: if n % 2 == 0 { "zone-a" } else { "zone-b" },
            spot: n % 4 == 0,
            state: State::Speculative,
            host: String::new(),
            cluster: String::new(),
            metadata: Metadata::new(),
            created_by: None,
            last: None,
            operation: String::new(),
            due: None,
        };
        let machines = (1..=machines).map(|n| (format!("slot-{n:05}"), machine(n))).collect();
        Fleet { latency, defect, machines, marks: HashMap::new(), operations: 0 }
    }

    pub fn get(&mut self, id: &str) -> Result<Machine, Refused> {
        self.find(id).cloned()
    }

    /// The machines in one of `states`, or in any if it is empty; at most `max_results` if that is not 0.
    pub fn list(&mut self, states: &[i32], max_results: i32) -> Result<Vec<Machine>, Refused> {
        let limit = match usize::try_from(max_results) {
            Ok(0) => usize::MAX,
            Ok(limit) => limit,
            Err(_) => return Err(Refused::Invalid("max_results is negative".into())),
        };
        self.machines.values_mut().for_each(Machine::settle);
        let wanted = |machine: &&Machine| states.is_empty() || states.contains(&(machine.state as i32));
        Ok(self.machines.values().filter(wanted).take(limit).cloned().collect())
    }

    pub fn create(&mut self, id: &str, token: Token) -> Result<Ack, Refused> {
        self.fence(id, token)?;
        let machine = self.find(id)?.clone();
        let created = matches!(machine.state, State::Creating | State::Idle);
        let Some(operation) = machine.created_by.clone().filter(|_| created) else {
            return self.start(Verb::Create, id, |_| {});
        };
        if self.defect != Some(Defect::DoubleCreate) {
            return Ok(Ack { operation, machine });
        }
        let operation = self.new_operation();
        self.find(id)?.created_by = Some(operation.clone());
        Ok(Ack { operation, machine })
    }

    pub fn configure(
        &mut self, id: &str, token: Token, cluster: String, blob: &[u8], mut metadata: Metadata,
    ) -> Result<Ack, Refused> {
        self.fence(id, token)?;
        let machine = self.find(id)?;
        if cluster.is_empty() {
            return Err(Refused::Invalid("cluster_id is empty".into()));
        }
        if blob.len() > MAX_BLOB {
            return Err(Refused::Invalid(format!("bootstrap_blob is larger than {MAX_BLOB} bytes")));
        }
        if metadata.iter().map(|(key, value)| key.len() + value.len()).sum::<usize>() > MAX_METADATA {
            return Err(Refused::Invalid(format!("shard_metadata is larger than {MAX_METADATA} bytes")));
        }
        if machine.is_retry(Verb::Configure) && machine.cluster == cluster {
            return Ok(Ack { operation: machine.operation.clone(), machine: machine.clone() });
        }
        if self.defect == Some(Defect::TrimsMetadata) {
            metadata.values_mut().for_each(|value| *value = value.trim().into());
        }
        self.start(Verb::Configure, id, |machine| {
            machine.cluster = cluster;
            machine.metadata = metadata;
        })
    }

    pub fn drain(&mut self, id: &str, token: Token, grace: i64) -> Result<Ack, Refused> {
        if self.defect != Some(Defect::NoFenceOnDrain) {
            self.fence(id, token)?;
        }
        self.find(id)?;
        if grace < 0 {
            return Err(Refused::Invalid("grace_period_seconds is negative".into()));
        }
        self.start_once(Verb::Drain, id)
    }

    pub fn delete(&mut self, id: &str, token: Token) -> Result<Ack, Refused> {
        self.fence(id, token)?;
        self.start_once(Verb::Delete, id)
    }

    /// Checks the token against the mark of (shard, machine), and raises the mark (FEN-1 to FEN-14).
    fn fence(&mut self, id: &str, token: Token) -> Result<(), Refused> {
        if token.absent() {
            return Ok(());
        }
        let number = (token.epoch, token.sequence);
        let key = (token.shard, id.to_owned());
        match self.marks.get(&key) {
            None if number.0 < 0 || number.1 < 0 => {
                return Err(Refused::Invalid("shard_epoch and sequence_number must not be negative".into()));
            }
            Some(mark) if number <= *mark => {
                return Err(Refused::Fenced(format!("token {number:?} is not newer than the mark {mark:?}")));
            }
            _ => self.marks.insert(key, number),
        };
        Ok(())
    }

    fn find(&mut self, id: &str) -> Result<&mut Machine, Refused> {
        if id.is_empty() {
            return Err(Refused::Invalid("the machine id is empty".into()));
        }
        let machine = self.machines.get_mut(id).ok_or_else(|| Refused::Unknown("there is no such machine".into()))?;
        machine.settle();
        Ok(machine)
    }

    fn start_once(&mut self, verb: Verb, id: &str) -> Result<Ack, Refused> {
        let machine = self.find(id)?;
        if machine.is_retry(verb) {
            return Ok(Ack { operation: machine.operation.clone(), machine: machine.clone() });
        }
        self.start(verb, id, |_| {})
    }

    fn start(&mut self, verb: Verb, id: &str, bind: impl FnOnce(&mut Machine)) -> Result<Ack, Refused> {
        let (source, via, _) = verb.edge();
        let state = self.find(id)?.state;
        if state != source {
            return Err(Refused::NoEdge(format!("cannot {verb:?} {id}: it is {state:?}")));
        }
        let (operation, due) = (self.new_operation(), Instant::now() + self.latency);
        let machine = self.find(id)?;
        machine.last = Some(verb);
        machine.operation = operation.clone();
        machine.state = via;
        machine.due = Some(due);
        if verb == Verb::Create {
            machine.created_by = Some(operation.clone());
        }
        bind(machine);
        machine.settle();
        Ok(Ack { operation, machine: machine.clone() })
    }

    fn new_operation(&mut self) -> String {
        self.operations += 1;
        format!("op-{}", self.operations)
    }
}
