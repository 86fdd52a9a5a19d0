//! `portbook namespace`: manages namespaces and their policies.

use clap::{Args, Subcommand};
use serde_json::{Value, json};

use super::args::{CallArgs, WriteArgs};
use super::output::lists::{self, codes};
use super::output::record::{text, timestamp};
use super::output::{clean, table};
use super::parse::List;
use super::resource::{self, Property, Resource};
use super::time_args::{self, format_duration};
use super::write::UpdateMask;
use super::{Error, ExitStatus, parse};
use crate::grpc::proto;

/// The subcommands of `portbook namespace`.
#[derive(Debug, Subcommand)]
pub(super) enum NamespaceCommand {
    /// List the namespaces.
    List(CallArgs),
    /// Show all fields of a namespace.
    Show(ShowArgs),
    /// Create a namespace.
    Create(CreateArgs),
    /// Update the specified fields of a namespace. Its assignments are not affected.
    Update(UpdateArgs),
    /// Delete a namespace that contains no assignments and no pools.
    Delete(DeleteArgs),
}

#[derive(Args, Debug)]
pub(super) struct ShowArgs {
    /// The name of the namespace.
    name: String,

    #[command(flatten)]
    call: CallArgs,
}

#[derive(Args, Debug)]
pub(super) struct CreateArgs {
    /// The name: 1-63 characters of a-z, 0-9 and hyphens, starting with a letter.
    name: String,

    #[command(flatten)]
    rules: RuleArgs,
    #[command(flatten)]
    write: WriteArgs,
}

#[derive(Args, Debug)]
pub(super) struct UpdateArgs {
    /// The name of the namespace.
    name: String,

    #[command(flatten)]
    rules: RuleArgs,

    /// Update the namespace only if its etag is this one.
    #[arg(long, value_name = "ETAG")]
    etag: Option<String>,

    #[command(flatten)]
    write: WriteArgs,
}

#[derive(Args, Debug)]
pub(super) struct DeleteArgs {
    /// The name of the namespace.
    name: String,

    /// Delete the namespace only if its etag is this one.
    #[arg(long, value_name = "ETAG", default_value = "", hide_default_value = true)]
    etag: String,

    #[command(flatten)]
    write: WriteArgs,
}

/// The description and the policy of a namespace.
#[derive(Args, Debug)]
struct RuleArgs {
    /// A short description.
    #[arg(long, value_name = "TEXT")]
    description: Option<String>,

    /// The findings that need no acknowledgement in the namespace, such as IANA_ASSIGNED; several
    /// separated by commas, or none. Replaces the current list.
    #[arg(long, value_name = "CODES", value_parser = parse::finding_codes)]
    accept: Option<List<proto::FindingCode>>,

    /// The findings that are rejected in the namespace even if acknowledged, such as
    /// SYSTEM_PORT,NODE_PORT_RANGE; several separated by commas, or none. Replaces the current list.
    #[arg(long, value_name = "CODES", value_parser = parse::finding_codes)]
    forbid: Option<List<proto::FindingCode>>,

    /// The cool-down of released ports, 0-366d, such as 12h or 30d [default of a new namespace: 1d].
    #[arg(long, value_name = "DURATION", value_parser = time_args::duration)]
    cool_down: Option<prost_types::Duration>,
}

/// The columns of `portbook namespace list`.
const COLUMNS: &[&str] =
    &["name", "assignments", "pools", "cool-down", "accept", "forbid", "description"];

impl NamespaceCommand {
    pub(super) async fn run(self) -> Result<ExitStatus, Error> {
        match self {
            Self::List(call) => {
                let request = proto::ListNamespacesRequest::default();
                resource::list(&call, request, COLUMNS, NamespaceView::from).await
            }
            Self::Show(ShowArgs { name, call }) => {
                let request = proto::GetNamespaceRequest { name };
                resource::show(&call, request, |response| {
                    NamespaceView::from(response.namespace.unwrap_or_default())
                })
                .await
            }
            Self::Create(args) => args.run().await,
            Self::Update(args) => args.run().await,
            Self::Delete(DeleteArgs { name, etag, write }) => {
                let session = write.call.connect().await?;
                let request = proto::DeleteNamespaceRequest { name, etag, ..Default::default() };
                resource::write(&session, &write, "Deleted", request, |response| {
                    (NamespaceView::from(response.namespace), response.revision)
                })
                .await
            }
        }
    }
}

impl CreateArgs {
    async fn run(self) -> Result<ExitStatus, Error> {
        let Self { name, rules, write } = self;
        let namespace =
            proto::Namespace { name, ..rules.namespace(proto::NamespacePolicy::default()) };
        let request =
            proto::CreateNamespaceRequest { namespace: Some(namespace), ..Default::default() };
        let session = write.call.connect().await?;
        resource::write(&session, &write, "Created", request, |response| {
            (NamespaceView::from(response.namespace), response.revision)
        })
        .await
    }
}

impl UpdateArgs {
    async fn run(self) -> Result<ExitStatus, Error> {
        let Self { name, rules, etag, write } = self;
        let update_mask =
            rules.mask().finish("--description, --accept, --forbid and --cool-down")?;
        let session = write.call.connect().await?;
        let mut current = proto::Namespace::default();
        // The policy is a single field: unspecified parts keep their current values.
        if rules.has_policy() {
            let response = session.send(proto::GetNamespaceRequest { name: name.clone() }).await?;
            current = response.namespace.unwrap_or_default().namespace.unwrap_or_default();
        }
        let namespace = proto::Namespace {
            name,
            etag: etag.unwrap_or(current.etag),
            ..rules.namespace(current.policy.unwrap_or_default())
        };
        let namespace = Some(namespace);
        let request =
            proto::UpdateNamespaceRequest { namespace, update_mask, ..Default::default() };
        resource::write(&session, &write, "Updated", request, |response| {
            (NamespaceView::from(response.namespace), response.revision)
        })
        .await
    }
}

impl RuleArgs {
    const fn has_policy(&self) -> bool {
        self.accept.is_some() || self.forbid.is_some() || self.cool_down.is_some()
    }

    /// The specified fields.
    fn mask(&self) -> UpdateMask {
        let mut mask = UpdateMask::default();
        mask.add("description", self.description.is_some());
        mask.add("policy", self.has_policy());
        mask
    }

    /// The namespace with the specified fields. Unspecified parts of the policy are those of
    /// `policy`.
    fn namespace(self, mut policy: proto::NamespacePolicy) -> proto::Namespace {
        let has_policy = self.has_policy();
        let Self { description, accept, forbid, cool_down } = self;
        let numbers =
            |codes: List<proto::FindingCode>| codes.iter().map(i32::from).collect::<Vec<_>>();
        policy.accept = accept.map_or(policy.accept, numbers);
        policy.forbid = forbid.map_or(policy.forbid, numbers);
        policy.cool_down = cool_down.or(policy.cool_down);
        proto::Namespace {
            description: description.unwrap_or_default(),
            policy: has_policy.then_some(policy),
            ..proto::Namespace::default()
        }
    }
}

/// A namespace, and the numbers of its assignments and pools if they are known.
pub(super) struct NamespaceView {
    namespace: proto::Namespace,
    counts: Option<[u32; 2]>,
}

impl From<proto::NamespaceSummary> for NamespaceView {
    fn from(summary: proto::NamespaceSummary) -> Self {
        let proto::NamespaceSummary { namespace, assignments, pools } = summary;
        Self { namespace: namespace.unwrap_or_default(), counts: Some([assignments, pools]) }
    }
}

impl From<Option<proto::Namespace>> for NamespaceView {
    fn from(namespace: Option<proto::Namespace>) -> Self {
        Self { namespace: namespace.unwrap_or_default(), counts: None }
    }
}

impl Default for NamespaceView {
    fn default() -> Self {
        proto::NamespaceSummary::default().into()
    }
}

impl Resource for NamespaceView {
    const COLUMNS: &'static [&'static str] =
        &["name", "cool-down", "accept", "forbid", "description"];

    fn properties(&self) -> Vec<Property> {
        let namespace = &self.namespace;
        let policy = namespace.policy.clone().unwrap_or_default();
        let cool_down = policy.cool_down.map(format_duration).unwrap_or_default();
        let [assignments, pools] = self.counts.unwrap_or_default();
        vec![
            ("name", clean(&namespace.name)),
            ("description", clean(&namespace.description)),
            ("assignments", assignments.to_string()),
            ("pools", pools.to_string()),
            ("cool-down", table::cell(&cool_down)),
            ("accept", table::cell(&codes(&policy.accept))),
            ("forbid", table::cell(&codes(&policy.forbid))),
            ("created", timestamp(namespace.create_time).unwrap_or_default()),
            ("updated", timestamp(namespace.update_time).unwrap_or_default()),
            ("revision", namespace.revision.to_string()),
            ("etag", clean(&namespace.etag)),
        ]
    }

    fn object(&self) -> Value {
        let namespace = &self.namespace;
        let policy = namespace.policy.clone().unwrap_or_default();
        let mut object = json!({
            "name": text(&namespace.name),
            "description": text(&namespace.description),
            "accept": lists::names(&policy.accept),
            "forbid": lists::names(&policy.forbid),
            "cool_down": policy.cool_down.map(|duration| duration.to_string()),
            "create_time": timestamp(namespace.create_time),
            "update_time": timestamp(namespace.update_time),
            "etag": text(&namespace.etag),
            "revision": namespace.revision,
        });
        if let Some([assignments, pools]) = self.counts {
            object["assignments"] = json!(assignments);
            object["pools"] = json!(pools);
        }
        object
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cli::args::parse_line;
    use crate::cli::output::View;
    use crate::cli::resource::{List, Single};

    fn fields(
        line: &str,
        policy: &proto::NamespacePolicy,
    ) -> (proto::NamespacePolicy, Vec<String>) {
        let rules: RuleArgs = parse_line(line).unwrap_or_else(|error| panic!("{error}"));
        let paths = rules.mask().paths;
        (rules.namespace(policy.clone()).policy.unwrap_or_default(), paths)
    }

    #[test]
    fn unspecified_parts_of_a_policy_are_unchanged() {
        let before = proto::NamespacePolicy {
            accept: vec![proto::FindingCode::IanaAssigned.into()],
            forbid: vec![proto::FindingCode::SystemPort.into()],
            cool_down: Some(prost_types::Duration { seconds: 60, nanos: 0 }),
        };
        let (after, paths) = fields("--accept cooling-down,DYNAMIC_PORT", &before);
        assert_eq!(paths, ["policy"]);
        let accept =
            [proto::FindingCode::CoolingDown, proto::FindingCode::DynamicPort].map(i32::from);
        let expected = proto::NamespacePolicy { accept: accept.to_vec(), ..before.clone() };
        assert_eq!(after, expected);
        let (after, _) = fields("--forbid none --cool-down 0s", &before);
        assert!(after.forbid.is_empty() && after.accept.len() == 1);
        assert_eq!(after.cool_down, Some(prost_types::Duration::default()));
    }

    #[test]
    fn only_specified_fields_are_changed() {
        let paths = |line| fields(line, &proto::NamespacePolicy::default()).1;
        assert!(paths("").is_empty());
        assert_eq!(paths("--description="), ["description"]);
        assert_eq!(paths("--cool-down 1h --description x"), ["description", "policy"]);
    }

    #[test]
    fn a_namespace_is_shown_as_a_row_and_as_an_object() {
        let namespace = proto::Namespace {
            name: "prod".into(),
            description: "Live\u{1b}".into(),
            policy: Some(proto::NamespacePolicy {
                accept: vec![proto::FindingCode::IanaAssigned.into()],
                forbid: vec![],
                cool_down: Some(prost_types::Duration { seconds: 86_400, nanos: 0 }),
            }),
            ..proto::Namespace::default()
        };
        let summary =
            proto::NamespaceSummary { namespace: Some(namespace), assignments: 12, pools: 1 };
        let list = List { resources: vec![NamespaceView::from(summary.clone())], columns: COLUMNS };
        let expected = "\
NAME  ASSIGNMENTS  POOLS  COOL-DOWN  ACCEPT         FORBID  DESCRIPTION
prod  12           1      1d         IANA_ASSIGNED  -       Live�
";
        assert_eq!(list.table(), expected);
        let object = Single { heading: None, resource: NamespaceView::from(summary) }.json();
        assert_eq!((&object["assignments"], &object["cool_down"]), (&json!(12), &json!("86400s")));
    }
}
