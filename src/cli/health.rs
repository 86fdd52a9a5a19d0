//! `portbook health`: whether the server is serving, for probes and monitoring.

use std::time::Duration;

use clap::Args;
use tokio::time::timeout;
use tonic::Code;
use tonic_health::pb::HealthCheckRequest;
use tonic_health::pb::health_check_response::ServingStatus;
use tonic_health::pb::health_client::HealthClient;

use super::args::ConnectionArgs;
use super::session::Session;
use super::{Error, ExitStatus, output};

/// Short, because probes repeat the check and treat a timeout as a failure.
const TIMEOUT: Duration = Duration::from_secs(3);

/// The arguments of `portbook health`.
#[derive(Args, Debug)]
pub(super) struct HealthArgs {
    /// The gRPC service to check, such as portbook.v1.PortRegistryService. Default: the server as a
    /// whole.
    #[arg(default_value = "", hide_default_value = true)]
    service: String,

    #[command(flatten)]
    connection: ConnectionArgs,
}

impl HealthArgs {
    pub(super) async fn run(self) -> Result<ExitStatus, Error> {
        let Self { service, connection } = self;
        let elapsed = |_| Error::Timeout(connection.addr.clone(), TIMEOUT);
        timeout(TIMEOUT, check(&connection, service)).await.map_err(elapsed)?
    }
}

async fn check(connection: &ConnectionArgs, service: String) -> Result<ExitStatus, Error> {
    let session = Session::connect_anonymous(connection).await?;
    let mut health = HealthClient::new(session.transport());
    let result = health.check(HealthCheckRequest { service: service.clone() }).await;
    if result.as_ref().is_err_and(|status| status.code() == Code::NotFound) {
        return Err(Error::UnknownService(service));
    }
    match session.map_status(result)?.into_inner().status() {
        ServingStatus::Serving => output::print("serving\n"),
        ServingStatus::ServiceUnknown => Err(Error::UnknownService(service)),
        ServingStatus::NotServing | ServingStatus::Unknown => {
            Err(Error::NotServing(connection.addr.clone()))
        }
    }
}

#[cfg(test)]
mod tests {
    use tokio_stream::wrappers::TcpListenerStream;
    use tonic::transport::Server;
    use tonic_health::server::health_reporter;

    use super::*;
    use crate::cli::session::{Address, TlsArgs};

    #[tokio::test]
    async fn a_server_that_does_not_serve_is_not_healthy() {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let addr: Address = listener.local_addr().unwrap().to_string().parse().unwrap();
        let (reporter, service) = health_reporter();
        reporter.set_service_status("", tonic_health::ServingStatus::NotServing).await;
        reporter.set_service_status("up", tonic_health::ServingStatus::Serving).await;
        let server = Server::builder().add_service(service);
        tokio::spawn(server.serve_with_incoming(TcpListenerStream::new(listener)));
        let args = |service: &str| HealthArgs {
            service: service.into(),
            connection: ConnectionArgs { addr: addr.clone(), tls: TlsArgs::default() },
        };
        let down = args("").run().await.unwrap_err();
        assert!(matches!(down, Error::NotServing(_)), "{down:?}");
        assert_eq!(args("up").run().await.unwrap(), ExitStatus::Success);
        assert!(
            matches!(args("else").run().await, Err(Error::UnknownService(name)) if name == "else")
        );
    }
}
