//! `google.rpc.Status` with P4Runtime's error details (P4Runtime 10 and 12.3).
//!
//! A failed batch travels as gRPC status `UNKNOWN`; its `grpc-status-details-bin` holds a `google.rpc.Status` whose details are
//! one `p4.v1.Error` for each update, in the order of the updates, with code `OK` for those that were applied.

use bytes::Bytes;
use prost::Message;
use prost_types::Any;
use tonic::Code;

use crate::{google::rpc, p4::v1};

/// The error space of codes that are the canonical ones.
const SPACE: &str = "ALL-sswitch-p4org";
/// Prefix of type URLs in `Any`.
const TYPE_URL: &str = "type.googleapis.com/";

/// Packs a message into `Any`.
pub fn to_any<M: Message + prost::Name>(message: &M) -> Any {
    Any { type_url: format!("{TYPE_URL}{}", M::full_name()), value: message.encode_to_vec() }
}

/// Unpacks `Any` when it holds an `M`.
pub fn from_any<M: Message + prost::Name + Default>(any: &Any) -> Option<M> {
    if any.type_url.rsplit('/').next() != Some(M::full_name().as_str()) {
        return None;
    }
    M::decode(any.value.as_slice()).ok()
}

/// Outcome of one update.
pub fn error(code: Code, message: impl Into<String>) -> v1::Error {
    let space = if code == Code::Ok { String::new() } else { SPACE.to_owned() };
    v1::Error { canonical_code: code as i32, message: message.into(), space, code: code as i32, details: None }
}

/// The outcome of an update that was applied.
pub fn applied() -> v1::Error {
    v1::Error { canonical_code: Code::Ok as i32, ..Default::default() }
}

/// A `google.rpc.Status` that carries `errors` as its details.
pub fn rpc_status(code: Code, message: impl Into<String>, errors: &[v1::Error]) -> rpc::Status {
    rpc::Status { code: code as i32, message: message.into(), details: errors.iter().map(to_any).collect() }
}

/// The gRPC status of a batch in which at least one update failed. Many clients show no more than its message, so the first
/// failure stands there too; updates that were aborted because another failed say nothing.
pub fn batch_status(message: impl Into<String>, errors: &[v1::Error]) -> tonic::Status {
    let mut message = message.into();
    let telling = |error: &v1::Error| ![Code::Ok as i32, Code::Aborted as i32].contains(&error.canonical_code);
    if let Some((at, first)) = errors.iter().enumerate().find(|(_, error)| telling(error)) {
        message = format!("{message}: at index {at}: {}", first.message);
    }
    let status = rpc_status(Code::Unknown, message, errors);
    let details = Bytes::from(status.encode_to_vec());
    tonic::Status::with_details(Code::Unknown, status.message, details)
}

/// The outcomes of the updates of a failed batch, in order; empty when the status carries none.
pub fn batch_errors(status: &tonic::Status) -> Vec<v1::Error> {
    match rpc::Status::decode(status.details()) {
        Ok(status) => status.details.iter().filter_map(from_any).collect(),
        Err(_) => Vec::new(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn details_survive_the_trip() {
        let errors = [applied(), error(Code::NotFound, "no entry with this key")];
        let status = batch_status("1 of 2 updates failed", &errors);
        assert_eq!(status.code(), Code::Unknown);
        assert_eq!(status.message(), "1 of 2 updates failed: at index 1: no entry with this key");
        assert_eq!(batch_errors(&status), errors);
        assert_eq!(batch_errors(&status)[1].canonical_code, 5);
    }

    #[test]
    fn any_of_another_type_is_refused() {
        let any = to_any(&v1::Uint128 { high: 1, low: 2 });
        assert_eq!(any.type_url, "type.googleapis.com/p4.v1.Uint128");
        assert!(from_any::<v1::Error>(&any).is_none());
        assert_eq!(from_any::<v1::Uint128>(&any), Some(v1::Uint128 { high: 1, low: 2 }));
        assert!(batch_errors(&tonic::Status::internal("none")).is_empty());
    }
}
