//! `portbook release`: releases ports.

use clap::Args;

use super::args::WriteArgs;
use super::write::TargetArgs;
use super::{Error, ExitStatus};
use crate::grpc::proto;

/// The arguments of `portbook release`.
#[derive(Args, Debug)]
pub(super) struct ReleaseArgs {
    #[command(flatten)]
    targets: TargetArgs,
    #[command(flatten)]
    write: WriteArgs,
}

impl ReleaseArgs {
    pub(super) async fn run(self) -> Result<ExitStatus, Error> {
        let Self { targets, write } = self;
        targets.write_each(&write, "Released", proto::ReleasePortRequest::default()).await
    }
}
