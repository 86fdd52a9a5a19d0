//! `portbook pool`: manages pools and shows their usage.

mod view;

use clap::{Args, Subcommand};

use super::args::{CallArgs, NamespaceArgs, WriteArgs};
use super::parse::List;
use super::resource;
use super::write::UpdateMask;
use super::{Error, ExitStatus, parse, time_args};
use crate::grpc::{convert, proto};
use crate::registry::name::NamespaceName;
use crate::registry::port::{PortRange, Transport};
pub(super) use view::PoolView;

/// The subcommands of `portbook pool`.
#[derive(Debug, Subcommand)]
pub(super) enum PoolCommand {
    /// List the pools and their usage.
    List(ListArgs),
    /// Show all fields of a pool.
    Show(ShowArgs),
    /// Create a pool. It must not overlap another pool or an assignment.
    Create(CreateArgs),
    /// Update the specified fields of a pool. It must still contain all ports allocated from it.
    Update(UpdateArgs),
    /// Delete a pool that has no allocated ports.
    Delete(DeleteArgs),
}

#[derive(Args, Debug)]
pub(super) struct ListArgs {
    /// The namespace, or - for all namespaces.
    #[arg(long, env = "PORTBOOK_NAMESPACE", value_name = "NAME", default_value = NamespaceName::DEFAULT)]
    namespace: String,

    #[command(flatten)]
    call: CallArgs,
}

#[derive(Args, Debug)]
pub(super) struct ShowArgs {
    /// The name of the pool.
    name: String,

    #[command(flatten)]
    namespace: NamespaceArgs,
    #[command(flatten)]
    call: CallArgs,
}

#[derive(Args, Debug)]
pub(super) struct CreateArgs {
    /// The name: 1-63 characters of a-z, 0-9 and hyphens, starting with a letter.
    name: String,

    /// The port ranges: 8100-8199 8300-8399.
    #[arg(required = true, value_name = "PORTS", value_parser = parse::port_range)]
    ports: Vec<PortRange>,

    /// The transports; several separated by commas.
    #[arg(
        long = "transport",
        value_name = "TRANSPORT",
        value_delimiter = ',',
        default_value = "tcp"
    )]
    transports: Vec<Transport>,

    #[command(flatten)]
    rules: RuleArgs,
    #[command(flatten)]
    namespace: NamespaceArgs,
    #[command(flatten)]
    write: WriteArgs,
}

#[derive(Args, Debug)]
pub(super) struct UpdateArgs {
    /// The name of the pool.
    name: String,

    /// The new port ranges: 8100-8199,8300-8399. Replaces the current ranges.
    #[arg(long, value_name = "PORTS", value_parser = parse::port_ranges)]
    ports: Option<List<PortRange>>,

    /// The new transports; several separated by commas. Replaces the current transports.
    #[arg(long = "transport", value_name = "TRANSPORT", value_delimiter = ',')]
    transports: Vec<Transport>,

    #[command(flatten)]
    rules: RuleArgs,

    /// Update the pool only if its etag is this one.
    #[arg(long, value_name = "ETAG", default_value = "", hide_default_value = true)]
    etag: String,

    #[command(flatten)]
    namespace: NamespaceArgs,
    #[command(flatten)]
    write: WriteArgs,
}

#[derive(Args, Debug)]
pub(super) struct DeleteArgs {
    /// The name of the pool.
    name: String,

    /// Delete the pool only if its etag is this one.
    #[arg(long, value_name = "ETAG", default_value = "", hide_default_value = true)]
    etag: String,

    #[command(flatten)]
    namespace: NamespaceArgs,
    #[command(flatten)]
    write: WriteArgs,
}

/// The fields of a pool other than its ports and transports.
#[derive(Args, Debug)]
struct RuleArgs {
    /// A short description.
    #[arg(long, value_name = "TEXT")]
    description: Option<String>,

    /// The ports to exclude from its ranges: 8110,8120-8125, or none.
    #[arg(long, value_name = "PORTS", value_parser = parse::port_ranges)]
    exclude: Option<List<PortRange>>,

    /// The cool-down of released ports, 0-366d, such as 1h or 30d [default of a new pool: that of the
    /// namespace].
    #[arg(long, value_name = "DURATION", value_parser = time_args::duration)]
    cool_down: Option<prost_types::Duration>,

    /// The findings that do not prevent an allocation, such as IANA_ASSIGNED; several separated by
    /// commas, or none.
    #[arg(long, value_name = "CODES", value_parser = parse::finding_codes)]
    accept: Option<List<proto::FindingCode>>,
}

impl PoolCommand {
    pub(super) async fn run(self) -> Result<ExitStatus, Error> {
        match self {
            Self::List(ListArgs { namespace, call }) => {
                let columns = view::columns(namespace == "-");
                let request = proto::ListPoolsRequest { namespace, ..Default::default() };
                resource::list(&call, request, columns, PoolView::from).await
            }
            Self::Show(ShowArgs { name, namespace: NamespaceArgs { namespace }, call }) => {
                let request = proto::GetPoolRequest { namespace, name };
                resource::show(&call, request, |response| {
                    PoolView::from(response.pool.unwrap_or_default())
                })
                .await
            }
            Self::Create(args) => args.run().await,
            Self::Update(args) => args.run().await,
            Self::Delete(args) => args.run().await,
        }
    }
}

impl CreateArgs {
    async fn run(self) -> Result<ExitStatus, Error> {
        let Self { name, ports, transports, rules, namespace, write } = self;
        let pool = proto::Pool {
            namespace: namespace.namespace,
            name,
            ports: ports.into_iter().map(convert::port_range).collect(),
            transports: transport_numbers(&transports),
            ..rules.fields().0
        };
        let request = proto::CreatePoolRequest { pool: Some(pool), ..Default::default() };
        let session = write.call.connect().await?;
        resource::write(&session, &write, "Created", request, |response| {
            (PoolView::from(response.pool), response.revision)
        })
        .await
    }
}

impl UpdateArgs {
    async fn run(self) -> Result<ExitStatus, Error> {
        let write = self.write.clone();
        let (pool, mask) = self.fields();
        let flags = "--ports, --transport, --description, --exclude, --cool-down and --accept";
        let (pool, update_mask) = (Some(pool), mask.finish(flags)?);
        let request = proto::UpdatePoolRequest { pool, update_mask, ..Default::default() };
        let session = write.call.connect().await?;
        resource::write(&session, &write, "Updated", request, |response| {
            (PoolView::from(response.pool), response.revision)
        })
        .await
    }

    /// The specified fields of the pool, and their paths.
    fn fields(self) -> (proto::Pool, UpdateMask) {
        let Self { name, ports, transports, rules, etag, namespace, write: _ } = self;
        let (pool, mut mask) = rules.fields();
        mask.add("transports", !transports.is_empty());
        let pool = proto::Pool {
            namespace: namespace.namespace,
            name,
            etag,
            ports: mask.field("ports", ports).iter().map(convert::port_range).collect(),
            transports: transport_numbers(&transports),
            ..pool
        };
        (pool, mask)
    }
}

impl DeleteArgs {
    async fn run(self) -> Result<ExitStatus, Error> {
        let Self { name, etag, namespace: NamespaceArgs { namespace }, write } = self;
        let request = proto::DeletePoolRequest { namespace, name, etag, ..Default::default() };
        let session = write.call.connect().await?;
        resource::write(&session, &write, "Deleted", request, |response| {
            (PoolView::from(response.pool), response.revision)
        })
        .await
    }
}

fn transport_numbers(transports: &[Transport]) -> Vec<i32> {
    transports.iter().map(|&of| convert::transport(Some(of)).into()).collect()
}

impl RuleArgs {
    /// The specified fields, and their paths.
    fn fields(self) -> (proto::Pool, UpdateMask) {
        let Self { description, exclude, cool_down, accept } = self;
        let mut mask = UpdateMask::default();
        let excluded = mask.field("excluded_ports", exclude);
        let pool = proto::Pool {
            description: mask.field("description", description),
            excluded_ports: excluded.iter().map(convert::port_range).collect(),
            cool_down: mask.field("cool_down", cool_down.map(Some)),
            accept: mask.field("accept", accept).iter().map(i32::from).collect(),
            ..proto::Pool::default()
        };
        (pool, mask)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cli::args::parse_line;
    use crate::cli::output::lists::ranges;

    fn parse<A: Args>(line: &str) -> A {
        parse_line(line).unwrap_or_else(|error| panic!("{error}"))
    }

    fn paths(line: &str) -> Vec<String> {
        parse::<UpdateArgs>(line).fields().1.paths
    }

    #[test]
    fn only_specified_fields_are_changed() {
        assert!(paths("web").is_empty());
        assert_eq!(paths("web --exclude none"), ["excluded_ports"]);
        assert_eq!(paths("web --ports 8100-8299,8400"), ["ports"]);
        assert_eq!(
            paths("web --transport tcp,udp --cool-down 0s --accept IANA_ASSIGNED"),
            ["cool_down", "accept", "transports"]
        );
    }

    #[test]
    fn a_pool_is_created_from_port_ranges() {
        let line = "web 8100-8199 8300-8399 --transport tcp,udp --exclude 8110,8120-8125 \
                    --cool-down 1h --accept IANA_ASSIGNED";
        let args: CreateArgs = parse(line);
        assert_eq!((args.ports.len(), args.transports.len()), (2, 2));
        let (pool, _) = args.rules.fields();
        assert_eq!(ranges(&pool.excluded_ports), "8110, 8120-8125");
        let args: CreateArgs = parse("web 8100");
        assert_eq!(args.transports, [Transport::Tcp]);
    }
}
