//! P4Runtime, P4Info, google.rpc.Status and gNMI messages and services, and BMv2's packets over gRPC.
//!
//! The modules follow the protobuf packages: [`p4::v1`], [`p4::config::v1`], [`p4::bm`], [`google::rpc`], [`gnmi`], [`gnmi_ext`]. Clients and
//! servers are tonic's (`p4::v1::p4_runtime_client::P4RuntimeClient`, `p4::v1::p4_runtime_server::P4RuntimeServer`). Fields of
//! type `bytes` are [`bytes::Bytes`] and share the memory of the message they were decoded from.
//!
//! - [`bytestring`]: canonical byte strings (P4Runtime 8.3).
//! - [`serialized`]: calls with messages as bytes.
//! - [`status`]: `google.rpc.Status` with one `p4.v1.Error` an update, in both directions.
//! - [`text`]: P4Info and pipeline configurations as protobuf text (`.txtpb`).
#![cfg_attr(test, allow(clippy::unwrap_used))]

pub mod bytestring;
pub mod serialized;
pub mod status;
pub mod text;

/// Packages `p4.v1`, `p4.config.v1` and `p4.bm`.
#[allow(missing_docs, clippy::all)]
pub mod p4 {
    /// The P4Runtime service and its messages.
    pub mod v1 {
        tonic::include_proto!("p4.v1");
    }
    /// Packets over gRPC.
    pub mod bm {
        tonic::include_proto!("p4.bm");
    }
    /// P4Info and the types in it.
    pub mod config {
        /// Package `p4.config.v1`.
        pub mod v1 {
            tonic::include_proto!("p4.config.v1");
        }
    }
}

/// Package `google.rpc`.
#[allow(missing_docs, clippy::all)]
pub mod google {
    /// `Status` and `Code`.
    pub mod rpc {
        tonic::include_proto!("google.rpc");
    }
}

/// Package `gnmi`.
#[allow(missing_docs, clippy::all)]
pub mod gnmi {
    tonic::include_proto!("gnmi");
}

/// Package `gnmi_ext`.
#[allow(missing_docs, clippy::all)]
pub mod gnmi_ext {
    tonic::include_proto!("gnmi_ext");
}

/// The serialized `google.protobuf.FileDescriptorSet` of every message and service in this crate.
pub const FILE_DESCRIPTOR_SET: &[u8] = include_bytes!(concat!(env!("OUT_DIR"), "/descriptors.bin"));

/// The version of P4Runtime that these messages describe.
pub const P4RUNTIME_API_VERSION: &str = "1.5.0";
/// The version of gNMI that these messages describe.
pub const GNMI_VERSION: &str = "0.8.0";
