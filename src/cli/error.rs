//! The error of a failed command: one line, an optional hint and an exit code.

use std::error::Error as _;
use std::io;
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use tonic::{Code, Status};
use tonic_types::StatusExt;

use super::output::{clean, quoted};
use super::refusal::Refusal;
use super::session::{Address, ConnectionError, Stage, TlsError};
use super::token::RecoverError;
use crate::access::TokenFormatError;
use crate::grpc::proto::{port_admin_service_server, port_registry_service_server};
use crate::iana::IanaError;
use crate::server::ServeError;
use crate::store::{BackupError, CopyError, OpenError, RestoreError, StoreError, error_chain};

/// Why a command failed.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The arguments are not valid together.
    #[error("{0}")]
    Usage(String),
    /// The token is not valid.
    #[error("--token is not valid")]
    Token(#[from] TokenFormatError),
    /// The connection to the server failed.
    #[error(transparent)]
    Connection(#[from] ConnectionError),
    /// The server did not respond in time.
    #[error("the server at {0} did not respond within {seconds} seconds", seconds = .1.as_secs())]
    Timeout(Address, Duration),
    /// The TLS flags are not valid.
    #[error(transparent)]
    Tls(#[from] TlsError),
    /// The health service reports that the server does not serve.
    #[error("the server at {0} is not serving")]
    NotServing(Address),
    /// The health service does not know the service.
    #[error("the server has no service {0:?}")]
    UnknownService(String),
    /// A token cannot be recovered.
    #[error(transparent)]
    Recover(#[from] RecoverError),
    /// The server rejected the call.
    #[error("{}", .0.message)]
    Refused(Refusal),
    /// No registration matches the target of a change.
    #[error("nothing is registered on {target} in namespace {namespace}")]
    NotRegistered {
        /// The port.
        target: String,
        /// The namespace.
        namespace: String,
    },
    /// One of several calls failed; the calls after it were not made.
    #[error("{at} failed (not tried: {})", .rest.join(", "))]
    Stopped {
        /// The item that failed.
        at: String,
        /// The items that were not tried.
        rest: Vec<String>,
        /// The error of the failed call.
        source: Box<Error>,
    },
    /// One registration of a batch was rejected.
    #[error("line {line}")]
    AtLine {
        /// Its line in the file.
        line: usize,
        /// The error.
        source: Box<Error>,
    },
    /// The call failed for another reason.
    #[error("the call failed: {0}")]
    Call(String),
    /// The response cannot be decoded.
    #[error("the response cannot be decoded")]
    Decode(#[from] prost::DecodeError),
    /// The response lacks items.
    #[error("the response of the server is incomplete")]
    IncompleteResponse,
    /// The embedded registry cannot be opened.
    #[error("the embedded registry cannot be opened")]
    Embedded(#[source] OpenError),
    /// A database or a backup cannot be opened.
    #[error(transparent)]
    Open(#[from] OpenError),
    /// The backup failed.
    #[error(transparent)]
    Backup(#[from] BackupError),
    /// The restore failed.
    #[error(transparent)]
    Restore(#[from] RestoreError),
    /// A signal ended the command.
    #[error("interrupted: nothing was changed")]
    Interrupted,
    /// The embedded registry cannot be read.
    #[error("the embedded registry cannot be read")]
    Load(#[from] StoreError),
    /// Stdin cannot be read.
    #[error("stdin cannot be read")]
    Input(#[source] io::Error),
    /// Signal handlers cannot be installed.
    #[error("signal handlers cannot be installed")]
    Signal(#[source] io::Error),
    /// Stdout cannot be written.
    #[error("stdout cannot be written")]
    Output(#[source] io::Error),
    /// The output cannot be encoded as JSON or CSV.
    #[error("the output cannot be encoded")]
    Format(#[source] Box<dyn std::error::Error + Send + Sync>),
    /// A file cannot be read.
    #[error("{path} cannot be read")]
    Read {
        /// The file.
        path: PathBuf,
        /// The I/O error.
        source: io::Error,
    },
    /// The file is not IANA's registry.
    #[error("the file is not IANA's registry")]
    Iana(#[from] IanaError),
    /// The server failed to start or to continue.
    #[error(transparent)]
    Serve(#[from] ServeError),
}

impl Error {
    /// The connection to this address failed.
    pub(super) fn connection(
        error: &(dyn std::error::Error + 'static),
        addr: &Address,
        stage: Stage,
    ) -> Self {
        // The message of tonic's error is always "transport error".
        let error = match error.source() {
            Some(source) if error.is::<tonic::transport::Error>() => source,
            _ => error,
        };
        ConnectionError { addr: addr.clone(), causes: error_chain(error), stage }.into()
    }

    /// Converts the status of a call to this address.
    pub(super) fn from_status(status: &Status, addr: &Address, stage: Stage) -> Self {
        // Only a status that the client made has a source: the connection failed.
        if let Some(source) = status.source() {
            return Self::connection(source, addr, stage);
        }
        let info = status.get_details_error_info().filter(|info| info.domain == "portbook");
        if status.code() == Code::Unavailable && info.is_none() {
            let causes = status.message().to_owned();
            return ConnectionError { addr: addr.clone(), causes, stage }.into();
        }
        let retry = status.get_details_retry_info().and_then(|info| info.retry_delay);
        let (reason, metadata) = info.map(|info| (info.reason, info.metadata)).unwrap_or_default();
        match status.code() {
            // A proxy that ends a call at its deadline sends no reason.
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

    /// Whether no service has the name.
    pub(super) fn is_unknown_service(&self) -> bool {
        matches!(self, Self::Refused(refusal) if refusal.reason == "SERVICE_NOT_FOUND")
    }

    /// The index of the rejected item of a batch, from 0.
    pub(super) fn index(&self) -> Option<usize> {
        match self {
            Self::Refused(refusal) => refusal.value("index").parse().ok(),
            _ => None,
        }
    }

    /// Whether the same call may succeed later.
    pub(super) fn is_retryable(&self) -> bool {
        match self {
            Self::Timeout(..) | Self::IncompleteResponse => true,
            Self::Connection(error) => error.is_retryable(),
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

    /// Removes the index of a rejected item from the message, for callers that name its line instead.
    pub(super) fn without_index(mut self) -> Self {
        if let (Some(index), Self::Refused(refusal)) = (self.index(), &mut self) {
            let prefix = format!("requests[{index}]: ");
            if let Some(message) = refusal.message.strip_prefix(&prefix) {
                refusal.message = message.to_owned();
            }
        }
        self
    }

    /// Whether the reader of stdout closed it.
    pub(super) fn is_broken_pipe(&self) -> bool {
        matches!(self, Self::Output(error) if error.kind() == io::ErrorKind::BrokenPipe)
    }

    /// The message: the chain of errors in one line, and the hint in a second one.
    #[must_use]
    pub fn report(&self) -> String {
        let line = clean(&error_chain(self));
        self.hint().map_or_else(|| line.clone(), |hint| format!("{line}\n{hint}"))
    }

    fn hint(&self) -> Option<String> {
        match self {
            Self::Refused(refusal) => refusal.hint(),
            Self::Connection(error) => error.hint(),
            Self::Stopped { source, .. } | Self::AtLine { source, .. } => source.hint(),
            Self::UnknownService(_) => Some(format!(
                "services: {}, {}; without a name, the command checks the server as a whole",
                port_registry_service_server::SERVICE_NAME,
                port_admin_service_server::SERVICE_NAME
            )),
            Self::Restore(RestoreError::Invalid { backup, .. }) => {
                Some(format!("for details: portbook verify {}", quoted(backup)))
            }
            _ => self.damaged().map(|database| {
                let database = quoted(database);
                format!(
                    "for details: portbook verify {database}; to replace it with a backup: \
                     portbook restore BACKUP --database {database} --force"
                )
            }),
        }
    }

    /// The error of opening a database or a backup.
    fn open_error(&self) -> Option<&OpenError> {
        match self {
            Self::Open(error)
            | Self::Serve(ServeError::Open(error))
            | Self::Restore(RestoreError::Open(error)) => Some(error),
            Self::Backup(BackupError::Copy(CopyError::Open(error)))
            | Self::Restore(RestoreError::Copy(CopyError::Open(error))) => Some(error),
            _ => None,
        }
    }

    /// The damaged database.
    fn damaged(&self) -> Option<&PathBuf> {
        match self {
            Self::Serve(ServeError::Load { database, .. })
            | Self::Backup(BackupError::Copy(CopyError::Invalid { from: database, .. })) => {
                Some(database)
            }
            _ => match self.open_error()? {
                OpenError::Damaged(database) => Some(database),
                _ => None,
            },
        }
    }

    /// Whether the command requires --force.
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
            Self::Timeout(..) | Self::Connection(_) | Self::NotServing(_) => 4,
            Self::Stopped { source, .. } | Self::AtLine { source, .. } => source.code(),
            Self::Restore(RestoreError::Invalid { .. }) => 6,
            _ if self.requires_force() => 3,
            _ if self.damaged().is_some() => 6,
            _ if matches!(self.open_error(), Some(OpenError::WrongFormat { .. })) => 6,
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
        from_status(&status)
    }

    fn from_status(status: &Status) -> Error {
        Error::from_status(status, &"localhost:1".parse().unwrap(), Stage::Established)
    }

    #[test]
    fn hint_names_the_flag() {
        let codes = "FINDING_CODE_SYSTEM_PORT,FINDING_CODE_IANA_ASSIGNED";
        let refused =
            error(Code::FailedPrecondition, "ACKNOWLEDGEMENT_REQUIRED", &[("codes", codes)]);
        let report = refused.report();
        assert!(
            report.ends_with("\nto override: --acknowledge SYSTEM_PORT,IANA_ASSIGNED"),
            "{report}"
        );
        assert!(!report.contains('\u{1b}'), "{report:?}");
        let rest = vec!["b".to_owned(), "c".to_owned()];
        let stopped = Error::Stopped { at: "a".into(), rest, source: Box::new(refused) };
        let report = stopped.report();
        assert!(report.starts_with("a failed (not tried: b, c): No"), "{report}");
        assert!(report.contains("--acknowledge"), "{report}");
    }

    #[test]
    fn temporary_errors_are_retryable() {
        assert!(error(Code::Unavailable, "SHUTTING_DOWN", &[]).is_retryable());
        assert!(error(Code::Unavailable, "HISTORY_UNAVAILABLE", &[]).is_retryable());
        assert!(error(Code::ResourceExhausted, "RATE_LIMITED", &[]).is_retryable());
        assert!(!error(Code::ResourceExhausted, "POOL_EXHAUSTED", &[]).is_retryable());
        assert!(from_status(&Status::unavailable("tcp connect error")).is_retryable());
        let untrusted = Status::unavailable("invalid peer certificate: UnknownIssuer");
        assert!(!from_status(&untrusted).is_retryable());
        assert!(!error(Code::OutOfRange, "IN_THE_FUTURE", &[]).is_retryable());
        assert!(!error(Code::NotFound, "NAMESPACE_NOT_FOUND", &[]).is_retryable());
    }

    #[test]
    fn rate_limit_error_shows_when_to_retry() {
        let mut details = ErrorDetails::with_error_info("RATE_LIMITED", "portbook", HashMap::new());
        details.set_retry_info(Some(Duration::from_millis(1500)));
        let status = Status::with_error_details(Code::ResourceExhausted, "Slowly.", details);
        assert_eq!(from_status(&status).report(), "Slowly.\ntry again in 1.5s");
    }

    #[test]
    fn rejected_item_of_a_batch_is_named_by_its_line() {
        let refused = error(Code::AlreadyExists, "PORT_TAKEN", &[("index", "3")]);
        assert_eq!(refused.index(), Some(3));
        let refused = Error::AtLine { line: 7, source: Box::new(refused) };
        assert!(refused.report().starts_with("line 7: No"), "{}", refused.report());
        assert_eq!(refused.code(), 3);
        assert_eq!(error(Code::AlreadyExists, "PORT_TAKEN", &[]).index(), None);
    }

    #[test]
    fn exit_codes_distinguish_refusals_from_connection_errors() {
        let unreachable = from_status(&Status::unavailable("tcp connect error"));
        assert_eq!(unreachable.code(), 4);
        let report = unreachable.report();
        assert!(
            report.starts_with("connection to localhost:1 failed: tcp connect error\n"),
            "{report}"
        );
        assert_eq!(error(Code::AlreadyExists, "PORT_TAKEN", &[]).code(), 3);
        assert_eq!(error(Code::Unauthenticated, "TOKEN_MISSING", &[]).code(), 3);
        assert_eq!(error(Code::Unavailable, "STORE_UNAVAILABLE", &[]).code(), 3);
        assert_eq!(error(Code::Unavailable, "SHUTTING_DOWN", &[]).code(), 4);
        assert_eq!(error(Code::Internal, "INTERNAL", &[]).code(), 5);
        assert_eq!(error(Code::DeadlineExceeded, "DEADLINE_PASSED", &[]).code(), 4);
        assert_eq!(from_status(&Status::deadline_exceeded("?")).code(), 5);
        assert_eq!(from_status(&Status::unknown("?")).code(), 5);
    }
}
