//! One refused request, update or stream message: a canonical code and a sentence.

use p4runtime_proto::{p4::v1, status};
use tonic::{Code, Status};

/// Why something was refused.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{message}")]
pub struct Failure {
    /// The canonical code that P4Runtime names for the case.
    pub code: Code,
    /// The field, what was found, what is allowed.
    pub message: String,
}

/// The outcome of one step of a request.
pub type Outcome<T> = Result<T, Failure>;

macro_rules! constructors {
    ($($name:ident => $code:ident),* $(,)?) => {
        impl Failure {
            $(
                #[doc = concat!("A failure with code `", stringify!($code), "`.")]
                pub fn $name(message: impl Into<String>) -> Self {
                    Failure { code: Code::$code, message: message.into() }
                }
            )*
        }
    };
}

constructors! {
    invalid => InvalidArgument,
    not_found => NotFound,
    exists => AlreadyExists,
    exhausted => ResourceExhausted,
    denied => PermissionDenied,
    unimplemented => Unimplemented,
    out_of_range => OutOfRange,
    precondition => FailedPrecondition,
    aborted => Aborted,
    internal => Internal,
}

impl Failure {
    /// Puts the place before the message: `context: message`.
    #[must_use]
    pub fn within(mut self, context: impl std::fmt::Display) -> Self {
        self.message = format!("{context}: {}", self.message);
        self
    }

    /// The detail for one update of a batch.
    pub fn detail(&self) -> v1::Error {
        status::error(self.code, self.message.clone())
    }
}

impl From<Failure> for Status {
    fn from(failure: Failure) -> Self {
        Status::new(failure.code, failure.message)
    }
}
