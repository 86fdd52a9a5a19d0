//! `portbook ensure`: the free ports of a pool for a service, or the ones it has.

use clap::Args;

use super::args::{DetailArgs, NamespaceArgs, WriteArgs};
use super::session::Session;
use super::write::{WriteOutcome, heading};
use super::{Error, ExitStatus, output, time_args};
use crate::grpc::{convert, proto};
use crate::registry::port::Transport;

/// The arguments of `portbook ensure`.
#[derive(Args, Debug)]
pub(super) struct EnsureArgs {
    /// The pool.
    pool: String,

    /// The service name: 1-15 letters, digits and hyphens.
    service: String,

    /// Which one of several of the same service this is, such as blue.
    #[arg(long, value_name = "NAME", default_value = "", hide_default_value = true)]
    instance: String,

    /// How many ports in a row. Left out: 1.
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..))]
    count: Option<u32>,

    /// The transports; several with commas. Left out: all that the pool gives ports for.
    #[arg(long = "transport", value_name = "TRANSPORT", value_delimiter = ',')]
    transports: Vec<Transport>,

    /// Print the number of the first port and nothing else, as in
    /// PORT=$(portbook ensure web billing --ttl 30d --quiet).
    #[arg(long, short, conflicts_with_all = ["output", "dry_run"])]
    quiet: bool,

    /// How long to hold the ports, such as 12h or 30d; left out, without end. Asked again with it,
    /// the lease is renewed; asked again without it, the lease stays as it is.
    #[arg(long, value_name = "LENGTH", value_parser = time_args::duration)]
    ttl: Option<prost_types::Duration>,

    #[command(flatten)]
    namespace: NamespaceArgs,
    #[command(flatten)]
    details: DetailArgs,
    #[command(flatten)]
    write: WriteArgs,
}

impl EnsureArgs {
    pub(super) async fn run(self) -> Result<ExitStatus, Error> {
        let Self {
            pool,
            service,
            instance,
            count,
            transports,
            quiet,
            ttl,
            namespace,
            details,
            write,
        } = self;
        let said = details.clone();
        let DetailArgs { description, assignee, contact, reference, notes, labels } = details;
        let transports = transports.into_iter().map(Some).map(convert::transport);
        let request = proto::EnsurePortRequest {
            namespace: namespace.namespace,
            pool,
            service_name: service,
            instance,
            count,
            transports: transports.map(i32::from).collect(),
            ttl,
            description: description.unwrap_or_default(),
            assignee: assignee.unwrap_or_default(),
            contact: contact.unwrap_or_default(),
            reference: reference.unwrap_or_default(),
            assignment_notes: notes.unwrap_or_default(),
            labels: labels.into_iter().collect(),
            validate_only: write.dry_run,
            request_id: write.request_id,
            reason: write.reason,
        };
        let session = Session::connect(&write.server).await?;
        let answer = session.call(session.admin().ensure_port(request)).await?;
        let proto::EnsurePortResponse { assignments, findings, created, revision } = answer;
        if !created && assignments.iter().any(|record| differs(&said, record)) {
            output::notice(
                "the ports were held already, so what is said of them stays: change it with \
                 portbook update",
            );
        }
        if quiet {
            let first = assignments.first().and_then(|record| record.ports?.first);
            let first = first.ok_or(Error::IncompleteResponse)?;
            return output::print(&format!("{first}\n"));
        }
        let heading = if created {
            heading("Given", revision, write.dry_run)
        } else {
            "Held already:".to_owned()
        };
        WriteOutcome { assignments, findings, revision }.print(heading, write.output.output)
    }
}

/// Whether something is said of the ports that they do not say.
fn differs(said: &DetailArgs, record: &proto::Assignment) -> bool {
    let DetailArgs { description, assignee, contact, reference, notes, labels } = said;
    let texts = [
        (description, &record.description),
        (assignee, &record.assignee),
        (contact, &record.contact),
        (reference, &record.reference),
        (notes, &record.assignment_notes),
    ];
    texts.into_iter().any(|(said, held)| said.as_ref().is_some_and(|said| said != held))
        || labels.iter().any(|(key, value)| record.labels.get(key) != Some(value))
}
