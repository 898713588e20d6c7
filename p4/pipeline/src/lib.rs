//! Typed keys and actions of the fabric pipeline, one file a P4 table.
//!
//! [`entity`] is the compact form of anything a switch holds; the typed tables build it and the reconciler
//! compares it. [`fabric`] has the compiled program.
#![cfg_attr(test, allow(clippy::unwrap_used))]

pub mod entity;
pub mod fabric;
pub mod reserved;
pub mod table;
pub mod tables;

pub use entity::{
    Action, DirectExtras, Entity, EntityKey, EntityValue, Kind, Match, MeterConfig, OneShotMember, P4Value, Replica,
    TableEntryBuilder,
};
