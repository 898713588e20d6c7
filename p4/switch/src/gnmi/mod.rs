//! gNMI server for the OpenConfig interfaces of the switch: its ports, their state, counters and speed.
//!
//! [`tree`] has the leaves and paths, [`value`] the encodings, [`set`] with [`candidate`] and [`site`], and [`subscribe`] the
//! logic, all without I/O. This file joins them to the port manager and tonic.

pub mod candidate;
pub mod set;
pub mod site;
pub mod subscribe;
pub mod tree;
pub mod value;

use crate::ports::port::now_ns;
use crate::ports::{Opened, PortError, PortEvent, PortManager, PortOptions, PortSpec};
use candidate::{Change, New};
use p4runtime_proto::GNMI_VERSION;
use p4runtime_proto::gnmi::{
    CapabilityRequest, CapabilityResponse, GetRequest, GetResponse, ModelData, Notification, Path, SetRequest,
    SetResponse, SubscribeRequest, SubscribeResponse, Update, UpdateResult, g_nmi_server::GNmi, get_request::DataType,
};
use parking_lot::Mutex;
use site::Site;
use std::sync::Arc;
use std::time::Instant;
use subscribe::Session;
use tokio::sync::{broadcast, mpsc};
use tokio_stream::wrappers::ReceiverStream;
use tonic::{Request, Response, Status, Streaming};
use tree::{Class, Leaf, Pattern};
use value::Form;

/// Responses that wait for a slow subscriber before it holds up its own stream (and only that).
const BACKLOG: usize = 64;

/// The gNMI service of one switch.
#[derive(Clone)]
pub struct GnmiService {
    ports: PortManager,
    site: Arc<Site>,
    /// Sets take their turn here.
    turn: Arc<Mutex<()>>,
}

impl GnmiService {
    pub fn new(ports: PortManager, site: Site) -> Self {
        Self { ports, site: Arc::new(site), turn: Arc::default() }
    }

    /// Answers a Get (gNMI 0.8 §3.3): one notification a path.
    pub fn read(&self, request: &GetRequest) -> Result<GetResponse, Status> {
        let form = Form::new(request.encoding).map_err(Status::unimplemented)?;
        let wanted = DataType::try_from(request.r#type).map_err(|_| {
            Status::invalid_argument(format!(
                "type: {}; allowed are ALL, CONFIG, STATE and OPERATIONAL",
                request.r#type
            ))
        })?;
        let ports = self.ports.list();
        let all: Vec<Leaf> = ports.iter().flat_map(tree::leaves).collect();
        let prefix = request.prefix.as_ref();
        let whole = [Path::default()];
        let paths = if request.path.is_empty() { &whole[..] } else { &request.path };
        let notification = paths.iter().map(|path| get(prefix, path, form, wanted, &all)).collect::<Result<_, _>>()?;
        Ok(GetResponse { notification, ..GetResponse::default() })
    }

    /// Carries out a Set: all of it, or nothing. Waits for the kernel and for the forwarding threads.
    pub fn write(&self, request: &SetRequest) -> Result<SetResponse, Status> {
        let _turn = self.turn.lock();
        let before = self.ports.list();
        let plan = set::plan(request, &before, &self.site)?;
        let opened = plan.add.iter().map(|new| self.open(new)).collect::<Result<Vec<_>, _>>()?;
        let changed = plan.changes.iter().try_for_each(|change| self.apply(*change));
        if let Err(error) = changed.and_then(|()| self.ports.exchange(&plan.remove, opened)) {
            for port in &before {
                // Back to what was; a port that cannot be set any more has gone.
                let _ = self.ports.set_enabled(port.no, port.enabled);
                let _ = self.ports.set_speed(port.no, port.speed_bps);
            }
            return Err(Status::aborted(format!("nothing is changed: {error}")));
        }
        for new in &plan.add {
            (self.site.named)(&new.interface, new.no);
            (self.site.named)(&new.name, new.no);
        }
        let response = plan.done.into_iter().map(|(path, op)| UpdateResult {
            path: Some(path),
            op: op as i32,
            ..UpdateResult::default()
        });
        Ok(SetResponse {
            prefix: request.prefix.clone(),
            response: response.collect(),
            timestamp: now_ns() as i64,
            ..SetResponse::default()
        })
    }

    fn open(&self, new: &New) -> Result<Opened, Status> {
        let spec = match self.site.remote {
            true => PortSpec::Remote(new.interface.clone()),
            false => PortSpec::Linux(new.interface.clone()),
        };
        let options = PortOptions {
            name: Some(new.name.clone()),
            alias: Some(self.site.qualified(new.no, &new.interface)),
            enabled: new.enabled,
            speed_bps: new.speed_bps,
            // Packets that come by gRPC are not captured.
            capture: self.site.options.capture.clone().filter(|_| !self.site.remote),
            ..self.site.options.clone()
        };
        self.ports.open(new.no, spec, &options).map_err(|error| match &error {
            PortError::Io { source, .. } if source.raw_os_error() == Some(libc::ENODEV) => Status::failed_precondition(
                format!("interface {}: this machine has no interface {:?}", new.name, new.interface),
            ),
            _ => Status::failed_precondition(format!("interface {}: {error}", new.name)),
        })
    }

    fn apply(&self, change: Change) -> Result<(), PortError> {
        match change {
            Change::Enabled(no, enabled) => self.ports.set_enabled(no, enabled),
            Change::Speed(no, bps) => self.ports.set_speed(no, bps),
            Change::DefaultSpeed(no) => self.ports.reset_speed(no),
        }
    }
}

fn belongs(leaf: &Leaf, wanted: DataType) -> bool {
    match wanted {
        DataType::All => true,
        DataType::Config => leaf.class == Class::Config,
        DataType::State => leaf.class != Class::Config,
        DataType::Operational => leaf.class == Class::Operational,
    }
}

fn get(prefix: Option<&Path>, path: &Path, form: Form, wanted: DataType, all: &[Leaf]) -> Result<Notification, Status> {
    let pattern = Pattern::new(prefix, Some(path)).map_err(Status::invalid_argument)?;
    let select = |leaf: &Leaf| Some((pattern.select(leaf)?, pattern.called(leaf)));
    let mut chosen: Vec<(usize, Leaf)> = all.iter().filter_map(select).collect();
    if chosen.is_empty() && !pattern.has_wildcard() && !all.is_empty() {
        return Err(Status::not_found(format!("path {}: there is no such node", pattern.text())));
    }
    // A node that has nothing of the wanted type is there all the same.
    chosen.retain(|(_, leaf)| belongs(leaf, wanted));
    let update = |path, val| Update { path: Some(path), val: Some(val), ..Update::default() };
    let updates = if form == Form::Proto {
        chosen.iter().map(|(_, leaf)| update(leaf.path(), value::leaf_value(&leaf.value, form))).collect()
    } else {
        // Leaves below one selected node stand together.
        let same = |a: &(usize, Leaf), b: &(usize, Leaf)| a.0 == b.0 && a.1.node(a.0) == b.1.node(b.0);
        let nodes = chosen.chunk_by(same).map(|group| {
            let depth = group[0].0;
            let leaves: Vec<&Leaf> = group.iter().map(|(_, leaf)| leaf).collect();
            update(leaves[0].node(depth), value::subtree(&leaves, depth, form))
        });
        nodes.collect()
    };
    let target = prefix.map(|p| p.target.clone()).filter(|target| !target.is_empty());
    Ok(Notification {
        timestamp: now_ns() as i64,
        prefix: target.map(|target| Path { target, ..Path::default() }),
        update: updates,
        ..Notification::default()
    })
}

#[tonic::async_trait]
impl GNmi for GnmiService {
    async fn capabilities(&self, _: Request<CapabilityRequest>) -> Result<Response<CapabilityResponse>, Status> {
        let model = |name: &str, version: &str| ModelData {
            name: name.into(),
            organization: "OpenConfig working group".into(),
            version: version.into(),
        };
        Ok(Response::new(CapabilityResponse {
            supported_models: vec![
                model(tree::MODULE, "3.7.2"),
                model("openconfig-if-ethernet", "2.14.0"),
                model("openconfig-p4rt", "1.0.0"),
            ],
            supported_encodings: value::ENCODINGS.iter().map(|e| *e as i32).collect(),
            g_nmi_version: GNMI_VERSION.into(),
            ..CapabilityResponse::default()
        }))
    }

    async fn get(&self, request: Request<GetRequest>) -> Result<Response<GetResponse>, Status> {
        self.read(request.get_ref()).map(Response::new)
    }

    async fn set(&self, request: Request<SetRequest>) -> Result<Response<SetResponse>, Status> {
        let service = self.clone();
        let written = tokio::task::spawn_blocking(move || service.write(request.get_ref())).await;
        written.map_err(|error| Status::internal(error.to_string()))?.map(Response::new)
    }

    type SubscribeStream = ReceiverStream<Result<SubscribeResponse, Status>>;

    async fn subscribe(
        &self,
        request: Request<Streaming<SubscribeRequest>>,
    ) -> Result<Response<Self::SubscribeStream>, Status> {
        let (send, receive) = mpsc::channel(BACKLOG);
        let ports = self.ports.clone();
        let events = ports.subscribe();
        tokio::spawn(serve(ports, events, request.into_inner(), send));
        Ok(Response::new(ReceiverStream::new(receive)))
    }
}

/// Runs one Subscribe stream until a side ends it.
async fn serve(
    ports: PortManager,
    mut events: broadcast::Receiver<PortEvent>,
    mut requests: Streaming<SubscribeRequest>,
    send: mpsc::Sender<Result<SubscribeResponse, Status>>,
) {
    let start = Instant::now();
    let mut session = Session::default();
    let mut open = true;
    loop {
        let deadline = session.deadline().map(|at| tokio::time::Instant::from_std(start + at));
        let tick = async {
            match deadline {
                Some(at) => tokio::time::sleep_until(at).await,
                None => std::future::pending().await,
            }
        };
        let responses = tokio::select! {
            request = requests.message(), if open => match request {
                Ok(Some(request)) => match session.request(request, start.elapsed(), now_ns(), &ports.list()) {
                    Ok(step) if step.end => {
                        for response in step.responses {
                            if send.send(Ok(response)).await.is_err() {
                                break;
                            }
                        }
                        return;
                    }
                    Ok(step) => step.responses,
                    Err(status) => {
                        let _ = send.send(Err(status)).await;
                        return;
                    }
                },
                Ok(None) if session.outlives_requests(start.elapsed()) => {
                    open = false;
                    continue;
                }
                Ok(None) => return,
                Err(_) => return,
            },
            event = events.recv() => {
                let changed = match event {
                    Ok(PortEvent::Added(no) | PortEvent::Removed(no) | PortEvent::Changed(no)) => Some(no),
                    // Some were missed: look at all.
                    Err(broadcast::error::RecvError::Lagged(_)) => None,
                    Err(broadcast::error::RecvError::Closed) => return,
                };
                session.changed(changed, now_ns(), &ports.list())
            }
            () = tick => session.tick(start.elapsed(), now_ns(), &ports.list()),
            () = send.closed() => return,
        };
        for response in responses {
            if send.send(Ok(response)).await.is_err() {
                return;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use tonic::Code;
    use tree::testing::{path, port};

    #[test]
    fn a_node_without_data_of_the_wanted_type_is_there_all_the_same() {
        let all = tree::leaves(&port(1, "e1", true));
        let found = |text: &str, wanted| {
            let notification = get(None, &path(text), Form::Proto, wanted, &all);
            notification.map(|notification| notification.update.len()).map_err(|status| status.code())
        };
        let ethernet = "/interfaces/interface[name=e1]/ethernet";
        assert_eq!(found(ethernet, DataType::All), Ok(2));
        assert_eq!(found(ethernet, DataType::Config), Ok(1));
        assert_eq!(found(ethernet, DataType::Operational), Ok(0));
        assert_eq!(found("/interfaces/interface[name=e2]/ethernet", DataType::All), Err(Code::NotFound));
    }
}
