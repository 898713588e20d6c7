//! The P4Runtime server of one device without I/O: requests and events in, answers and stream messages out.
//!
//! One value behind one lock, so that batches are serialised (P4Runtime 12.1), a Read sees a batch wholly or not at all, and a
//! change of primary waits for the Write that is under way.

use std::{
    borrow::Cow,
    sync::Arc,
    time::{Instant, SystemTime, UNIX_EPOCH},
};

use p4runtime_proto::{
    p4::v1::{
        self, get_forwarding_pipeline_config_request::ResponseType, set_forwarding_pipeline_config_request::Action,
        stream_error::Details, stream_message_request::Update as Request, stream_message_response::Update as Response,
        write_request::Atomicity,
    },
    status,
};
use tonic::{Code, Status};

use super::{
    arbitration::{Arbitration, Notice, StreamId},
    batch::{Batch, Change},
    digests::{Batcher, List},
    failure::{Failure, Outcome},
    packets,
    pipeline::Pipeline,
    plane::Host,
    read::Plan,
    roles::Scope,
    translate::Registry,
    values::Data,
    write,
};
use crate::Switch;

/// What the server does in consequence of an input.
#[derive(Debug)]
pub enum Output {
    /// Sends a message to a controller. May be dropped under load unless it is about arbitration.
    Send(StreamId, v1::StreamMessageResponse),
    /// Ends a controller's stream.
    Close(StreamId, Failure),
}

/// One device and its controllers.
pub struct Device {
    switch: Arc<Switch>,
    host: Arc<dyn Host>,
    registry: Arc<Registry>,
    arbitration: Arbitration,
    /// What packets go through.
    running: Option<Pipeline>,
    /// What was saved and not yet committed; Writes and Reads are about it while it is there.
    saved: Option<Pipeline>,
    /// One a digest of the running pipeline.
    batchers: Vec<Batcher>,
    /// Called by packet threads when digest samples wait.
    sample_waker: Option<Arc<dyn Fn() + Send + Sync>>,
}

impl Device {
    /// A device without a pipeline.
    pub fn new(device_id: u64, switch: Arc<Switch>, host: Arc<dyn Host>, streams_per_role: usize) -> Self {
        Device {
            switch,
            host,
            registry: Arc::default(),
            arbitration: Arbitration::new(device_id, streams_per_role),
            running: None,
            saved: None,
            batchers: Vec::new(),
            sample_waker: None,
        }
    }

    /// String types and port names.
    pub fn registry(&self) -> &Arc<Registry> {
        &self.registry
    }

    /// The pipeline that packets go through.
    pub fn running(&self) -> Option<&Pipeline> {
        self.running.as_ref()
    }

    fn current(&mut self) -> Outcome<&mut Pipeline> {
        let pipeline = self.saved.as_mut().or(self.running.as_mut());
        pipeline.ok_or_else(|| Failure::precondition("no forwarding pipeline is configured"))
    }

    // Streams.

    /// A message from a controller.
    pub fn message(&mut self, stream: StreamId, message: v1::StreamMessageRequest, out: &mut Vec<Output>) {
        match message.update {
            Some(Request::Arbitration(update)) => match self.arbitration.update(stream, &update) {
                Ok(notices) => self.notify(notices, out),
                Err(failure) => {
                    let notices = self.arbitration.disconnect(stream);
                    self.notify(notices, out);
                    out.push(Output::Close(stream, failure));
                }
            },
            Some(Request::Packet(packet)) => {
                if let Err(failure) = self.packet_out(stream, &packet) {
                    let packet_out = Some(packet);
                    let details = Details::PacketOut(v1::PacketOutError { packet_out });
                    out.push(stream_error(stream, failure, details));
                }
            }
            Some(Request::DigestAck(ack)) => {
                if let Err(failure) = self.digest_ack(stream, &ack) {
                    let digest_list_ack = Some(ack);
                    let details = Details::DigestListAck(v1::DigestListAckError { digest_list_ack });
                    out.push(stream_error(stream, failure, details));
                }
            }
            Some(Request::Other(other)) => {
                let failure = Failure::unimplemented(format!("type \"{}\" is not known", other.type_url));
                let details = Details::Other(v1::StreamOtherError { other: Some(other) });
                out.push(stream_error(stream, failure, details));
            }
            None => {
                let failure = Failure::invalid("update is not set");
                let details = Details::Other(v1::StreamOtherError { other: None });
                out.push(stream_error(stream, failure, details));
            }
        }
    }

    /// A controller's stream ended.
    pub fn closed(&mut self, stream: StreamId, out: &mut Vec<Output>) {
        let notices = self.arbitration.disconnect(stream);
        self.notify(notices, out);
    }

    fn notify(&mut self, notices: Vec<Notice>, out: &mut Vec<Output>) {
        out.extend(
            notices.into_iter().map(|(stream, update)| Output::Send(stream, response(Response::Arbitration(update)))),
        );
    }

    fn packet_out(&mut self, stream: StreamId, packet: &v1::PacketOut) -> Outcome<()> {
        if self.arbitration.primary_scope(stream).is_none() {
            return Err(Failure::denied("only the primary may send packets"));
        }
        let pipeline = self.running.as_ref();
        let pipeline = pipeline.ok_or_else(|| Failure::precondition("no forwarding pipeline is configured"))?;
        let frame = packets::packet_out(pipeline.schema().packet_out.as_ref(), packet)?;
        self.host.packet_out(frame);
        Ok(())
    }

    fn digest_ack(&mut self, stream: StreamId, ack: &v1::DigestListAck) -> Outcome<()> {
        if self.arbitration.primary_scope(stream).is_none() {
            return Err(Failure::denied("only the primary may acknowledge digests"));
        }
        let pipeline = self.running.as_ref();
        let pipeline = pipeline.ok_or_else(|| Failure::precondition("no forwarding pipeline is configured"))?;
        let at = pipeline.schema().digest(ack.digest_id)?;
        self.batchers[at].acknowledge(ack.list_id);
        Ok(())
    }

    // Events of the data plane.

    /// A frame left the pipeline by the CPU port.
    pub fn packet_in(&mut self, frame: &[u8], out: &mut Vec<Output>) {
        let Some(pipeline) = &self.running else { return };
        let Some(packet) = packets::packet_in(pipeline.schema().packet_in.as_ref(), frame) else {
            return;
        };
        let metadata: Vec<(u32, &[u8])> = packet.metadata.iter().map(|m| (m.metadata_id, m.value.as_ref())).collect();
        for (stream, scope) in self.arbitration.primaries() {
            if scope.receives_packet(&metadata) {
                out.push(Output::Send(stream, response(Response::Packet(packet.clone()))));
            }
        }
    }

    /// Names who is to call [`Device::digests`] when samples wait. Applies to pipelines activated later.
    pub fn on_samples(&mut self, waker: impl Fn() + Send + Sync + 'static) {
        self.sample_waker = Some(Arc::new(waker));
    }

    /// Takes the digest samples that wait in the data plane.
    pub fn digests(&mut self, now: Instant, out: &mut Vec<Output>) {
        let Some(pipeline) = &self.running else { return };
        let mut lists = Vec::new();
        for (digest, sample) in pipeline.plane().samples() {
            let at = pipeline.schema().digests.iter().position(|known| known.program == digest);
            let Some(at) = at.filter(|at| pipeline.digests[*at].is_some()) else { continue };
            lists.extend(self.batchers[at].sample(&sample, now).map(|list| (at, list)));
        }
        for (at, list) in lists {
            self.send_list(at, list, out);
        }
    }

    /// A port went up or down.
    pub fn port_changed(&mut self, port: u32) {
        for pipeline in self.running.iter().chain(&self.saved) {
            pipeline.port_changed(port);
        }
    }

    fn send_list(&self, at: usize, list: List, out: &mut Vec<Output>) {
        let Some(pipeline) = &self.running else { return };
        let digest = &pipeline.schema().digests[at];
        let types = Data { types: pipeline.schema().info.type_info.as_ref() };
        let data = list.samples.iter().map(|sample| types.sample(&digest.type_spec, &digest.widths, sample)).collect();
        let message = v1::DigestList { digest_id: digest.id, list_id: list.list_id, data, timestamp: epoch_ns() };
        for (stream, scope) in self.arbitration.primaries() {
            if scope.includes(digest.id) {
                out.push(Output::Send(stream, response(Response::Digest(message.clone()))));
            }
        }
    }

    /// When [`Device::tick`] has something to do.
    pub fn next_deadline(&self) -> Option<Instant> {
        let digests = self.batchers.iter().filter_map(Batcher::deadline);
        digests.chain(self.running.as_ref().and_then(Pipeline::next_expiry)).min()
    }

    /// Does what time demands: digest lists, idle notifications.
    pub fn tick(&mut self, now: Instant, out: &mut Vec<Output>) {
        for at in 0..self.batchers.len() {
            if let Some(list) = self.batchers[at].tick(now) {
                self.send_list(at, list, out);
            }
        }
        let Some(pipeline) = &mut self.running else { return };
        let expired = pipeline.expire(now);
        if expired.is_empty() {
            return;
        }
        for (stream, scope) in self.arbitration.primaries() {
            let table_entry: Vec<_> = expired.iter().filter(|entry| scope.includes(entry.table_id)).cloned().collect();
            if !table_entry.is_empty() {
                let message = v1::IdleTimeoutNotification { table_entry, timestamp: epoch_ns() };
                out.push(Output::Send(stream, response(Response::IdleTimeoutNotification(message))));
            }
        }
    }

    // Requests.

    /// Applies a batch (P4Runtime 12).
    ///
    /// # Errors
    /// `UNKNOWN` with one detail an update when updates failed, else the code of what is wrong with the whole request.
    pub fn write(&mut self, request: &v1::WriteRequest, now: Instant) -> Result<(), Status> {
        self.write_batch(&Batch::of(request), now)
    }

    /// The same for a request as it is read.
    ///
    /// # Errors
    /// As [`Device::write`].
    pub fn write_batch(&mut self, batch: &Batch<'_>, now: Instant) -> Result<(), Status> {
        self.arbitration.authorize(batch.device_id, &batch.role, batch.election_id.as_ref())?;
        let atomicity = Atomicity::try_from(batch.atomicity)
            .map_err(|_| Failure::invalid(format!("atomicity {} is not valid", batch.atomicity)))?;
        let pipeline = match (&mut self.saved, &mut self.running) {
            (Some(pipeline), _) | (None, Some(pipeline)) => pipeline,
            (None, None) => {
                return Err(Failure::precondition("no forwarding pipeline is configured").into());
            }
        };
        let rights = Rights::new(&self.arbitration, &batch.role);
        let mut one = |pipeline: &mut Pipeline, update: &v1::Update| {
            rights.check(&Change::Update(update))?;
            pipeline.apply(update, now)
        };
        let result = match atomicity {
            Atomicity::ContinueOnError => continue_on_error(pipeline, batch, &rights, now),
            Atomicity::RollbackOnError => roll_back_on_error(pipeline, &batch.updates(), &mut one, now),
            Atomicity::DataplaneAtomic => {
                let updates = batch.updates();
                let plane = pipeline.plane().clone();
                let _hold = plane.hold()?;
                roll_back_on_error(pipeline, &updates, &mut one, now)
            }
        };
        if self.saved.is_none() {
            self.follow_digests();
        }
        result
    }

    /// Gives the batchers the configuration of the running pipeline.
    fn follow_digests(&mut self) {
        let Some(pipeline) = &self.running else { return };
        for (batcher, config) in self.batchers.iter_mut().zip(&pipeline.digests) {
            match config {
                Some(config) => batcher.configure(*config),
                None => *batcher = Batcher::default(),
            }
        }
    }

    /// Plans a Read (P4Runtime 13): what to yield, and the status to end with.
    ///
    /// # Errors
    /// For what is wrong with the whole request.
    pub fn read(&mut self, request: &v1::ReadRequest) -> Result<(Plan, Result<(), Status>), Status> {
        self.arbitration.check_device(request.device_id)?;
        let pipeline = match (&mut self.saved, &mut self.running) {
            (Some(pipeline), _) | (None, Some(pipeline)) => pipeline,
            (None, None) => {
                return Err(Failure::precondition("no forwarding pipeline is configured").into());
            }
        };
        let scope = self.arbitration.scope(&request.role)?;
        let (plan, outcomes) = pipeline.plan(&request.entities, scope);
        let failed = outcomes.iter().filter(|outcome| outcome.is_err()).count();
        if failed == 0 {
            return Ok((plan, Ok(())));
        }
        let errors: Vec<_> = outcomes
            .iter()
            .map(|outcome| outcome.as_ref().err().map_or_else(status::applied, Failure::detail))
            .collect();
        let text = format!("{failed} of {} queries failed", errors.len());
        Ok((plan, Err(status::batch_status(text, &errors))))
    }

    /// Changes the pipeline (P4Runtime 14).
    ///
    /// # Errors
    /// Nothing is changed then.
    pub fn set_pipeline(&mut self, request: v1::SetForwardingPipelineConfigRequest, now: Instant) -> Outcome<()> {
        let scope = self.arbitration.authorize(request.device_id, &request.role, request.election_id.as_ref())?;
        if !scope.can_push_pipeline() {
            return Err(Failure::denied(format!("role \"{}\" may not set the pipeline", request.role)));
        }
        let action = Action::try_from(request.action).unwrap_or(Action::Unspecified);
        match action {
            Action::Unspecified => {
                return Err(Failure::invalid(format!("action {} is not valid", request.action)));
            }
            Action::Commit => {
                if request.config.is_some() {
                    return Err(Failure::invalid("COMMIT takes no config"));
                }
                let saved = self.saved.take();
                let saved = saved.ok_or_else(|| Failure::not_found("no config is saved"))?;
                self.activate(saved);
                return Ok(());
            }
            _ => {}
        }
        let config = request.config.ok_or_else(|| Failure::invalid("config is not set"))?;
        if action == Action::ReconcileAndCommit
            && self.saved.is_none()
            && let Some(running) = &mut self.running
            && running.is_same(&config)
        {
            running.cookie = config.cookie;
            return Ok(());
        }
        let mut pipeline = self.load(config)?;
        match action {
            Action::VerifyAndSave => self.saved = Some(pipeline),
            Action::VerifyAndCommit => self.activate(pipeline),
            Action::ReconcileAndCommit => {
                if let Some(running) = &mut self.running {
                    pipeline.adopt(running, now)?;
                }
                self.activate(pipeline);
            }
            _ => {}
        }
        Ok(())
    }

    /// Runs a pipeline that the switch was started with.
    ///
    /// # Errors
    /// `INVALID_ARGUMENT` when it cannot be realised.
    pub fn start(&mut self, config: v1::ForwardingPipelineConfig) -> Outcome<()> {
        let pipeline = self.load(config)?;
        self.activate(pipeline);
        Ok(())
    }

    fn load(&self, config: v1::ForwardingPipelineConfig) -> Outcome<Pipeline> {
        Pipeline::load(config, &self.switch, self.host.clone(), self.registry.clone())
    }

    fn activate(&mut self, pipeline: Pipeline) {
        if let Some(waker) = self.sample_waker.clone() {
            pipeline.plane().on_samples(move || waker());
        }
        pipeline.plane().activate();
        self.batchers = pipeline.digests.iter().map(|_| Batcher::default()).collect();
        self.running = Some(pipeline);
        self.saved = None;
        self.follow_digests();
    }

    /// Tells the configuration (P4Runtime 15).
    ///
    /// # Errors
    /// `NOT_FOUND` for another device.
    pub fn get_pipeline(
        &mut self,
        request: &v1::GetForwardingPipelineConfigRequest,
    ) -> Outcome<v1::GetForwardingPipelineConfigResponse> {
        self.arbitration.check_device(request.device_id)?;
        let parts = ResponseType::try_from(request.response_type)
            .map_err(|_| Failure::invalid(format!("response_type {} is not valid", request.response_type)))?;
        let config = self.current().ok().map(|pipeline| pipeline.config(parts));
        Ok(v1::GetForwardingPipelineConfigResponse { config })
    }

    /// Refuses requests for other devices; 0 stands for all of them.
    ///
    /// # Errors
    /// `NOT_FOUND`.
    pub fn check_device(&self, device_id: u64) -> Outcome<()> {
        match device_id {
            0 => Ok(()),
            id => self.arbitration.check_device(id),
        }
    }
}

/// What the role of a request may write (P4Runtime 5.2).
struct Rights<'a> {
    arbitration: &'a Arbitration,
    role: &'a str,
    scope: Outcome<&'a Scope>,
}

impl<'a> Rights<'a> {
    fn new(arbitration: &'a Arbitration, role: &'a str) -> Self {
        Rights { arbitration, role, scope: arbitration.scope(role) }
    }

    fn check(&self, change: &Change<'_>) -> Outcome<()> {
        let (id, noun) = match change {
            Change::Plain(_, plain) => (Some(plain.table_id), "table_entry"),
            Change::Update(update) => match update.entity.as_ref().and_then(|entity| entity.entity.as_ref()) {
                Some(kind) => (write::object_id(kind), write::noun(kind)),
                None => return Ok(()),
            },
        };
        let Some(id) = id else { return Ok(()) };
        if !self.scope.clone()?.includes(id) {
            return Err(Failure::denied(format!("{noun}: object {id:#010x} is not in role \"{}\"", self.role)));
        }
        match self.arbitration.exclusive_owner(self.role, id) {
            Some(owner) => {
                Err(Failure::denied(format!("{noun}: object {id:#010x} belongs exclusively to role \"{owner}\"")))
            }
            None => Ok(()),
        }
    }
}

type Apply<'a> = dyn FnMut(&mut Pipeline, &v1::Update) -> Outcome<()> + 'a;

fn continue_on_error(
    pipeline: &mut Pipeline,
    batch: &Batch<'_>,
    rights: &Rights<'_>,
    now: Instant,
) -> Result<(), Status> {
    let mut errors: Vec<v1::Error> = Vec::new();
    let mut failed = 0;
    for (at, change) in batch.changes().enumerate() {
        match rights.check(&change).and_then(|()| pipeline.apply_change(&change, now)) {
            Ok(()) if errors.is_empty() => {}
            Ok(()) => errors.push(status::applied()),
            Err(failure) => {
                if errors.is_empty() {
                    errors.resize_with(at, status::applied);
                }
                failed += 1;
                errors.push(failure.detail());
            }
        }
    }
    if failed == 0 {
        return Ok(());
    }
    Err(status::batch_status(format!("{failed} of {} updates failed", batch.count()), &errors))
}

fn roll_back_on_error(
    pipeline: &mut Pipeline,
    updates: &[Cow<'_, v1::Update>],
    apply: &mut Apply<'_>,
    now: Instant,
) -> Result<(), Status> {
    let mut undo: Vec<Vec<v1::Update>> = Vec::with_capacity(updates.len());
    for (at, update) in updates.iter().enumerate() {
        let inverse = pipeline.inverse(update);
        let Err(failure) = apply(pipeline, update) else {
            undo.push(inverse);
            continue;
        };
        let mut whole = true;
        for update in undo.into_iter().rev().flatten() {
            if let Err(failure) = pipeline.apply(&update, now) {
                tracing::error!(%failure, "an update could not be taken back");
                whole = false;
            }
        }
        let other = if whole {
            Failure::aborted(format!("not applied: update {at} of the batch failed"))
        } else {
            Failure::internal("the batch failed and could not be taken back wholly")
        };
        let mut errors = vec![other.detail(); updates.len()];
        errors[at] = failure.detail();
        return Err(status::batch_status(format!("update {at} of {} failed, none is applied", updates.len()), &errors));
    }
    Ok(())
}

fn response(update: Response) -> v1::StreamMessageResponse {
    v1::StreamMessageResponse { update: Some(update) }
}

fn stream_error(stream: StreamId, failure: Failure, details: Details) -> Output {
    let error = v1::StreamError {
        canonical_code: failure.code as i32,
        message: failure.message,
        space: String::new(),
        code: if failure.code == Code::Ok { 0 } else { failure.code as i32 },
        details: Some(details),
    };
    Output::Send(stream, response(Response::Error(error)))
}

fn epoch_ns() -> i64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    i64::try_from(since.as_nanos()).unwrap_or(i64::MAX)
}
