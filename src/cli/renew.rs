//! `portbook renew`: renews leases.

use clap::Args;

use super::args::WriteArgs;
use super::write::TargetArgs;
use super::{Error, ExitStatus, time_args};
use crate::grpc::proto;

/// The arguments of `portbook renew`.
#[derive(Args, Debug)]
pub(super) struct RenewArgs {
    #[command(flatten)]
    targets: TargetArgs,

    /// The new duration from now, 1s-3650d, such as 12h or 30d [default: the last requested
    /// duration].
    #[arg(long, value_name = "DURATION", value_parser = time_args::duration)]
    ttl: Option<prost_types::Duration>,

    #[command(flatten)]
    write: WriteArgs,
}

impl RenewArgs {
    pub(super) async fn run(self) -> Result<ExitStatus, Error> {
        let Self { targets, ttl, write } = self;
        let request = proto::RenewLeaseRequest { ttl, ..Default::default() };
        targets.write_each(&write, "Renewed", request).await
    }
}
