//! What can go wrong with a lab, in words that say what to do.

use std::fmt::Display;
use std::io;

#[derive(Debug, thiserror::Error)]
pub enum LabError {
    /// The description is wrong.
    #[error("{field}: found {found}; allowed: {allowed}")]
    Spec { field: String, found: String, allowed: String },
    /// The site file is wrong: every problem with its line and column.
    #[error("{0}")]
    Blueprint(String),
    #[error("lab `{0}` is up already: `pergola lab down {0}` ends it")]
    Exists(String),
    #[error("no lab `{name}`; {known}")]
    NotFound { name: String, known: String },
    #[error("{kind} `{name}` is not in this lab; there are: {known}")]
    Unknown { kind: &'static str, name: String, known: String },
    #[error("`{name}` names {count} links; say which: {names}")]
    Ambiguous { name: String, count: usize, names: String },
    #[error("{0}")]
    Privilege(String),
    /// iproute2 refused a line.
    #[error("ip {line}: {message}")]
    Ip { line: String, message: String },
    #[error("program `{name}` was not found (looked at {looked})")]
    Program { name: String, looked: String },
    /// A process ended or did not become ready.
    #[error("{name}: {what}\n{log}")]
    Process { name: String, what: String, log: String },
    #[error("interrupted")]
    Interrupted,
    #[error("{what}: {source}")]
    Io { what: String, source: io::Error },
}

impl LabError {
    pub(crate) fn spec(field: impl Into<String>, found: impl Display, allowed: impl Into<String>) -> Self {
        Self::Spec { field: field.into(), found: found.to_string(), allowed: allowed.into() }
    }
}

/// Adds what was being done to an I/O error.
pub(crate) trait Doing<T> {
    fn doing(self, what: impl FnOnce() -> String) -> Result<T, LabError>;
}

impl<T> Doing<T> for io::Result<T> {
    fn doing(self, what: impl FnOnce() -> String) -> Result<T, LabError> {
        self.map_err(|source| LabError::Io { what: what(), source })
    }
}
