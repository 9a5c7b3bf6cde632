//! Failures as Tcl errors: a message in Tcl's style and `errorCode` `AEROSTORE KIND ?detail ...?`.
#![forbid(unsafe_code)]

use std::ffi::CStr;

use aerostore_core::db;
use aerostore_core::query::QueryError;
use aerostore_core::row::RowError;
use aerostore_core::txn::TxnError;

use crate::ffi::{Completion, Interp, Obj, Raised};

/// Why a command failed.
#[derive(Debug)]
pub(crate) enum Error {
    /// The interpreter's result and error state say it already: a script or a variable trace failed.
    Raised,
    /// Tcl's own message, which is in the interpreter's result, is to get a code of this kind.
    Tcl(&'static str),
    /// An error of ours.
    Failed {
        /// The second word of `errorCode`.
        kind: &'static str,
        /// The message.
        message: String,
        /// The words of `errorCode` after the kind.
        detail: Vec<String>,
    },
}

impl Error {
    /// An error of `kind`.
    pub(crate) fn new(kind: &'static str, message: impl Into<String>) -> Self {
        Self::Failed { kind, message: message.into(), detail: Vec::new() }
    }

    /// A command or query of the wrong form.
    pub(crate) fn syntax(message: impl Into<String>) -> Self {
        Self::new("SYNTAX", message)
    }

    /// A value that does not suit its column or option.
    pub(crate) fn value(message: impl Into<String>) -> Self {
        Self::new("TYPE", message)
    }

    /// `wrong # args: should be "..."`: the first `keep` words of the command, then `usage`.
    pub(crate) fn usage(interp: &Interp, words: &[Obj], keep: usize, usage: &CStr) -> Self {
        Self::syntax(interp.wrong_arguments(words, keep, usage)).with("WRONGARGS")
    }

    /// The same error, its message saying what it is about.
    pub(crate) fn about(mut self, what: &str) -> Self {
        if let Self::Failed { message, .. } = &mut self {
            *message = format!("{what}: {message}");
        }
        self
    }

    /// The same error in other words.
    pub(crate) fn saying(mut self, words: String) -> Self {
        if let Self::Failed { message, .. } = &mut self {
            *message = words;
        }
        self
    }

    /// Adds a word to `errorCode`.
    pub(crate) fn with(mut self, word: impl Into<String>) -> Self {
        if let Self::Failed { detail, .. } = &mut self {
            detail.push(word.into());
        }
        self
    }
}

impl From<Raised> for Error {
    fn from(_: Raised) -> Self {
        Self::Raised
    }
}

impl From<RowError> for Error {
    fn from(error: RowError) -> Self {
        let kind = match &error {
            RowError::UnknownColumn { .. } => "SYNTAX",
            error if error.is_corruption() => "CORRUPT",
            _ => "TYPE",
        };
        let place = error.column().map(str::to_owned);
        let failed = Self::new(kind, error.to_string());
        place.into_iter().fold(failed, Self::with)
    }
}

impl From<QueryError> for Error {
    fn from(error: QueryError) -> Self {
        let kind = if error.is_type() { "TYPE" } else { "SYNTAX" };
        Self::new(kind, error.to_string()).with(error.term())
    }
}

impl From<db::Error> for Error {
    fn from(error: db::Error) -> Self {
        match error {
            db::Error::Query(error) => error.into(),
            db::Error::Txn(TxnError::Row(error)) => error.into(),
            db::Error::Txn(TxnError::UniqueViolation { ref column, ref value, .. }) => {
                Self::new(error.kind().as_str(), error.to_string()).with(column).with(value)
            }
            db::Error::Txn(
                TxnError::TableExists { ref table, .. }
                | TxnError::NoTable { ref table }
                | TxnError::TableBusy { ref table }
                | TxnError::NoNumber { ref table, .. },
            ) => Self::new(error.kind().as_str(), error.to_string()).with(table),
            error if is_lock_timeout(&error) => {
                Self::new(error.kind().as_str(), error.to_string()).with("LOCK")
            }
            error => Self::new(error.kind().as_str(), error.to_string()),
        }
    }
}

/// Whether another transaction has had a row for too long.
fn is_lock_timeout(error: &db::Error) -> bool {
    match error {
        db::Error::Txn(TxnError::LockTimeout { .. }) => true,
        db::Error::RetriesExhausted { last, .. } => is_lock_timeout(last),
        _ => false,
    }
}

/// What a command's body gives.
pub(crate) type Outcome = Result<Completion, Error>;

/// Leaves `value` as the command's result.
#[expect(clippy::unnecessary_wraps, reason = "it is what a body ends with")]
pub(crate) fn reply(interp: &Interp, value: &Obj) -> Outcome {
    interp.set_result(value);
    Ok(Completion::OK)
}

/// Leaves an error, if there is one, in the interpreter.
pub(crate) fn finish(interp: &Interp, outcome: Outcome) -> Completion {
    let (kind, detail) = match outcome {
        Ok(completion) => return completion,
        Err(Error::Raised) => return Completion::ERROR,
        Err(Error::Tcl(kind)) => (kind, Vec::new()),
        Err(Error::Failed { kind, message, detail }) => {
            interp.set_result(&Obj::string(&message));
            (kind, detail)
        }
    };
    let words = ["AEROSTORE", kind].into_iter().chain(detail.iter().map(String::as_str));
    interp.set_error_code(&Obj::list(&words.map(Obj::from).collect::<Vec<_>>()));
    Completion::ERROR
}
