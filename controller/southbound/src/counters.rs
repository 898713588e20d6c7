//! Reading the direct counters of a table.

use p4runtime_proto::p4::v1;
use pergola_pipeline::EntityKey;
use pergola_pipeline::entity::proto::table_key;
use tonic::transport::Channel;
use v1::entity::Entity as Proto;
use v1::p4_runtime_client::P4RuntimeClient;

use crate::Fault;

/// What the entries of a table counted.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DirectCount {
    pub key: EntityKey,
    pub packets: u64,
    pub bytes: u64,
}

/// Reads the direct counters of all entries of a table; 0 is all tables.
pub async fn direct_counters(
    mut client: P4RuntimeClient<Channel>,
    device_id: u64,
    table_id: u32,
) -> Result<Vec<DirectCount>, Fault> {
    let entry = v1::TableEntry { table_id, counter_data: Some(v1::CounterData::default()), ..Default::default() };
    let request = v1::ReadRequest {
        device_id,
        entities: vec![v1::Entity { entity: Some(Proto::TableEntry(entry)) }],
        ..Default::default()
    };
    let mut stream = client.read(request).await?.into_inner();
    let mut counts = Vec::new();
    while let Some(part) = stream.message().await? {
        for entity in part.entities {
            let Some(Proto::TableEntry(e)) = entity.entity else { continue };
            let (Ok(key), Some(data)) = (table_key(&e), e.counter_data) else { continue };
            counts.push(DirectCount { key, packets: data.packet_count as u64, bytes: data.byte_count as u64 });
        }
    }
    Ok(counts)
}
