//! `p4.bm.DataplaneInterface`: packets come and go by gRPC in place of ports, as with BMv2's flag `--dp-grpc-server-addr`.
//!
//! Every port number exists and is up until [`SetPortOperStatus`](p4runtime_proto::p4::bm) says otherwise. Those that are made
//! over gNMI are shown there, count, and can be disabled: nothing passes a disabled port. A packet is carried
//! through the switch before the next is read, so a client that ends its half of the stream has all answers when the other
//! half ends.

use crate::lane::Worker;
use crate::p4runtime::{Events, plane::Host};
use crate::ports::{PortManager, PortNo, Tally};
use crate::switch::{PacketMeta, Switch};
use futures::{Stream, StreamExt};
use p4runtime_proto::p4::bm::{
    PacketStreamRequest, PacketStreamResponse, PortOperStatus, SetPortOperStatusRequest, SetPortOperStatusResponse,
    dataplane_interface_server::{DataplaneInterface, DataplaneInterfaceServer},
};
use parking_lot::Mutex;
use std::pin::Pin;
use std::sync::atomic::Ordering;
use std::sync::{Arc, OnceLock};
use tokio::net::TcpListener;
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;
use tonic::transport::{Server, server::TcpIncoming};
use tonic::{Request, Response, Status, Streaming};

/// Packets that may wait for the client.
const WAITING: usize = 1024;

type Answer = Result<PacketStreamResponse, Status>;

/// The packets of one switch. Clones are the same.
#[derive(Clone)]
pub struct Dataplane(Arc<Inner>);

struct Inner {
    device_id: u64,
    switch: Arc<Switch>,
    ports: PortManager,
    worker: Mutex<Worker>,
    cpu: Option<PortNo>,
    events: Arc<OnceLock<Events>>,
    /// The way to the client.
    client: Mutex<Option<mpsc::Sender<Answer>>>,
}

impl Dataplane {
    pub fn new(
        device_id: u64,
        switch: &Arc<Switch>,
        ports: PortManager,
        cpu: Option<PortNo>,
        events: Arc<OnceLock<Events>>,
    ) -> Self {
        let worker = Mutex::new(switch.worker());
        let client = Mutex::default();
        Dataplane(Arc::new(Inner { device_id, switch: Arc::clone(switch), ports, worker, cpu, events, client }))
    }

    /// Serves in a thread of its own: streams of one connection begin there in the order in which the client opened them, and
    /// which of two clients comes first decides who has the packets.
    pub fn serve(self, listener: std::net::TcpListener) -> std::io::Result<()> {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        std::thread::Builder::new().name("dataplane".into()).spawn(move || {
            runtime.block_on(async move {
                let ended = async {
                    let incoming = TcpIncoming::from(TcpListener::from_std(listener)?).with_nodelay(Some(true));
                    let router = Server::builder().add_service(DataplaneInterfaceServer::new(self));
                    router.serve_with_incoming(incoming).await.map_err(std::io::Error::other)
                };
                if let Err(error) = ended.await {
                    tracing::error!(%error, "--dp-grpc-server-addr");
                }
            });
        })?;
        Ok(())
    }
}

impl Inner {
    /// Carries a packet through the switch: what leaves for the client. What leaves for the controller goes there.
    fn carry(&self, id: u64, port: PortNo, packet: &[u8]) -> Vec<PacketStreamResponse> {
        let mut left = Vec::new();
        if let Some(port) = self.ports.port(port) {
            if !port.is_enabled() {
                port.counters.in_discards.fetch_add(1, Ordering::Relaxed);
                return left;
            }
            port.counters.add_received(&mut Tally::bare(packet.len()));
        }
        let mut sink = |port: u32, head: &[u8], payload: &[u8], _: PacketMeta| {
            if let Some(port) = self.ports.port(port) {
                if !port.is_enabled() {
                    port.counters.out_discards.fetch_add(1, Ordering::Relaxed);
                    return;
                }
                port.counters.add_sent(&mut Tally::bare(head.len() + payload.len()));
            }
            let packet = [head, payload].concat();
            if self.cpu == Some(port) {
                let _ = self.events.get().is_some_and(|events| events.packet_in(packet));
            } else {
                left.push(PacketStreamResponse { id, device_id: self.device_id, port, packet: packet.into() });
            }
        };
        self.worker.lock().process(port, packet, PacketMeta::default(), &mut sink);
        left
    }

    /// Carries what the client sends until it has no more.
    async fn pump(&self, mut packets: Streaming<PacketStreamRequest>, client: &mpsc::Sender<Answer>) {
        while let Some(Ok(request)) = packets.next().await {
            let PacketStreamRequest { id, device_id, port, packet } = request;
            if device_id != self.device_id || packet.is_empty() {
                continue;
            }
            for answer in self.carry(id, port, &packet) {
                if client.send(Ok(answer)).await.is_err() {
                    return;
                }
            }
        }
    }
}

impl Host for Dataplane {
    fn has_port(&self, port: u32) -> bool {
        port != self.0.switch.options.drop_port
    }

    fn packet_out(&self, frame: Vec<u8>) {
        let Some(cpu) = self.0.cpu else { return };
        let left = self.0.carry(0, cpu, &frame);
        let client = self.0.client.lock();
        for answer in left {
            // Without a client, or with one that does not read, packets are lost as on a link that nobody listens to.
            let _ = client.as_ref().is_some_and(|client| client.try_send(Ok(answer)).is_ok());
        }
    }
}

#[tonic::async_trait]
impl DataplaneInterface for Dataplane {
    type PacketStreamStream = Pin<Box<dyn Stream<Item = Answer> + Send>>;

    async fn packet_stream(
        &self,
        request: Request<Streaming<PacketStreamRequest>>,
    ) -> Result<Response<Self::PacketStreamStream>, Status> {
        let (client, answers) = mpsc::channel(WAITING);
        {
            let mut place = self.0.client.lock();
            if place.is_some() {
                return Err(Status::resource_exhausted("another client has the packets, there can be one at a time"));
            }
            *place = Some(client.clone());
        }
        let inner = Arc::clone(&self.0);
        tokio::spawn(async move {
            inner.pump(request.into_inner(), &client).await;
            *inner.client.lock() = None;
        });
        Ok(Response::new(Box::pin(ReceiverStream::new(answers))))
    }

    async fn set_port_oper_status(
        &self,
        request: Request<SetPortOperStatusRequest>,
    ) -> Result<Response<SetPortOperStatusResponse>, Status> {
        let request = request.into_inner();
        if request.device_id != self.0.device_id {
            let (found, own) = (request.device_id, self.0.device_id);
            return Err(Status::invalid_argument(format!("device_id {found} is not known, this is device {own}")));
        }
        let up = match PortOperStatus::try_from(request.oper_status) {
            Ok(PortOperStatus::OperStatusUp) => true,
            Ok(PortOperStatus::OperStatusDown) => false,
            _ => {
                return Err(Status::invalid_argument(format!(
                    "oper_status {} is neither OPER_STATUS_UP nor OPER_STATUS_DOWN",
                    request.oper_status
                )));
            }
        };
        self.0.ports.set_carrier(request.port, up);
        Ok(Response::new(SetPortOperStatusResponse {}))
    }
}
