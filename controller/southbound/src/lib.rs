//! Sessions to switches over P4Runtime and gNMI.
//!
//! A [`Session`] is a machine without sockets and clocks: connect with back-off, arbitration, the pipeline, deadlines of
//! every call. A [`Rim`] carries its outputs out with tonic and brings back the inputs. [`gnmi`] follows port states.
//!
//! ```text
//!   reconciler ── write, read, packet_out ──► Session ── Output ──► Rim ── gRPC ──► switch
//!        ▲                                      │  ▲                 │
//!        └────────────── Event ─────────────────┘  └───── Input ─────┘
//! ```
#![cfg_attr(test, allow(clippy::unwrap_used))]

mod backoff;
mod counters;
pub mod gnmi;
mod ops;
mod pipeline;
mod rim;
mod session;
mod transport;

pub use backoff::Backoff;
pub use counters::{DirectCount, direct_counters};
pub use ops::{Fault, ReadScope, Verb, WriteOp};
pub use pipeline::{Pipeline, PipelineError};
pub use rim::Rim;
pub use session::{Event, Input, Nanos, Output, PipelineSeen, Session, SessionConfig};
pub use transport::{Transport, TransportError};
