//! `portbook health`: whether the server serves, for whoever watches over it.

use std::time::Duration;

use clap::Args;
use tokio::time::timeout;
use tonic::Code;
use tonic_health::pb::HealthCheckRequest;
use tonic_health::pb::health_check_response::ServingStatus;
use tonic_health::pb::health_client::HealthClient;

use super::args::PlaceArgs;
use super::session::Session;
use super::{End, Error, output};

/// Who watches over a server asks again soon, and takes silence for an answer.
const PATIENCE: Duration = Duration::from_secs(3);

/// The arguments of `portbook health`.
#[derive(Args, Debug)]
pub(super) struct HealthArgs {
    /// One service alone, such as portbook.v1.PortRegistryService. Left out: the whole server.
    #[arg(default_value = "", hide_default_value = true)]
    service: String,

    #[command(flatten)]
    place: PlaceArgs,
}

impl HealthArgs {
    pub(super) async fn run(self) -> Result<End, Error> {
        let Self { service, place } = self;
        let silence = |_| Error::Slow(place.addr.clone(), PATIENCE);
        timeout(PATIENCE, check(&place, service)).await.map_err(silence)?
    }
}

async fn check(place: &PlaceArgs, service: String) -> Result<End, Error> {
    let session = Session::connect_unknown(place).await?;
    let mut health = HealthClient::new(session.transport());
    let answer = health.check(HealthCheckRequest { service: service.clone() }).await;
    match answer.map(|answer| answer.into_inner().status()) {
        Ok(ServingStatus::Serving) => output::print("serving\n"),
        Ok(ServingStatus::ServiceUnknown) => Err(Error::NoService(service)),
        Ok(ServingStatus::NotServing | ServingStatus::Unknown) => {
            Err(Error::NotServing(place.addr.clone()))
        }
        Err(status) if status.code() == Code::NotFound => Err(Error::NoService(service)),
        Err(status) => Err(session.error(&status)),
    }
}
