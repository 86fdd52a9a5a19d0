//! `portbook update`: changes the service name and the descriptive fields of a registration.

use clap::Args;
use prost::Message;

use super::args::{AcknowledgeArgs, NamespaceArgs, WriteArgs};
use super::details::{DetailArgs, text_flags};
use super::output::enum_names;
use super::parse::Target;
use super::session::Session;
use super::write::{UpdateMask, write_each};
use super::{Error, ExitStatus};
use crate::grpc::{convert, proto};
use crate::registry::port::{Port, Transport};

/// The arguments of `portbook update`.
#[derive(Args, Debug)]
pub(super) struct UpdateArgs {
    /// The uid of a registration, or one of its ports: 7421/tcp.
    target: Target,

    /// The new service name.
    #[arg(long, value_name = "NAME")]
    service_name: Option<String>,

    /// Remove all labels. --label replaces all labels.
    #[arg(long, conflicts_with = "labels")]
    no_labels: bool,

    /// Update the registration only if its etag is this one. If a port is specified, the default is
    /// the etag at lookup.
    #[arg(long, value_name = "ETAG")]
    etag: Option<String>,

    #[command(flatten)]
    namespace: NamespaceArgs,
    #[command(flatten)]
    details: DetailArgs,
    #[command(flatten)]
    acknowledge: AcknowledgeArgs,
    #[command(flatten)]
    write: WriteArgs,
}

impl UpdateArgs {
    pub(super) async fn run(self) -> Result<ExitStatus, Error> {
        let Self { target, service_name, no_labels, etag, namespace, details, acknowledge, write } =
            self;
        let (fields, mask) = fields(service_name, &details, no_labels);
        let flags = format!("--service-name, {}, --label and --no-labels", text_flags());
        let update_mask = mask.finish(&flags)?;
        let session = write.call.connect().await?;
        let registration = resolve(&session, &target, &namespace.namespace).await?;
        let assignment = proto::Assignment {
            uid: registration.uid,
            etag: etag.unwrap_or(registration.etag),
            ..fields
        };
        let request = proto::UpdateAssignmentRequest {
            assignment: Some(assignment),
            update_mask,
            acknowledge: acknowledge.codes(),
            ..Default::default()
        };
        write_each(&session, &write, "Updated", &[target], |_| request.clone()).await
    }
}

/// The requested fields of the registration, and their paths.
fn fields(
    service_name: Option<String>,
    details: &DetailArgs,
    no_labels: bool,
) -> (proto::Assignment, UpdateMask) {
    let mut mask = UpdateMask::default();
    let mut assignment = proto::Assignment {
        service_name: mask.field("service_name", service_name),
        ..proto::Assignment::default()
    };
    details.apply(&mut assignment);
    details.add_paths(&mut mask, no_labels);
    (assignment, mask)
}

/// The uid of the registration, and its etag if it had to be looked up.
async fn resolve(
    session: &Session,
    target: &Target,
    namespace: &str,
) -> Result<proto::Assignment, Error> {
    match *target {
        Target::Uid(uid) => {
            Ok(proto::Assignment { uid: uid.to_string(), ..proto::Assignment::default() })
        }
        Target::Port(port, transport) => holder(session, port, transport, namespace).await,
    }
}

/// The registration that holds the port.
async fn holder(
    session: &Session,
    port: Port,
    transport: Option<Transport>,
    namespace: &str,
) -> Result<proto::Assignment, Error> {
    let request = proto::LookupPortRequest {
        port: Some(port.number().into()),
        transport: convert::transport(transport).into(),
        namespace: namespace.to_owned(),
        as_of: None,
    };
    let response = session.send(request).await?;
    let custom = i32::from(proto::Source::Custom);
    let mut held = proto::PortInfo::decode(response.port_info)?.assignments;
    held.retain(|record| record.source == custom);
    if held.len() > 1 {
        let transports = held.iter().filter_map(|record| enum_names::transport(record.transport()));
        let transports = transports.collect::<Vec<_>>().join(", ");
        return Err(Error::Usage(format!(
            "port {port} is held on several transports ({transports}): specify one, such as \
             {port}/tcp"
        )));
    }
    let target = Target::Port(port, transport);
    held.pop().ok_or_else(|| Error::NotRegistered {
        target: target.to_string(),
        namespace: namespace.to_owned(),
    })
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::*;

    #[derive(Parser)]
    struct Line {
        #[command(flatten)]
        update: UpdateArgs,
    }

    fn paths(flags: &[&str]) -> Vec<String> {
        let args = ["update", "7421/tcp"].iter().chain(flags);
        let UpdateArgs { service_name, details, no_labels, .. } =
            Line::try_parse_from(args).unwrap_or_else(|error| panic!("{error}")).update;
        fields(service_name, &details, no_labels).1.paths
    }

    #[test]
    fn only_specified_fields_are_changed_and_an_empty_value_clears() {
        assert!(paths(&[]).is_empty());
        assert!(paths(&["--acknowledge", "iana-assigned"]).is_empty());
        assert_eq!(paths(&["--description", ""]), ["description"]);
        assert_eq!(
            paths(&["--notes", "x", "--service-name", "y"]),
            ["service_name", "assignment_notes"]
        );
        assert_eq!(paths(&["--no-labels"]), ["labels"]);
        assert_eq!(paths(&["--label", "a=b", "--label", "c="]), ["labels"]);
    }

    #[test]
    fn labels_are_either_set_or_removed() {
        let args = ["update", "7421/tcp", "--no-labels", "--label", "a=b"];
        assert!(Line::try_parse_from(args).is_err());
    }
}
