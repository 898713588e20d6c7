//! Where a session meets the network: carries out its outputs with tonic and gives back inputs.

use std::sync::Arc;

use p4runtime_proto::p4::v1;
use pergola_pipeline::Entity;
use tokio::sync::mpsc;
use tokio::task::JoinSet;
use tokio_stream::wrappers::UnboundedReceiverStream;
use tonic::Code;
use tonic::transport::{Channel, Endpoint};
use v1::get_forwarding_pipeline_config_request::ResponseType;
use v1::p4_runtime_client::P4RuntimeClient;
use v1::set_forwarding_pipeline_config_request::Action;

use crate::session::uint128;
use crate::{Fault, Input, Output, Pipeline, PipelineSeen, ReadScope, WriteOp};

type Client = P4RuntimeClient<Channel>;

/// A message may hold a whole P4Info with its device configuration, or a large part of a table.
const MESSAGE_LIMIT: usize = 256 << 20;

/// The network side of one session. Every call runs in a task of its own; the answers are taken with [`Rim::next`].
pub struct Rim {
    endpoint: Endpoint,
    device_id: u64,
    pipeline: Arc<Pipeline>,
    election_id: u128,
    client: Option<Client>,
    to_switch: Option<mpsc::UnboundedSender<v1::StreamMessageRequest>>,
    tasks: JoinSet<()>,
    /// Renewed with every connection, so that answers of a dropped one are never seen.
    inputs: mpsc::UnboundedSender<Arrived>,
    arrived: mpsc::UnboundedReceiver<Arrived>,
}

enum Arrived {
    Client(Box<Client>),
    Input(Input),
}

impl Rim {
    pub fn new(endpoint: Endpoint, device_id: u64, pipeline: Arc<Pipeline>) -> Rim {
        let (inputs, arrived) = mpsc::unbounded_channel();
        Rim {
            endpoint,
            device_id,
            pipeline,
            election_id: 0,
            client: None,
            to_switch: None,
            tasks: JoinSet::new(),
            inputs,
            arrived,
        }
    }

    /// The next thing that happened. Cancel safe.
    pub async fn next(&mut self) -> Input {
        loop {
            // The sender lives as long as the rim does, so this never ends.
            match self.arrived.recv().await {
                Some(Arrived::Client(client)) => return self.connected(*client),
                Some(Arrived::Input(input)) => return input,
                None => std::future::pending().await,
            }
        }
    }

    /// Something that has happened already.
    pub fn try_next(&mut self) -> Option<Input> {
        match self.arrived.try_recv().ok()? {
            Arrived::Client(client) => Some(self.connected(*client)),
            Arrived::Input(input) => Some(input),
        }
    }

    /// The open channel, for reads that are no business of the session.
    pub fn client(&self) -> Option<Client> {
        self.client.clone()
    }

    /// Does what a session wants; events are not for here.
    pub fn execute(&mut self, output: Output) {
        while self.tasks.try_join_next().is_some() {}
        match output {
            Output::Connect => self.connect(),
            Output::Disconnect => self.disconnect(),
            Output::Send(message) => self.send(*message),
            Output::GetPipeline { all } => self.get_pipeline(all),
            Output::SetPipeline { reconcile } => self.set_pipeline(reconcile),
            Output::Write { id, ops, election_id } => self.write(id, ops, election_id),
            Output::Read { id, scopes } => self.read(id, &scopes),
            Output::Event(_) => {}
        }
    }

    fn disconnect(&mut self) {
        self.tasks = JoinSet::new();
        self.client = None;
        self.to_switch = None;
        (self.inputs, self.arrived) = mpsc::unbounded_channel();
    }

    fn connect(&mut self) {
        self.disconnect();
        let (endpoint, inputs) = (self.endpoint.clone(), self.inputs.clone());
        self.tasks.spawn(async move {
            let arrived = match endpoint.connect().await {
                Ok(channel) => {
                    let client = Client::new(channel)
                        .max_decoding_message_size(MESSAGE_LIMIT)
                        .max_encoding_message_size(MESSAGE_LIMIT);
                    Arrived::Client(Box::new(client))
                }
                Err(error) => {
                    // The outer error only says "transport error"; the innermost says what it was.
                    let mut inner: &dyn std::error::Error = &error;
                    while let Some(source) = inner.source() {
                        inner = source;
                    }
                    Arrived::Input(Input::ConnectFailed(Fault::new(Code::Unavailable, inner.to_string())))
                }
            };
            let _ = inputs.send(arrived);
        });
    }

    /// Opens the stream. Some servers answer its opening only after the first message, so nothing waits for that.
    fn connected(&mut self, mut client: Client) -> Input {
        self.client = Some(client.clone());
        let (to_switch, messages) = mpsc::unbounded_channel();
        self.to_switch = Some(to_switch);
        let inputs = self.inputs.clone();
        self.tasks.spawn(async move {
            let fault = match client.stream_channel(UnboundedReceiverStream::new(messages)).await {
                Err(status) => status.into(),
                Ok(response) => {
                    let mut stream = response.into_inner();
                    loop {
                        match stream.message().await {
                            Ok(Some(m)) => {
                                if inputs.send(Arrived::Input(Input::Stream(Box::new(m)))).is_err() {
                                    return;
                                }
                            }
                            Ok(None) => {
                                break Fault::new(Code::Unavailable, "the switch ended the stream");
                            }
                            Err(status) => break status.into(),
                        }
                    }
                }
            };
            let _ = inputs.send(Arrived::Input(Input::StreamEnded(fault)));
        });
        Input::Connected
    }

    fn send(&mut self, message: v1::StreamMessageRequest) {
        if let Some(v1::stream_message_request::Update::Arbitration(a)) = &message.update {
            let id = a.election_id.unwrap_or_default();
            self.election_id = (u128::from(id.high) << 64) | u128::from(id.low);
        }
        if let Some(to_switch) = &self.to_switch {
            // When the stream is over, its end is already on the way to the session.
            let _ = to_switch.send(message);
        }
    }

    /// Runs a call in a task, if there is a connection.
    fn call<F, R>(&mut self, call: F)
    where
        F: FnOnce(Client, mpsc::UnboundedSender<Arrived>) -> R,
        R: Future<Output = ()> + Send + 'static,
    {
        if let Some(client) = &self.client {
            self.tasks.spawn(call(client.clone(), self.inputs.clone()));
        }
    }

    fn get_pipeline(&mut self, all: bool) {
        let response_type = if all { ResponseType::All } else { ResponseType::CookieOnly } as i32;
        let request = v1::GetForwardingPipelineConfigRequest { device_id: self.device_id, response_type };
        let pipeline = self.pipeline.clone();
        self.call(|mut client, inputs| async move {
            let answer = client.get_forwarding_pipeline_config(request).await;
            let seen = answer.map_err(Fault::from).and_then(|a| judge(a.into_inner().config, &pipeline, all));
            let _ = inputs.send(Arrived::Input(Input::Pipeline(seen)));
        });
    }

    fn set_pipeline(&mut self, reconcile: bool) {
        let action = if reconcile { Action::ReconcileAndCommit } else { Action::VerifyAndCommit };
        let request = v1::SetForwardingPipelineConfigRequest {
            device_id: self.device_id,
            election_id: Some(uint128(self.election_id)),
            action: action as i32,
            config: Some(self.pipeline.config()),
            ..Default::default()
        };
        self.call(|mut client, inputs| async move {
            let answer = client.set_forwarding_pipeline_config(request).await;
            let result = answer.map(|_| ()).map_err(Fault::from);
            let _ = inputs.send(Arrived::Input(Input::PipelineSet(result)));
        });
    }

    fn write(&mut self, id: u64, ops: Vec<WriteOp>, election_id: u128) {
        let device_id = self.device_id;
        self.call(|mut client, inputs| async move {
            let request = v1::WriteRequest {
                device_id,
                election_id: Some(uint128(election_id)),
                updates: ops.iter().map(WriteOp::to_proto).collect(),
                ..Default::default()
            };
            let result = match client.write(request).await {
                Ok(_) => Ok(vec![Ok(()); ops.len()]),
                Err(status) => each_update(&status, ops.len()),
            };
            let _ = inputs.send(Arrived::Input(Input::Written { id, result }));
        });
    }

    fn read(&mut self, id: u64, scopes: &[ReadScope]) {
        let request = v1::ReadRequest {
            device_id: self.device_id,
            entities: scopes.iter().map(|s| s.to_proto()).collect(),
            ..Default::default()
        };
        self.call(|mut client, inputs| async move {
            let result = async {
                let mut stream = client.read(request).await?.into_inner();
                while let Some(part) = stream.message().await? {
                    let entities = part.entities.iter().map(Entity::from_proto).collect::<Result<Vec<_>, _>>();
                    let entities = entities.map_err(|e| tonic::Status::internal(format!("read back: {e}")))?;
                    let _ = inputs.send(Arrived::Input(Input::ReadPart { id, entities }));
                }
                Ok::<(), tonic::Status>(())
            };
            let result = result.await.map_err(Fault::from);
            let _ = inputs.send(Arrived::Input(Input::ReadDone { id, result }));
        });
    }
}

/// Whether a switch runs the pipeline. A switch may have dropped our cookie, or hold back its device configuration: then
/// the P4Info alone decides.
fn judge(config: Option<v1::ForwardingPipelineConfig>, ours: &Pipeline, all: bool) -> Result<PipelineSeen, Fault> {
    let Some(config) = config else {
        return Err(Fault::new(Code::FailedPrecondition, "no pipeline"));
    };
    if config.cookie.is_some_and(|c| c.cookie == ours.cookie) {
        return Ok(PipelineSeen::Ours);
    }
    if !all {
        return Ok(PipelineSeen::OtherCookie);
    }
    let same_program = config.p4_device_config.is_empty() || config.p4_device_config == ours.device_config;
    let same = config.p4info.as_ref() == Some(&ours.p4info) && same_program;
    Ok(if same { PipelineSeen::Ours } else { PipelineSeen::Different })
}

/// Splits the status of a failed batch (P4Runtime 1.4 §12.3): one error for each update, or one for all.
fn each_update(status: &tonic::Status, updates: usize) -> Result<Vec<Result<(), Fault>>, Fault> {
    let errors = p4runtime_proto::status::batch_errors(status);
    if errors.len() != updates {
        return Err(status.clone().into());
    }
    let each = errors.into_iter().map(|e| match Code::from(e.canonical_code) {
        Code::Ok => Ok(()),
        code => Err(Fault::new(code, e.message)),
    });
    Ok(each.collect())
}
