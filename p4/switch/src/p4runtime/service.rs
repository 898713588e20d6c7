//! The rim: gRPC by tonic, one task a controller's stream, one for the data plane's events and the timers.
//!
//! ```text
//!  Write, Read, Set/Get ──► lock(device) ──► answer
//!  StreamChannel in ─────► task a stream ──► lock(device) ──┐
//!  Events (bounded) ─────► pump task ──────► lock(device) ──┼─► outbox of each stream ──► StreamChannel out
//!  timers ───────────────► pump task ──────► lock(device) ──┘
//! ```
//!
//! Packet threads never take the lock: they put events into a bounded queue and go on.

use std::{
    collections::HashMap,
    pin::Pin,
    sync::{
        Arc, Weak,
        atomic::{AtomicU64, AtomicUsize, Ordering},
    },
    task::{Context, Poll},
    time::Instant,
};

use bytes::Bytes;
use futures::{Stream, StreamExt};
use p4runtime_proto::{
    P4RUNTIME_API_VERSION,
    p4::v1::{self, p4_runtime_server::P4Runtime, stream_message_response::Update as Response},
};
use parking_lot::Mutex;
use prost::Message;
use tokio::sync::{Notify, mpsc};
use tonic::{Request, Status, Streaming};

use super::{
    arbitration::StreamId,
    batch::Batch,
    device::{Device, Output},
    plane::Host,
    read::Plan,
    wire::{WireService, malformed},
};
use crate::Switch;

/// Events of the data plane that may wait for the server.
const EVENT_QUEUE: usize = 8192;
/// Packet-ins, digests and the like that may wait for one controller; what comes beyond is dropped.
const OUTBOX: usize = 8192;
/// Entities in one message of a Read.
const CHUNK: usize = 512;
/// Streams for one role.
const STREAMS_PER_ROLE: usize = 64;
/// The largest request: device configurations and batches.
pub(super) const MAX_MESSAGE: usize = 256 << 20;

/// Something that happened in the data plane.
#[derive(Debug)]
enum Event {
    PacketIn(Vec<u8>),
    Port(u32),
}

/// Takes events from packet threads; never blocks.
#[derive(Clone, Debug)]
pub struct Events(mpsc::Sender<Event>);

impl Events {
    /// A frame left by the CPU port. False when the queue is full and the frame is dropped.
    pub fn packet_in(&self, frame: Vec<u8>) -> bool {
        self.0.try_send(Event::PacketIn(frame)).is_ok()
    }

    /// A port went up or down, which the switch was told before. False when the queue is full.
    pub fn port_changed(&self, port: u32) -> bool {
        self.0.try_send(Event::Port(port)).is_ok()
    }
}

/// The P4Runtime server of one device. Clones are the same server.
#[derive(Clone)]
pub struct Server {
    shared: Arc<Shared>,
}

struct Shared {
    device: Mutex<Device>,
    /// Batches take their turn here.
    batches: tokio::sync::Mutex<()>,
    outboxes: Mutex<HashMap<StreamId, Outbox>>,
    next_stream: AtomicU64,
    /// The timers changed, or the server is gone.
    rearm: Arc<Notify>,
}

impl Drop for Shared {
    fn drop(&mut self) {
        self.rearm.notify_one();
    }
}

/// The way to one controller.
#[derive(Clone)]
struct Outbox {
    sender: mpsc::UnboundedSender<Result<v1::StreamMessageResponse, Status>>,
    waiting: Arc<AtomicUsize>,
}

impl Shared {
    /// Runs something on the device and delivers what comes of it, in order.
    fn with<T>(&self, run: impl FnOnce(&mut Device, &mut Vec<Output>) -> T) -> T {
        let mut device = self.device.lock();
        let before = device.next_deadline();
        let mut outputs = Vec::new();
        let result = run(&mut device, &mut outputs);
        let after = device.next_deadline();
        if !outputs.is_empty() {
            // Under the device's lock, or two messages could overtake each other.
            self.deliver(outputs);
        }
        drop(device);
        if after.is_some_and(|after| before.is_none_or(|before| after < before)) {
            self.rearm.notify_one();
        }
        result
    }

    fn deliver(&self, outputs: Vec<Output>) {
        let mut outboxes = self.outboxes.lock();
        for output in outputs {
            match output {
                Output::Send(stream, message) => {
                    let Some(outbox) = outboxes.get(&stream) else { continue };
                    let urgent = matches!(message.update, Some(Response::Arbitration(_)));
                    if !urgent && outbox.waiting.load(Ordering::Relaxed) >= OUTBOX {
                        continue;
                    }
                    outbox.waiting.fetch_add(1, Ordering::Relaxed);
                    // A closed receiver is a stream that ends: its task cleans up.
                    let _ = outbox.sender.send(Ok(message));
                }
                Output::Close(stream, failure) => {
                    if let Some(outbox) = outboxes.remove(&stream) {
                        let _ = outbox.sender.send(Err(failure.into()));
                    }
                }
            }
        }
    }

    fn leave(&self, stream: StreamId) {
        self.outboxes.lock().remove(&stream);
        self.with(|device, out| device.closed(stream, out));
    }
}

impl Server {
    /// A server for the device, and the way for the data plane's events. Spawns one task on the present runtime, which ends when
    /// the server and the last [`Events`] are dropped.
    pub fn new(device_id: u64, switch: Arc<Switch>, host: Arc<dyn Host>) -> (Server, Events) {
        let mut device = Device::new(device_id, switch, host, STREAMS_PER_ROLE);
        let samples = Arc::new(Notify::new());
        let waker = samples.clone();
        device.on_samples(move || waker.notify_one());
        let shared = Arc::new(Shared {
            device: Mutex::new(device),
            batches: tokio::sync::Mutex::new(()),
            outboxes: Mutex::new(HashMap::new()),
            next_stream: AtomicU64::new(1),
            rearm: Arc::default(),
        });
        let (sender, receiver) = mpsc::channel(EVENT_QUEUE);
        tokio::spawn(pump(Arc::downgrade(&shared), shared.rearm.clone(), samples, receiver));
        (Server { shared }, Events(sender))
    }

    /// Runs a pipeline that the switch was started with.
    ///
    /// # Errors
    /// `INVALID_ARGUMENT` when it cannot be realised.
    pub fn start(&self, config: v1::ForwardingPipelineConfig) -> Result<(), super::Failure> {
        self.shared.with(|device, _| device.start(config))
    }

    /// Names a port, for P4Info types that are strings.
    pub fn name_port(&self, name: &str, port: u32) {
        self.shared.device.lock().registry().name_port(name, port.into());
    }

    /// The service for tonic's router.
    pub fn service(&self) -> WireService {
        WireService::new(self.clone())
    }

    /// A Write that is not read yet.
    pub(super) async fn write_serialized(&self, request: &Bytes) -> Result<(), Status> {
        let batch = Batch::read(request).map_err(malformed)?;
        self.write_batch(&batch).await
    }

    async fn write_batch(&self, batch: &Batch<'_>) -> Result<(), Status> {
        // Whoever waits for the batch before leaves the thread to others.
        let _turn = self.shared.batches.lock().await;
        self.shared.with(|device, _| device.write_batch(batch, Instant::now()))
    }

    /// A Read whose answers are serialized.
    pub(super) fn read_serialized(&self, request: &v1::ReadRequest) -> Result<Chunks, Status> {
        let (plan, end) = self.shared.device.lock().read(request)?;
        Ok(Chunks { plan: Some(plan), end: end.err() })
    }
}

/// Feeds events and timers to the device. Holds no reference to it while it waits, so that a dropped server ends.
async fn pump(shared: Weak<Shared>, rearm: Arc<Notify>, samples: Arc<Notify>, mut events: mpsc::Receiver<Event>) {
    let mut batch = Vec::with_capacity(64);
    loop {
        let Some(deadline) = shared.upgrade().map(|shared| shared.device.lock().next_deadline()) else {
            return;
        };
        let timer = async {
            match deadline {
                Some(at) => tokio::time::sleep_until(at.into()).await,
                None => std::future::pending().await,
            }
        };
        tokio::select! {
            count = events.recv_many(&mut batch, 64) => {
                let Some(shared) = shared.upgrade().filter(|_| count > 0) else { return };
                shared.with(|device, out| {
                    for event in batch.drain(..) {
                        match event {
                            Event::PacketIn(frame) => device.packet_in(&frame, out),
                            Event::Port(port) => device.port_changed(port),
                        }
                    }
                });
            }
            () = samples.notified() => {
                if let Some(shared) = shared.upgrade() {
                    shared.with(|device, out| device.digests(Instant::now(), out));
                }
            }
            () = timer => {
                if let Some(shared) = shared.upgrade() {
                    shared.with(|device, out| device.tick(Instant::now(), out));
                }
            }
            () = rearm.notified() => {}
        }
    }
}

/// The outgoing half of a stream channel.
struct Outgoing {
    receiver: mpsc::UnboundedReceiver<Result<v1::StreamMessageResponse, Status>>,
    waiting: Arc<AtomicUsize>,
    /// Set until the stream is over: the client may drop it without a word.
    leave: Option<(Arc<Shared>, StreamId)>,
}

impl Stream for Outgoing {
    type Item = Result<v1::StreamMessageResponse, Status>;

    fn poll_next(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        let next = self.receiver.poll_recv(context);
        if let Poll::Ready(Some(Ok(_))) = &next {
            self.waiting.fetch_sub(1, Ordering::Relaxed);
        }
        next
    }
}

impl Drop for Outgoing {
    fn drop(&mut self) {
        if let Some((shared, stream)) = self.leave.take() {
            shared.leave(stream);
        }
    }
}

/// The answer to a Read: serialized `ReadResponse` messages, one a chunk.
pub(super) struct Chunks {
    plan: Option<Plan>,
    /// The status to end with.
    end: Option<Status>,
}

impl Stream for Chunks {
    type Item = Result<Bytes, Status>;

    fn poll_next(mut self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        if let Some(plan) = &mut self.plan {
            let mut chunk = Vec::with_capacity(CHUNK * 96);
            if !plan.encode(CHUNK, &mut chunk) {
                self.plan = None;
            }
            if !chunk.is_empty() {
                return Poll::Ready(Some(Ok(chunk.into())));
            }
        }
        Poll::Ready(self.end.take().map(Err))
    }
}

type Answers<T> = Pin<Box<dyn Stream<Item = Result<T, Status>> + Send>>;

#[tonic::async_trait]
impl P4Runtime for Server {
    type ReadStream = Answers<v1::ReadResponse>;
    type StreamChannelStream = Answers<v1::StreamMessageResponse>;

    async fn write(&self, request: Request<v1::WriteRequest>) -> Result<tonic::Response<v1::WriteResponse>, Status> {
        self.write_batch(&Batch::of(request.get_ref())).await?;
        Ok(tonic::Response::new(v1::WriteResponse {}))
    }

    async fn read(&self, request: Request<v1::ReadRequest>) -> Result<tonic::Response<Self::ReadStream>, Status> {
        let chunks = self.read_serialized(request.get_ref())?;
        let messages = chunks.map(|chunk| v1::ReadResponse::decode(chunk?).map_err(malformed));
        Ok(tonic::Response::new(Box::pin(messages)))
    }

    async fn set_forwarding_pipeline_config(
        &self,
        request: Request<v1::SetForwardingPipelineConfigRequest>,
    ) -> Result<tonic::Response<v1::SetForwardingPipelineConfigResponse>, Status> {
        let request = request.into_inner();
        self.shared.with(|device, _| device.set_pipeline(request, Instant::now()))?;
        Ok(tonic::Response::new(v1::SetForwardingPipelineConfigResponse {}))
    }

    async fn get_forwarding_pipeline_config(
        &self,
        request: Request<v1::GetForwardingPipelineConfigRequest>,
    ) -> Result<tonic::Response<v1::GetForwardingPipelineConfigResponse>, Status> {
        let answer = self.shared.device.lock().get_pipeline(request.get_ref())?;
        Ok(tonic::Response::new(answer))
    }

    async fn stream_channel(
        &self,
        request: Request<Streaming<v1::StreamMessageRequest>>,
    ) -> Result<tonic::Response<Self::StreamChannelStream>, Status> {
        let shared = self.shared.clone();
        let stream = shared.next_stream.fetch_add(1, Ordering::Relaxed);
        let (sender, receiver) = mpsc::unbounded_channel();
        let waiting = Arc::new(AtomicUsize::new(0));
        let outbox = Outbox { sender, waiting: waiting.clone() };
        shared.outboxes.lock().insert(stream, outbox);
        let leave = Some((shared.clone(), stream));
        let mut incoming = request.into_inner();
        tokio::spawn(async move {
            while let Some(Ok(message)) = incoming.next().await {
                // A stream that was closed for an error takes no part any more.
                if !shared.outboxes.lock().contains_key(&stream) {
                    break;
                }
                shared.with(|device, out| device.message(stream, message, out));
            }
            // Dropping the outbox ends the outgoing half, which ends the call with OK.
            shared.leave(stream);
        });
        Ok(tonic::Response::new(Box::pin(Outgoing { receiver, waiting, leave })))
    }

    async fn capabilities(
        &self,
        request: Request<v1::CapabilitiesRequest>,
    ) -> Result<tonic::Response<v1::CapabilitiesResponse>, Status> {
        self.shared.device.lock().check_device(request.get_ref().device_id)?;
        Ok(tonic::Response::new(v1::CapabilitiesResponse {
            p4runtime_api_version: P4RUNTIME_API_VERSION.to_owned(),
            experimental: None,
        }))
    }
}
