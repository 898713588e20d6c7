//! The program a switch shall run, and what the controller needs to know of it.

use p4runtime_proto::p4::config::v1::P4Info;
use p4runtime_proto::p4::v1;
use prost::Message;
use prost::bytes::Bytes;

use crate::ReadScope;

/// Why something is no pipeline.
#[derive(Debug, thiserror::Error)]
pub enum PipelineError {
    #[error("P4Info: {0}")]
    Text(#[from] p4runtime_proto::text::TextError),
    #[error("P4Info has no {what}, which the controller needs to send and receive packets")]
    NoPacketField { what: &'static str },
}

/// A P4Info with its device configuration.
#[derive(Debug)]
pub struct Pipeline {
    pub p4info: P4Info,
    pub device_config: Bytes,
    /// Names exactly this pair of P4Info and device configuration.
    pub cookie: u64,
    ingress_port: Option<u32>,
    punt_id: Option<u32>,
    egress_port: Option<u32>,
}

impl Pipeline {
    pub fn new(p4info: P4Info, device_config: impl Into<Bytes>) -> Pipeline {
        let device_config = device_config.into();
        let mut hash = 0xcbf2_9ce4_8422_2325u64;
        for b in p4info.encode_to_vec().iter().chain(device_config.iter()) {
            hash = (hash ^ u64::from(*b)).wrapping_mul(0x0100_0000_01b3);
        }
        let ingress_port = header_field(&p4info, "packet_in", "ingress_port");
        let punt_id = header_field(&p4info, "packet_in", "punt_id");
        let egress_port = header_field(&p4info, "packet_out", "egress_port");
        // 0 is what a switch without a cookie answers.
        Pipeline { p4info, device_config, cookie: hash.max(1), ingress_port, punt_id, egress_port }
    }

    /// From the text form of the P4Info, as p4c writes it.
    pub fn from_text(p4info: &str, device_config: impl Into<Bytes>) -> Result<Pipeline, PipelineError> {
        Ok(Pipeline::new(p4runtime_proto::text::parse(p4info)?, device_config))
    }

    /// Everything that is read back and compared: tables, groups, sessions and profiles. Tables with constant entries
    /// are left out, nobody can write them.
    pub fn scopes(&self) -> Vec<ReadScope> {
        let info = &self.p4info;
        let id = |p: &Option<p4runtime_proto::p4::config::v1::Preamble>| p.as_ref().map_or(0, |p| p.id);
        let mut scopes = vec![ReadScope::MulticastGroups, ReadScope::CloneSessions];
        for profile in &info.action_profiles {
            scopes.push(ReadScope::Members(id(&profile.preamble)));
            scopes.push(ReadScope::Groups(id(&profile.preamble)));
        }
        let tables = info.tables.iter().filter(|t| !t.is_const_table);
        scopes.extend(tables.map(|t| ReadScope::Table { id: id(&t.preamble), meters: false }));
        scopes
    }

    /// The position of a table in the program, from its end: entries of later tables are written before those of earlier
    /// ones, which lead packets to them.
    pub fn tables_from_the_end(&self) -> impl Iterator<Item = u32> {
        self.p4info.tables.iter().rev().filter_map(|t| t.preamble.as_ref().map(|p| p.id))
    }

    /// Takes a packet-in apart: the port it came in on.
    pub fn ingress_port(&self, packet: &v1::PacketIn) -> Option<u32> {
        metadata(packet, self.ingress_port)
    }

    /// Which rule sent a packet-in: a number of [`pergola_pipeline::reserved`].
    pub fn punt_id(&self, packet: &v1::PacketIn) -> Option<u32> {
        metadata(packet, self.punt_id)
    }

    /// A packet to leave on `port`.
    pub fn packet_out(&self, port: u32, payload: Bytes) -> Result<v1::PacketOut, PipelineError> {
        let Some(id) = self.egress_port else {
            return Err(PipelineError::NoPacketField { what: "packet_out header with an egress_port" });
        };
        let value = Bytes::copy_from_slice(pergola_pipeline::P4Value::from(port).as_slice());
        let egress = v1::PacketMetadata { metadata_id: id, value };
        // A server may ask for every field of the header (P4Runtime 1.4 §16.1): the others are zero.
        let others = self.p4info.controller_packet_metadata.iter().filter(|h| is_named(h, "packet_out"));
        let zero = others
            .flat_map(|h| &h.metadata)
            .filter(|m| m.id != id)
            .map(|m| v1::PacketMetadata { metadata_id: m.id, value: Bytes::from_static(&[0]) });
        Ok(v1::PacketOut { payload, metadata: std::iter::once(egress).chain(zero).collect() })
    }

    pub(crate) fn config(&self) -> v1::ForwardingPipelineConfig {
        v1::ForwardingPipelineConfig {
            p4info: Some(self.p4info.clone()),
            p4_device_config: self.device_config.clone(),
            cookie: Some(v1::forwarding_pipeline_config::Cookie { cookie: self.cookie }),
        }
    }
}

fn is_named(header: &p4runtime_proto::p4::config::v1::ControllerPacketMetadata, name: &str) -> bool {
    header.preamble.as_ref().is_some_and(|p| p.name == name)
}

fn metadata(packet: &v1::PacketIn, id: Option<u32>) -> Option<u32> {
    let field = packet.metadata.iter().find(|m| Some(m.metadata_id) == id)?;
    field.value.iter().try_fold(0u32, |n, b| n.checked_mul(256)?.checked_add(u32::from(*b)))
}

fn header_field(info: &P4Info, header: &str, field: &str) -> Option<u32> {
    let header = info.controller_packet_metadata.iter().find(|h| is_named(h, header))?;
    header.metadata.iter().find(|m| m.name == field).map(|m| m.id)
}
