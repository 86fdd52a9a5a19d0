//! `portbook namespace`: manages namespaces and their policies.

use clap::{Args, Subcommand};
use serde_json::{Value, json};

use super::args::{OutputArgs, ServerArgs, WriteArgs};
use super::output::resource::{self, codes};
use super::output::{self, clean, record, table};
use super::pages::{Page, gather};
use super::parse::List;
use super::session::Session;
use super::time_args::format_duration;
use super::write::heading;
use super::{Error, ExitStatus, parse, time_args};
use crate::grpc::proto;

/// The subcommands of `portbook namespace`.
#[derive(Debug, Subcommand)]
pub(super) enum NamespaceCommand {
    /// List the namespaces.
    List(ListArgs),
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
pub(super) struct ListArgs {
    #[command(flatten)]
    server: ServerArgs,
    #[command(flatten)]
    output: OutputArgs,
}

#[derive(Args, Debug)]
pub(super) struct ShowArgs {
    /// The name of the namespace.
    name: String,

    #[command(flatten)]
    server: ServerArgs,
    #[command(flatten)]
    output: OutputArgs,
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

    /// The cool-down of released ports, such as 12h or 30d [default: 1d].
    #[arg(long, value_name = "LENGTH", value_parser = time_args::duration)]
    cool_down: Option<prost_types::Duration>,
}

impl NamespaceCommand {
    pub(super) async fn run(self) -> Result<ExitStatus, Error> {
        match self {
            Self::List(args) => args.run().await,
            Self::Show(args) => args.run().await,
            Self::Create(args) => args.run().await,
            Self::Update(args) => args.run().await,
            Self::Delete(args) => args.run().await,
        }
    }
}

impl ListArgs {
    async fn run(self) -> Result<ExitStatus, Error> {
        let session = Session::connect(&self.server).await?;
        let page = gather(u32::MAX, async |page_size, page_token| {
            let request = proto::ListNamespacesRequest { page_size, page_token };
            let page = session.call(session.registry().list_namespaces(request)).await?;
            let proto::ListNamespacesResponse { namespaces, next_page_token, total_size, .. } =
                page;
            Ok(Page { items: namespaces, next: next_page_token, total: total_size })
        });
        output::show(self.output.output, &Summaries(page.await?.items))
    }
}

impl ShowArgs {
    async fn run(self) -> Result<ExitStatus, Error> {
        let session = Session::connect(&self.server).await?;
        let current = get(&session, self.name).await?;
        output::show(self.output.output, &Details(current))
    }
}

async fn get(session: &Session, name: String) -> Result<proto::NamespaceSummary, Error> {
    let request = proto::GetNamespaceRequest { name };
    let response = session.call(session.registry().get_namespace(request)).await?;
    Ok(response.namespace.unwrap_or_default())
}

impl CreateArgs {
    async fn run(self) -> Result<ExitStatus, Error> {
        let Self { name, rules, write } = self;
        let policy = rules.has_policy().then(|| rules.policy(proto::NamespacePolicy::default()));
        let namespace = proto::Namespace {
            name,
            description: rules.description.unwrap_or_default(),
            policy,
            ..proto::Namespace::default()
        };
        let request = proto::CreateNamespaceRequest {
            namespace: Some(namespace),
            validate_only: write.dry_run,
            request_id: write.request_id.clone(),
            reason: write.reason.clone(),
        };
        let session = Session::connect(&write.server).await?;
        let response = session.call(session.admin().create_namespace(request)).await?;
        print_result("Created", response.namespace, response.revision, &write)
    }
}

impl UpdateArgs {
    async fn run(self) -> Result<ExitStatus, Error> {
        let Self { name, rules, etag, write } = self;
        let paths = rules.paths();
        if paths.is_empty() {
            let message = "nothing to change: specify at least one of --description, \
                           --accept, --forbid and --cool-down";
            return Err(Error::Usage(message.into()));
        }
        let session = Session::connect(&write.server).await?;
        // The policy is a single field: unspecified parts keep their current values.
        let current = if rules.has_policy() {
            get(&session, name.clone()).await?.namespace.unwrap_or_default()
        } else {
            proto::Namespace::default()
        };
        let namespace = proto::Namespace {
            name,
            policy: rules.has_policy().then(|| rules.policy(current.policy.unwrap_or_default())),
            description: rules.description.unwrap_or_default(),
            etag: etag.unwrap_or(current.etag),
            ..proto::Namespace::default()
        };
        let request = proto::UpdateNamespaceRequest {
            namespace: Some(namespace),
            update_mask: Some(prost_types::FieldMask { paths }),
            validate_only: write.dry_run,
            request_id: write.request_id.clone(),
            reason: write.reason.clone(),
        };
        let response = session.call(session.admin().update_namespace(request)).await?;
        print_result("Updated", response.namespace, response.revision, &write)
    }
}

impl DeleteArgs {
    async fn run(self) -> Result<ExitStatus, Error> {
        let Self { name, etag, write } = self;
        let request = proto::DeleteNamespaceRequest {
            name,
            etag,
            validate_only: write.dry_run,
            request_id: write.request_id.clone(),
            reason: write.reason.clone(),
        };
        let session = Session::connect(&write.server).await?;
        let response = session.call(session.admin().delete_namespace(request)).await?;
        print_result("Deleted", response.namespace, response.revision, &write)
    }
}

impl RuleArgs {
    const fn has_policy(&self) -> bool {
        self.accept.is_some() || self.forbid.is_some() || self.cool_down.is_some()
    }

    /// The policy with the specified parts replaced.
    fn policy(&self, mut policy: proto::NamespacePolicy) -> proto::NamespacePolicy {
        let numbers = |codes: &List<proto::FindingCode>| codes.iter().map(i32::from).collect();
        if let Some(codes) = &self.accept {
            policy.accept = numbers(codes);
        }
        if let Some(codes) = &self.forbid {
            policy.forbid = numbers(codes);
        }
        policy.cool_down = self.cool_down.or(policy.cool_down);
        policy
    }

    /// The paths of the specified fields.
    fn paths(&self) -> Vec<String> {
        let description = self.description.is_some().then_some("description");
        let policy = self.has_policy().then_some("policy");
        [description, policy].into_iter().flatten().map(String::from).collect()
    }
}

fn print_result(
    done: &str,
    namespace: Option<proto::Namespace>,
    revision: u64,
    write: &WriteArgs,
) -> Result<ExitStatus, Error> {
    let heading = heading(done, revision, write.dry_run);
    let namespace = namespace.unwrap_or_default();
    output::show(write.output.output, &Written { heading, namespace })
}

/// The table cells of a namespace.
fn cells(namespace: &proto::Namespace) -> [String; 5] {
    let policy = namespace.policy.clone().unwrap_or_default();
    let cell = |text: String| if text.is_empty() { "-".to_owned() } else { text };
    [
        clean(&namespace.name),
        cell(policy.cool_down.map(format_duration).unwrap_or_default()),
        cell(codes(&policy.accept)),
        cell(codes(&policy.forbid)),
        clean(&namespace.description),
    ]
}

fn summary_object(summary: &proto::NamespaceSummary) -> Value {
    let mut object = resource::namespace(&summary.namespace.clone().unwrap_or_default());
    object["assignments"] = json!(summary.assignments);
    object["pools"] = json!(summary.pools);
    object
}

struct Summaries(Vec<proto::NamespaceSummary>);

impl output::View for Summaries {
    fn table(&self) -> String {
        let rows = self.0.iter().map(|summary| {
            let namespace = summary.namespace.clone().unwrap_or_default();
            let [name, cool_down, accept, forbid, description] = cells(&namespace);
            let counts = [summary.assignments, summary.pools].map(|count| count.to_string());
            let [assignments, pools] = counts;
            vec![name, assignments, pools, cool_down, accept, forbid, description]
        });
        let header = "NAME ASSIGNMENTS POOLS COOL-DOWN ACCEPT FORBID DESCRIPTION";
        table::render(Some(header.split(' ').map(String::from).collect()), rows)
    }

    fn objects(&self) -> Vec<Value> {
        self.0.iter().map(summary_object).collect()
    }

    fn empty_row(&self) -> Value {
        summary_object(&proto::NamespaceSummary::default())
    }
}

struct Details(proto::NamespaceSummary);

impl output::View for Details {
    fn table(&self) -> String {
        let namespace = self.0.namespace.clone().unwrap_or_default();
        let [name, cool_down, accept, forbid, description] = cells(&namespace);
        let facts = [
            ("name", name),
            ("description", description),
            ("assignments", self.0.assignments.to_string()),
            ("pools", self.0.pools.to_string()),
            ("cool-down", cool_down),
            ("accept", accept),
            ("forbid", forbid),
            ("created", record::timestamp(namespace.create_time).unwrap_or_default()),
            ("updated", record::timestamp(namespace.update_time).unwrap_or_default()),
            ("revision", namespace.revision.to_string()),
            ("etag", clean(&namespace.etag)),
        ];
        table::properties(facts)
    }

    fn objects(&self) -> Vec<Value> {
        vec![self.json()]
    }

    fn json(&self) -> Value {
        summary_object(&self.0)
    }
}

struct Written {
    heading: String,
    namespace: proto::Namespace,
}

impl output::View for Written {
    fn table(&self) -> String {
        let header = "NAME COOL-DOWN ACCEPT FORBID DESCRIPTION".split(' ').map(String::from);
        let row = cells(&self.namespace).to_vec();
        format!("{}\n{}", self.heading, table::render(Some(header.collect()), [row]))
    }

    fn objects(&self) -> Vec<Value> {
        vec![self.json()]
    }

    fn json(&self) -> Value {
        resource::namespace(&self.namespace)
    }
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::*;
    use crate::cli::output::View;

    #[derive(Parser)]
    struct Line {
        #[command(flatten)]
        rules: RuleArgs,
    }

    fn rules(line: &str) -> RuleArgs {
        let args = std::iter::once("update").chain(line.split_whitespace());
        Line::try_parse_from(args).unwrap_or_else(|error| panic!("{error}")).rules
    }

    #[test]
    fn unspecified_parts_of_a_policy_are_unchanged() {
        let before = proto::NamespacePolicy {
            accept: vec![proto::FindingCode::IanaAssigned.into()],
            forbid: vec![proto::FindingCode::SystemPort.into()],
            cool_down: Some(prost_types::Duration { seconds: 60, nanos: 0 }),
        };
        let specified = rules("--accept cooling-down,DYNAMIC_PORT");
        assert_eq!(specified.paths(), ["policy"]);
        let accept =
            [proto::FindingCode::CoolingDown, proto::FindingCode::DynamicPort].map(i32::from);
        let expected = proto::NamespacePolicy { accept: accept.to_vec(), ..before.clone() };
        assert_eq!(specified.policy(before.clone()), expected);
        let specified = rules("--forbid none --cool-down 0s");
        let after = specified.policy(before);
        assert!(after.forbid.is_empty() && after.accept.len() == 1);
        assert_eq!(after.cool_down, Some(prost_types::Duration::default()));
    }

    #[test]
    fn only_specified_fields_are_changed() {
        assert!(rules("").paths().is_empty());
        assert_eq!(rules("--description=").paths(), ["description"]);
        assert_eq!(rules("--cool-down 1h --description x").paths(), ["description", "policy"]);
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
        let expected = "\
NAME  ASSIGNMENTS  POOLS  COOL-DOWN  ACCEPT         FORBID  DESCRIPTION
prod  12           1      1d         IANA_ASSIGNED  -       Live�
";
        assert_eq!(Summaries(vec![summary.clone()]).table(), expected);
        let object = Details(summary).json();
        assert_eq!((&object["assignments"], &object["cool_down"]), (&json!(12), &json!("86400s")));
    }
}
