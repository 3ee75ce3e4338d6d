//! A capacity provider on tonic.

mod fleet;

use std::collections::HashMap;
use std::error::Error;
use std::sync::{Mutex, MutexGuard};
use std::time::Duration;

use tokio::net::TcpListener;
use tokio::signal::unix::{SignalKind, signal};
use tokio_stream::wrappers::TcpListenerStream;
use tonic::transport::Server;
use tonic::{Request, Response, Status};

use fleet::{Ack, Defect, Fleet, Machine, Refused, Token};

mod pb {
    tonic::include_proto!("bigfleet.v1alpha1");
}
use pb::capacity_provider_server::{CapacityProvider, CapacityProviderServer};

impl From<Refused> for Status {
    fn from(refused: Refused) -> Self {
        match refused {
            Refused::Invalid(message) => Status::invalid_argument(message),
            Refused::Unknown(message) => Status::not_found(message),
            Refused::Fenced(message) => Status::failed_precondition(message),
            Refused::NoEdge(message) => Status::aborted(message),
        }
    }
}

impl From<Machine> for pb::Machine {
    fn from(machine: Machine) -> Self {
        let resources = |cpu: &str, memory: &str| pb::Resources {
            resources: HashMap::from([("cpu".into(), cpu.into()), ("memory".into(), memory.into())]),
        };
        let capacity_type = if machine.spot { pb::CapacityType::Spot } else { pb::CapacityType::OnDemand };
        pb::Machine {
            id: machine.id,
            state: machine.state as i32,
            host: (!machine.host.is_empty()).then(|| pb::HostRef { provider: "tonic".into(), r#ref: machine.host }),
            instance_type: "m1.large".into(),
            zone: machine.zone.into(),
            capacity_type: capacity_type.into(),
            price_per_hour: 0.1,
            interruption_probability: if machine.spot { 0.05 } else { 0.0 },
            resources: Some(resources("2", "8Gi")),
            allocatable: Some(resources("1900m", "7Gi")),
            cluster: machine.cluster,
            shard_metadata: machine.metadata,
            ..Default::default()
        }
    }
}

impl From<Ack> for pb::TransitionAck {
    fn from(ack: Ack) -> Self {
        pb::TransitionAck { operation_id: ack.operation, machine: Some(ack.machine.into()) }
    }
}

struct Provider(Mutex<Fleet>);

impl Provider {
    fn fleet(&self) -> MutexGuard<'_, Fleet> {
        self.0.lock().expect("no call panics")
    }
}

type Acknowledged = Result<Response<pb::TransitionAck>, Status>;

fn acknowledged(ack: Result<Ack, Refused>) -> Acknowledged {
    Ok(Response::new(ack?.into()))
}

#[tonic::async_trait]
impl CapacityProvider for Provider {
    async fn create(&self, request: Request<pb::CreateRequest>) -> Acknowledged {
        let it = request.into_inner();
        let token = Token { shard: it.shard_id, epoch: it.shard_epoch, sequence: it.sequence_number };
        acknowledged(self.fleet().create(&it.machine_id, token))
    }

    async fn configure(&self, request: Request<pb::ConfigureRequest>) -> Acknowledged {
        let it = request.into_inner();
        let token = Token { shard: it.shard_id, epoch: it.shard_epoch, sequence: it.sequence_number };
        let mut fleet = self.fleet();
        acknowledged(fleet.configure(&it.machine_id, token, it.cluster_id, &it.bootstrap_blob, it.shard_metadata))
    }

    async fn drain(&self, request: Request<pb::DrainRequest>) -> Acknowledged {
        let it = request.into_inner();
        let token = Token { shard: it.shard_id, epoch: it.shard_epoch, sequence: it.sequence_number };
        acknowledged(self.fleet().drain(&it.machine_id, token, it.grace_period_seconds))
    }

    async fn delete(&self, request: Request<pb::DeleteRequest>) -> Acknowledged {
        let it = request.into_inner();
        let token = Token { shard: it.shard_id, epoch: it.shard_epoch, sequence: it.sequence_number };
        acknowledged(self.fleet().delete(&it.machine_id, token))
    }

    async fn get(&self, request: Request<pb::MachineRef>) -> Result<Response<pb::Machine>, Status> {
        Ok(Response::new(self.fleet().get(&request.into_inner().id)?.into()))
    }

    async fn list(&self, request: Request<pb::ListFilter>) -> Result<Response<pb::MachineList>, Status> {
        let it = request.into_inner();
        let machines = self.fleet().list(&it.states, it.max_results)?;
        let machines = machines.into_iter().map(Into::into).collect();
        Ok(Response::new(pb::MachineList { machines, ..Default::default() }))
    }
}

/// Returns the fleet and the port. The options are the same for all stacks.
fn options() -> Result<(Fleet, u16), Box<dyn Error>> {
    let (mut port, mut machines, mut latency, mut defect) = (0, 64, 0.0, None);
    let mut arguments = std::env::args().skip(1);
    while let (Some(name), Some(value)) = (arguments.next(), arguments.next()) {
        match (name.as_str(), value.as_str()) {
            ("--port", _) => port = value.parse()?,
            ("--machines", _) => machines = value.parse()?,
            ("--latency", _) => latency = value.parse()?,
            ("--defect", "double-create") => defect = Some(Defect::DoubleCreate),
            ("--defect", "no-fence-on-drain") => defect = Some(Defect::NoFenceOnDrain),
            ("--defect", "trims-metadata") => defect = Some(Defect::TrimsMetadata),
            _ => return Err(format!("unknown option {name} {value}").into()),
        }
    }
    Ok((Fleet::new(machines, Duration::from_secs_f64(latency), defect), port))
}

#[tokio::main]
async fn main() -> Result<(), Box<dyn Error>> {
    let (fleet, port) = options()?;
    let listener = TcpListener::bind(("127.0.0.1", port)).await?;
    let mut terminated = signal(SignalKind::terminate())?;
    // A new reporter says SERVING for the empty service.
    let (_reporter, health) = tonic_health::server::health_reporter();
    println!("serving {}", listener.local_addr()?);
    let server = Server::builder()
        .add_service(health)
        .add_service(CapacityProviderServer::new(Provider(Mutex::new(fleet))))
        .serve_with_incoming(TcpListenerStream::new(listener));
    tokio::select! {
        served = server => Ok(served?),
        _ = terminated.recv() => Ok(()),
    }
}
