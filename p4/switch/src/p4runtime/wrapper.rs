//! The message `p4.tmp.P4DeviceConfig` in which controllers written for BMv2 used to wrap the program, and many still do
//! (the helpers of the P4 tutorials among them). BMv2 takes a program with and without it.

use super::failure::{Failure, Outcome};
use bytes::Bytes;
use prost::Message;

/// What of the message matters here; `reassign` and `extras` were for BMv2 without a gRPC server of its own.
#[derive(Clone, PartialEq, Message)]
struct P4DeviceConfig {
    #[prost(bytes = "bytes", tag = "3")]
    device_data: Bytes,
}

/// The program in a device configuration: the configuration itself, or what is wrapped in it.
///
/// # Errors
/// `INVALID_ARGUMENT` when there is none.
pub fn program(device_config: &Bytes) -> Outcome<Bytes> {
    let nothing = |what: &str| Err(Failure::invalid(format!("config.p4_device_config{what} is empty")));
    match device_config.iter().find(|byte| !byte.is_ascii_whitespace()) {
        None => return nothing(""),
        Some(b'{') => return Ok(device_config.clone()),
        Some(_) => {}
    }
    match P4DeviceConfig::decode(device_config.clone()) {
        Ok(wrapped) if wrapped.device_data.is_empty() => nothing(".device_data"),
        Ok(wrapped) => Ok(wrapped.device_data),
        // Neither: whoever reads the program says where it fails.
        Err(_) => Ok(device_config.clone()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn found(device_config: &'static [u8]) -> Result<Bytes, String> {
        program(&Bytes::from_static(device_config)).map_err(|failure| failure.message)
    }

    #[test]
    fn programs_come_bare_or_wrapped() {
        assert_eq!(found(b"\n {}").unwrap(), b"\n {}"[..]);
        // reassign, extras with one pair, device_data.
        assert_eq!(found(b"\x08\x01\x12\x08\x0a\x06\x0a\x01a\x12\x01b\x1a\x02{}").unwrap(), b"{}"[..]);
        assert_eq!(found(b"\x1a\x02{}").unwrap(), b"{}"[..]);
        assert_eq!(found(b"what").unwrap(), b"what"[..]);
        assert_eq!(found(b"\x08\x01").unwrap_err(), "config.p4_device_config.device_data is empty");
        assert_eq!(found(b" \n").unwrap_err(), "config.p4_device_config is empty");
    }
}
