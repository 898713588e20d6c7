//! What a switch remembers between packets, besides tables.

pub mod counter;
pub mod digest;
pub mod meter;
pub mod ports;
pub mod pre;
pub mod register;
pub mod valueset;
