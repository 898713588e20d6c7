//! etcd's errors in our words.

use etcd_client::Error as Etcd;
use tonic::{Code, Status};

use crate::{Error, LeaseId};

/// What was under way when etcd gave an error.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Call {
    Read,
    /// A write that may have reached the cluster although the answer did not come back.
    Write,
}

/// A failed call: the error, and whether the request surely did not reach a server.
pub(super) struct Fault {
    pub(super) error: Error,
    pub(super) unsent: bool,
}

/// Translates an error of a call.
pub(super) fn translate(error: Etcd, call: Call) -> Fault {
    let sent = |error| Fault { error, unsent: false };
    match error {
        Etcd::GRpcStatus(status) => status_fault(&status, call),
        Etcd::TransportError(e) => Fault { error: Error::unavailable(chain(&e)), unsent: true },
        Etcd::IoError(e) => sent(lost(&e.to_string(), call)),
        Etcd::InvalidArgs(e) => sent(Error::invalid(e)),
        Etcd::InvalidUri(e) => sent(Error::invalid(format!("etcd endpoint: {e}"))),
        Etcd::LeaseKeepAliveError(reason) if reason.contains("lease not found") => {
            sent(Error::LeaseNotFound { lease: LeaseId(0) })
        }
        other => sent(lost(&other.to_string(), call)),
    }
}

fn status_fault(status: &Status, call: Call) -> Fault {
    let text = status.message();
    let says = |part: &str| text.contains(part);
    // The last two are refused before anything is proposed.
    let unsent = refused_connection(status) || says("no leader") || says("too many requests");
    let reason = || {
        let cause = std::error::Error::source(status).map(|e| format!(": {}", chain(e)));
        format!("etcd: {text}{}", cause.unwrap_or_default())
    };
    let error = match status.code() {
        _ if unsent => Error::unavailable(reason()),
        _ if says("lease not found") => Error::LeaseNotFound { lease: LeaseId(0) },
        _ if says("database space exceeded") => Error::Full { reason: reason() },
        _ if says("too many operations") || says("request is too large") => Error::TooLarge {
            what: "a request, by the limits of the etcd server (its --max-txn-ops and \
                   --max-request-bytes are lower than configured here)",
            limit: 0,
            found: 0,
        },
        Code::PermissionDenied | Code::Unauthenticated => Error::Unauthorized { reason: reason() },
        _ if says("authentication failed")
            || says("user name is empty")
            || says("invalid auth token")
            || says("authentication is not enabled") =>
        {
            Error::Unauthorized { reason: reason() }
        }
        Code::InvalidArgument | Code::FailedPrecondition => Error::invalid(reason()),
        Code::DataLoss => Error::corrupt(reason()),
        _ => lost(&reason(), call),
    };
    Fault { error, unsent }
}

/// The answer was lost.
pub(super) fn lost(reason: &str, call: Call) -> Error {
    match call {
        Call::Read => Error::unavailable(reason),
        Call::Write => Error::Indeterminate { reason: reason.to_owned() },
    }
}

/// Whether the status says that no connection was made.
fn refused_connection(status: &Status) -> bool {
    let mut cause = std::error::Error::source(status);
    while let Some(error) = cause {
        if error.is::<tonic::ConnectError>() {
            return true;
        }
        cause = error.source();
    }
    false
}

/// An error with its causes, as one line.
fn chain(error: &(dyn std::error::Error + 'static)) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        let next = error.to_string();
        if !text.contains(&next) {
            text = format!("{text}: {next}");
        }
        cause = error.source();
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    fn error(code: Code, text: &str, call: Call) -> Error {
        status_fault(&Status::new(code, text), call).error
    }

    #[test]
    fn etcd_words_become_ours() {
        let lease = LeaseId(0);
        let not_found = "etcdserver: requested lease not found";
        assert_eq!(error(Code::NotFound, not_found, Call::Write), Error::LeaseNotFound { lease });
        let full = error(Code::ResourceExhausted, "etcdserver: mvcc: database space exceeded", Call::Write);
        assert!(matches!(full, Error::Full { .. }));
        for (code, text) in [
            (Code::PermissionDenied, "etcdserver: permission denied"),
            (Code::Unauthenticated, "etcdserver: invalid auth token"),
            (Code::InvalidArgument, "etcdserver: authentication failed, invalid user ID or password"),
            (Code::InvalidArgument, "etcdserver: user name is empty"),
        ] {
            assert!(matches!(error(code, text, Call::Read), Error::Unauthorized { .. }), "{text}");
        }
    }

    #[test]
    fn only_a_lost_write_is_indeterminate() {
        let timeout = "etcdserver: request timed out";
        let lost = error(Code::Unavailable, timeout, Call::Write);
        assert!(matches!(lost, Error::Indeterminate { .. }));
        let read = error(Code::Unavailable, timeout, Call::Read);
        assert!(matches!(read, Error::Unavailable { .. }));
        let refused = error(Code::Unavailable, "etcdserver: no leader", Call::Write);
        assert!(matches!(refused, Error::Unavailable { .. }));
    }
}
