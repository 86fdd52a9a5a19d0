//! Resources: namespaces, pools and tokens. How they are listed, shown and written, and how they are
//! printed in each format.

use serde_json::Value;

use super::args::{CallArgs, WriteArgs};
use super::output::{self, View, table};
use super::pages::list_all;
use super::rpc::{ListRequest, Request, WriteRequest};
use super::session::Session;
use super::write::heading;
use super::{Error, ExitStatus};

/// A named property as text for people.
pub(super) type Property = (&'static str, String);

/// A resource to print. The default value has every column, for the header of an empty CSV table.
pub(super) trait Resource: Default {
    /// The columns of the table after a write: names of properties.
    const COLUMNS: &'static [&'static str];

    /// The properties for people.
    fn properties(&self) -> Vec<Property>;

    /// The properties that `show` prints.
    fn details(&self) -> Vec<Property> {
        self.properties()
    }

    /// The JSON object, in the field order of the API.
    fn object(&self) -> Value;

    /// The flat CSV row.
    fn csv_row(&self) -> Value {
        self.object()
    }

    /// The text after the table of a write.
    fn footer(&self) -> String {
        String::new()
    }
}

/// Prints all resources of a list; `columns` are names of properties.
pub(super) async fn list<L: ListRequest, R: Resource>(
    call: &CallArgs,
    request: L,
    columns: &'static [&'static str],
    resource: impl Fn(L::Item) -> R,
) -> Result<ExitStatus, Error> {
    let session = call.connect().await?;
    let items = list_all(&session, u32::MAX, &request).await?.items;
    let resources: Vec<_> = items.into_iter().map(resource).collect();
    let is_found = !resources.is_empty();
    call.show(&List { resources, columns })?;
    Ok(output::found_status(is_found))
}

/// Prints the resource in a response.
pub(super) async fn show<Q: Request, R: Resource>(
    call: &CallArgs,
    request: Q,
    resource: impl FnOnce(Q::Response) -> R,
) -> Result<ExitStatus, Error> {
    let response = call.connect().await?.send(request).await?;
    call.show(&Single { heading: None, resource: resource(response) })
}

/// Writes a resource, and prints it with the revision of the write. `done` is the past participle of
/// the action, such as `Created`.
pub(super) async fn write<Q: WriteRequest, R: Resource>(
    session: &Session,
    args: &WriteArgs,
    done: &str,
    request: Q,
    resource: impl FnOnce(Q::Response) -> (R, u64),
) -> Result<ExitStatus, Error> {
    let response = session.send(request.with(args)).await?;
    let (resource, revision) = resource(response);
    let heading = Some(heading(done, revision, args.dry_run));
    args.call.show(&Single { heading, resource })
}

/// The resources of a list.
pub(super) struct List<R> {
    /// The resources.
    pub(super) resources: Vec<R>,
    /// The columns of the table: names of properties.
    pub(super) columns: &'static [&'static str],
}

impl<R: Resource> View for List<R> {
    fn table(&self) -> String {
        if self.resources.is_empty() { String::new() } else { rows(&self.resources, self.columns) }
    }

    fn objects(&self) -> Vec<Value> {
        self.resources.iter().map(R::object).collect()
    }

    fn csv_rows(&self) -> Vec<Value> {
        self.resources.iter().map(R::csv_row).collect()
    }

    fn empty_row(&self) -> Value {
        R::default().csv_row()
    }
}

/// One resource: its details, or the result of a write under a heading.
pub(super) struct Single<R> {
    /// The heading of the result of a write.
    pub(super) heading: Option<String>,
    /// The resource.
    pub(super) resource: R,
}

impl<R: Resource> View for Single<R> {
    fn table(&self) -> String {
        let Self { heading, resource } = self;
        let Some(heading) = heading else {
            return table::properties(resource.details());
        };
        let row = rows(std::slice::from_ref(resource), R::COLUMNS);
        format!("{heading}\n{row}{}", resource.footer())
    }

    fn objects(&self) -> Vec<Value> {
        vec![self.json()]
    }

    fn csv_rows(&self) -> Vec<Value> {
        vec![self.resource.csv_row()]
    }

    fn json(&self) -> Value {
        self.resource.object()
    }
}

/// A table of the properties that `columns` name.
fn rows<R: Resource>(resources: &[R], columns: &[&str]) -> String {
    let header: Vec<_> = columns.iter().map(|name| name.to_uppercase()).collect();
    let rows = resources.iter().map(|resource| {
        let properties = resource.properties();
        let value = |column: &&str| {
            let property = properties.iter().find(|(name, _)| name == column);
            property.map(|(_, value)| value.clone()).unwrap_or_default()
        };
        columns.iter().map(value).collect()
    });
    table::render(&header, rows)
}
