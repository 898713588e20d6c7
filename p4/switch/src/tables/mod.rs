//! Match tables: structures that packets read without waiting while the control plane writes.

pub mod entry;
mod index;
pub mod key;
mod lpm;
pub(crate) mod memory;
pub mod profile;
mod stem;
pub(crate) mod table;
mod ternary;
#[cfg(test)]
mod tests;

pub use entry::{ActionData, Bound, Entry};
pub use table::{Table, TableError};
