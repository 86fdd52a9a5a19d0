//! Why a command failed: one readable line, a hint where there is one, and an exit code.

use std::error::Error as _;
use std::io;
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use tonic::{Code, Status};
use tonic_types::StatusExt;

use super::output::{clean, quoted};
use super::refusal::Refusal;
use super::session::{Address, ConnectionFault, TlsError};
use super::token::RecoverError;
use crate::access::TokenFormatError;
use crate::grpc::proto::{port_admin_service_server, port_registry_service_server};
use crate::iana::IanaError;
use crate::server::ServeError;
use crate::store::StoreError;
use crate::store::error_chain;
use crate::store::sqlite::{BackupError, CopyError, OpenError, RestoreError};

/// Why a command failed.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The command line asks for something that can't be.
    #[error("{0}")]
    Usage(String),
    /// The token can't be sent.
    #[error("--token can't be used")]
    Token(#[from] TokenFormatError),
    /// Nobody answers.
    #[error(
        "no Portbook server answers at {0}; start one with 'portbook serve', or add --offline to a read"
    )]
    Unreachable(Address),
    /// The server takes too long.
    #[error("the server at {0} has not answered within {seconds} seconds", seconds = .1.as_secs())]
    Timeout(Address, Duration),
    /// The connection fails, and it is known why.
    #[error("no connection to {addr}")]
    Connection {
        /// Where to.
        addr: Address,
        /// Why.
        source: ConnectionFault,
    },
    /// The files for an encrypted connection can't be used.
    #[error(transparent)]
    Tls(#[from] TlsError),
    /// The server is there, and does not serve.
    #[error("the server at {0} is not serving")]
    NotServing(Address),
    /// The server is there, and never has such a service.
    #[error("the server has no service {0:?}")]
    UnknownService(String),
    /// A token can't be recovered.
    #[error(transparent)]
    Recover(#[from] RecoverError),
    /// The server says no.
    #[error("{}", .0.message)]
    Refused(Refusal),
    /// There is nothing to change.
    #[error("nothing is registered on {target} in the namespace {namespace:?}")]
    NotRegistered {
        /// What was asked for.
        target: String,
        /// Where.
        namespace: String,
    },
    /// Of several calls one failed, and those after it were not made.
    #[error("{at} failed, and {} not tried after it", were(.rest))]
    Stopped {
        /// Which failed.
        at: String,
        /// What was left.
        rest: Vec<String>,
        /// Why it failed.
        source: Box<Error>,
    },
    /// Of several registrations that were sent together one was refused.
    #[error("line {line}")]
    AtLine {
        /// Where it stands in the file.
        line: usize,
        /// Why it was refused.
        source: Box<Error>,
    },
    /// The call failed without anybody refusing it.
    #[error("the call failed: {0}")]
    Call(String),
    /// The answer can't be understood.
    #[error("the answer is not understood")]
    Decode(#[from] prost::DecodeError),
    /// The server answered less than it was asked.
    #[error("the server answered less than it was asked")]
    IncompleteResponse,
    /// The embedded registry can't be opened.
    #[error("the embedded registry can't be opened")]
    Embedded(#[source] OpenError),
    /// A database or a backup can't be opened.
    #[error(transparent)]
    Open(#[from] OpenError),
    /// There is no backup.
    #[error(transparent)]
    Backup(#[from] BackupError),
    /// Nothing was restored.
    #[error(transparent)]
    Restore(#[from] RestoreError),
    /// Somebody has ended the command.
    #[error("told to stop: nothing was changed")]
    Interrupted,
    /// The embedded registry can't be read.
    #[error("the embedded registry can't be read")]
    Load(#[from] StoreError),
    /// The input can't be read.
    #[error("stdin can't be read")]
    Input(#[source] io::Error),
    /// Ctrl-C can't be waited for.
    #[error("the signals of the system can't be waited for")]
    Signal(#[source] io::Error),
    /// The output can't be written.
    #[error("the output can't be written")]
    Output(#[source] io::Error),
    /// The output can't be put into the form asked for.
    #[error("the output can't be written as asked")]
    Format(#[source] Box<dyn std::error::Error + Send + Sync>),
    /// A file can't be read.
    #[error("{path} can't be read")]
    Read {
        /// Which.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// The input is not IANA's file.
    #[error("the file is not IANA's registry")]
    Iana(#[from] IanaError),
    /// The server could not start, or ended by itself.
    #[error(transparent)]
    Serve(#[from] ServeError),
}

fn were(rest: &[String]) -> String {
    let verb = if rest.len() == 1 { "was" } else { "were" };
    format!("{} {verb}", rest.join(", "))
}

impl Error {
    /// What a status means that came from this address.
    pub(super) fn from_status(status: &Status, addr: &Address) -> Self {
        let info = status.get_details_error_info().filter(|info| info.domain == "portbook");
        let is_silence = status.code() == Code::Unavailable && info.is_none();
        // A status with a cause was made here, of a connection that failed.
        if let Some(fault) = status.source() {
            return match ConnectionFault::behind(fault) {
                Some(source) => Self::Connection { addr: addr.clone(), source },
                None => Self::Unreachable(addr.clone()),
            };
        }
        if is_silence {
            return Self::Unreachable(addr.clone());
        }
        let retry = status.get_details_retry_info().and_then(|info| info.retry_delay);
        let (reason, metadata) = info.map(|info| (info.reason, info.metadata)).unwrap_or_default();
        match status.code() {
            // A deadline of somebody between here and the server has no reason.
            Code::DeadlineExceeded if reason.is_empty() => {
                Self::Call("the deadline has passed".into())
            }
            Code::DeadlineExceeded
            | Code::InvalidArgument
            | Code::NotFound
            | Code::AlreadyExists
            | Code::PermissionDenied
            | Code::FailedPrecondition
            | Code::Aborted
            | Code::OutOfRange
            | Code::ResourceExhausted
            | Code::Unauthenticated
            | Code::Unavailable => {
                Self::Refused(Refusal { message: clean(status.message()), reason, metadata, retry })
            }
            code => {
                let message =
                    if status.message().is_empty() { code.description() } else { status.message() };
                Self::Call(clean(message))
            }
        }
    }

    /// Whether it says that no service has that name.
    pub(super) fn is_unknown_service(&self) -> bool {
        matches!(self, Self::Refused(refusal) if refusal.reason == "SERVICE_NOT_FOUND")
    }

    /// Which of a batch was refused, from 0.
    pub(super) fn index(&self) -> Option<usize> {
        match self {
            Self::Refused(refusal) => refusal.value("index").parse().ok(),
            _ => None,
        }
    }

    /// Whether the same call may be answered when it is made again.
    pub(super) fn is_retryable(&self) -> bool {
        match self {
            Self::Unreachable(_) | Self::Timeout(..) | Self::IncompleteResponse => true,
            // A server that is only starting or stopping looks like this too.
            Self::Connection { source, .. } => {
                matches!(source, ConnectionFault::Ended | ConnectionFault::Mute)
            }
            Self::Refused(refusal) => matches!(
                refusal.reason.as_str(),
                "SHUTTING_DOWN"
                    | "OVERLOADED"
                    | "RATE_LIMITED"
                    | "DEADLINE_PASSED"
                    | "STORE_UNAVAILABLE"
                    | "HISTORY_UNAVAILABLE"
            ),
            _ => false,
        }
    }

    /// The refusal of one of a batch without its place in the batch, which its sender knows better.
    pub(super) fn without_index(mut self) -> Self {
        if let (Some(index), Self::Refused(refusal)) = (self.index(), &mut self) {
            let place = format!("requests[{index}]: ");
            if let Some(message) = refusal.message.strip_prefix(&place) {
                refusal.message = message.to_owned();
            }
        }
        self
    }

    /// Whether nobody reads the output any more.
    pub(super) fn is_broken_pipe(&self) -> bool {
        matches!(self, Self::Output(fault) if fault.kind() == io::ErrorKind::BrokenPipe)
    }

    /// Everything there is to say: the chain of errors in one line, and a hint in a second one.
    #[must_use]
    pub fn report(&self) -> String {
        let line = clean(&error_chain(self));
        self.hint().map_or_else(|| line.clone(), |hint| format!("{line}\n{hint}"))
    }

    fn hint(&self) -> Option<String> {
        match self {
            Self::Refused(refusal) => refusal.hint(),
            Self::Stopped { source, .. } | Self::AtLine { source, .. } => source.hint(),
            Self::UnknownService(_) => Some(format!(
                "those it has: {}, {}; without a name the whole server is asked about",
                port_registry_service_server::SERVICE_NAME,
                port_admin_service_server::SERVICE_NAME
            )),
            Self::Restore(RestoreError::Invalid { backup, .. }) => {
                Some(format!("see what is wrong: portbook verify {}", quoted(backup)))
            }
            _ => self.damaged().map(|database| {
                let database = quoted(database);
                format!(
                    "see what is wrong: portbook verify {database}; to put a backup in its place: \
                     portbook restore BACKUP --database {database} --force"
                )
            }),
        }
    }

    /// The database that it says is damaged, or no database.
    fn damaged(&self) -> Option<&PathBuf> {
        let open = match self {
            Self::Serve(ServeError::Load { database, .. })
            | Self::Backup(BackupError::Copy(CopyError::Invalid { from: database, .. })) => {
                return Some(database);
            }
            Self::Backup(BackupError::Copy(CopyError::Open(open)))
            | Self::Restore(RestoreError::Copy(CopyError::Open(open))) => open,
            Self::Open(open)
            | Self::Serve(ServeError::Open(open))
            | Self::Restore(RestoreError::Open(open)) => open,
            _ => return None,
        };
        match open {
            OpenError::Damaged(database) | OpenError::NotSqlite(database) => Some(database),
            _ => None,
        }
    }

    /// Whether it is for want of --force.
    fn requires_force(&self) -> bool {
        matches!(
            self,
            Self::Backup(BackupError::Copy(CopyError::Exists(_)))
                | Self::Restore(RestoreError::Exists(_) | RestoreError::Copy(CopyError::Exists(_)))
        )
    }

    /// The exit code, as `portbook --help` documents it.
    #[must_use]
    pub fn exit_code(&self) -> ExitCode {
        ExitCode::from(self.code())
    }

    fn code(&self) -> u8 {
        match self {
            Self::Usage(_) | Self::Token(_) | Self::Tls(_) => 2,
            Self::Refused(refusal)
                if matches!(refusal.reason.as_str(), "SHUTTING_DOWN" | "DEADLINE_PASSED") =>
            {
                4
            }
            Self::Refused(_) | Self::NotRegistered { .. } | Self::UnknownService(_) => 3,
            Self::Unreachable(_)
            | Self::Timeout(..)
            | Self::Connection { .. }
            | Self::NotServing(_) => 4,
            Self::Stopped { source, .. } | Self::AtLine { source, .. } => source.code(),
            Self::Restore(RestoreError::Invalid { .. }) => 6,
            _ if self.requires_force() => 3,
            _ if self.damaged().is_some() => 6,
            _ => 5,
        }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashMap;

    use tonic_types::ErrorDetails;

    use super::*;

    fn error(code: Code, reason: &str, metadata: &[(&str, &str)]) -> Error {
        let metadata: HashMap<_, _> =
            metadata.iter().map(|&(key, value)| (key.to_owned(), value.to_owned())).collect();
        let details = ErrorDetails::with_error_info(reason, "portbook", metadata);
        let status = Status::with_error_details(code, "No\u{1b}[31m.", details);
        Error::from_status(&status, &"localhost:1".parse().unwrap())
    }

    #[test]
    fn a_refusal_names_the_flag_that_helps() {
        let codes = "FINDING_CODE_SYSTEM_PORT,FINDING_CODE_IANA_ASSIGNED";
        let refused =
            error(Code::FailedPrecondition, "ACKNOWLEDGEMENT_REQUIRED", &[("codes", codes)]);
        let report = refused.report();
        assert!(
            report.ends_with("\nwith this command: --acknowledge SYSTEM_PORT,IANA_ASSIGNED"),
            "{report}"
        );
        assert!(!report.contains('\u{1b}'), "{report:?}");
        let rest = vec!["b".to_owned(), "c".to_owned()];
        let stopped = Error::Stopped { at: "a".into(), rest, source: Box::new(refused) };
        let report = stopped.report();
        assert!(report.starts_with("a failed, and b, c were not tried after it: No"), "{report}");
        assert!(report.contains("--acknowledge"), "{report}");
    }

    #[test]
    fn what_passes_by_itself_is_told_from_what_does_not() {
        assert!(error(Code::Unavailable, "SHUTTING_DOWN", &[]).is_retryable());
        assert!(error(Code::Unavailable, "HISTORY_UNAVAILABLE", &[]).is_retryable());
        assert!(error(Code::ResourceExhausted, "RATE_LIMITED", &[]).is_retryable());
        assert!(!error(Code::ResourceExhausted, "POOL_EXHAUSTED", &[]).is_retryable());
        let failed = |source| Error::Connection { addr: "https://a:1".parse().unwrap(), source };
        assert!(failed(ConnectionFault::Ended).is_retryable());
        assert!(!failed(ConnectionFault::Untrusted).is_retryable());
        assert!(Error::Unreachable("localhost:1".parse().unwrap()).is_retryable());
        assert!(!error(Code::OutOfRange, "IN_THE_FUTURE", &[]).is_retryable());
        assert!(!error(Code::NotFound, "NAMESPACE_NOT_FOUND", &[]).is_retryable());
    }

    #[test]
    fn who_calls_too_often_is_told_when_to_come_back() {
        let mut details = ErrorDetails::with_error_info("RATE_LIMITED", "portbook", HashMap::new());
        details.set_retry_info(Some(Duration::from_millis(1500)));
        let status = Status::with_error_details(Code::ResourceExhausted, "Slowly.", details);
        let refused = Error::from_status(&status, &"localhost:1".parse().unwrap());
        assert_eq!(refused.report(), "Slowly.\ntry again in 1.5s");
    }

    #[test]
    fn one_of_a_batch_is_named_by_its_line() {
        let refused = error(Code::AlreadyExists, "PORT_TAKEN", &[("index", "3")]);
        assert_eq!(refused.index(), Some(3));
        let refused = Error::AtLine { line: 7, source: Box::new(refused) };
        assert!(refused.report().starts_with("line 7: No"), "{}", refused.report());
        assert_eq!(refused.code(), 3);
        assert_eq!(error(Code::AlreadyExists, "PORT_TAKEN", &[]).index(), None);
    }

    #[test]
    fn exit_codes_tell_refusals_from_silence() {
        let addr = "localhost:1".parse().unwrap();
        let silence = Error::from_status(&Status::unavailable("tcp connect error"), &addr);
        assert_eq!(silence.code(), 4);
        assert!(silence.report().starts_with("no Portbook server answers at localhost:1;"));
        assert_eq!(error(Code::AlreadyExists, "PORT_TAKEN", &[]).code(), 3);
        assert_eq!(error(Code::Unauthenticated, "TOKEN_MISSING", &[]).code(), 3);
        assert_eq!(error(Code::Unavailable, "STORE_UNAVAILABLE", &[]).code(), 3);
        assert_eq!(error(Code::Unavailable, "SHUTTING_DOWN", &[]).code(), 4);
        assert_eq!(error(Code::Internal, "INTERNAL", &[]).code(), 5);
        assert_eq!(error(Code::DeadlineExceeded, "DEADLINE_PASSED", &[]).code(), 4);
        assert_eq!(Error::from_status(&Status::deadline_exceeded("?"), &addr).code(), 5);
        let untrusted =
            Error::Connection { addr: addr.clone(), source: ConnectionFault::Untrusted };
        assert_eq!(untrusted.code(), 4);
        assert_eq!(Error::from_status(&Status::unknown("?"), &addr).code(), 5);
    }
}
