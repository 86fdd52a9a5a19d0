//! Queries: filters, historical revisions and times, and registrations to check.

use std::collections::BTreeSet;

use jiff::Timestamp;

use crate::grpc::fields::{Fields, MAX_REGISTRATIONS, Parsed};
use crate::grpc::proto;
use crate::registry::assignment::Revision;
use crate::registry::decide::dry_run::ProposedRegistration;
use crate::registry::list::Filter;
use crate::registry::service_name::fold;
use crate::registry::text::Text;
use crate::store::history::ChangeFilter;

/// A historical revision or time.
#[derive(Clone, Copy, Debug)]
pub enum AsOf {
    /// The state after this revision.
    Revision(Revision),
    /// The state after all revisions committed up to this time.
    Time(Timestamp),
}

/// The time of a query; none means now.
pub fn as_of(fields: &mut Fields, as_of: Option<proto::AsOf>) -> Parsed<Option<AsOf>> {
    let Some(proto::AsOf { moment }) = as_of else { return Ok(None) };
    match moment {
        Some(proto::as_of::Moment::Revision(number)) => Ok(Some(AsOf::Revision(Revision(number)))),
        Some(proto::as_of::Moment::Time(time)) => {
            fields.time("as_of.time", time).map(|time| Some(AsOf::Time(time)))
        }
        None => Err(fields.invalid("as_of", "is empty: expected a revision or a time")),
    }
}

/// Which records to list.
pub fn filter(fields: &mut Fields, filter: proto::AssignmentFilter) -> Parsed<Filter> {
    let namespace = fields.namespace_or_all("filter.namespace", &filter.namespace);
    let sources = each(&filter.sources, |number| fields.source("filter.sources", number));
    let states = each(&filter.states, |number| fields.state("filter.states", number));
    let transports =
        each(&filter.transports, |number| fields.transport("filter.transports", number));
    let ports =
        filter.ports.map(|ports| fields.port_range("filter.ports", Some(ports))).transpose();
    let prefix = fields.short_text("filter.service_name_prefix", &filter.service_name_prefix);
    let assignee = fields.text::<255>("filter.assignee", filter.assignee);
    let labels = fields.labels("filter.labels", filter.labels);
    let pool = fields.optional("filter.pool", &filter.pool);
    Ok(Filter {
        namespace: namespace?,
        sources: sources?,
        states: states?,
        transports: transports?,
        ports: ports?,
        service_name_prefix: prefix?.to_lowercase(),
        assignee: assignee?.as_str().to_lowercase(),
        labels: labels?,
        pool: pool?,
    })
}

/// The distinct values of a list.
fn each<T: Ord>(numbers: &[i32], read: impl FnMut(i32) -> Parsed<T>) -> Parsed<BTreeSet<T>> {
    numbers.iter().copied().map(read).collect()
}

/// Which changes to list.
pub fn change_filter(fields: &mut Fields, filter: proto::ChangeFilter) -> Parsed<ChangeFilter> {
    let namespace = fields.namespace_or_all("filter.namespace", &filter.namespace);
    let ports =
        filter.ports.map(|ports| fields.port_range("filter.ports", Some(ports))).transpose();
    let transport = fields.transport("filter.transport", filter.transport);
    let service = fields.short_text("filter.service_name", &filter.service_name);
    let uid = fields.optional("filter.uid", &filter.uid);
    let actor = fields.text::<253>("filter.actor", filter.actor);
    let kinds = each(&filter.kinds, |number| fields.change_kind("filter.kinds", number));
    let start = filter.start_time.map(|time| fields.time("filter.start_time", time)).transpose();
    let end = filter.end_time.map(|time| fields.time("filter.end_time", time)).transpose();
    if let (Ok(Some(start)), Ok(Some(end))) = (start, end)
        && end <= start
    {
        fields.invalid("filter.end_time", "is not after start_time");
    }
    let non_empty = |text: &str| (!text.is_empty()).then(|| text.to_owned());
    Ok(ChangeFilter {
        namespace: namespace?,
        include_settings: false,
        ports: ports?,
        transport: transport?,
        service: non_empty(&fold(service?)),
        uid: uid?,
        actor: non_empty(actor?.as_str()),
        kinds: kinds?,
        start_time: start?,
        end_time: end?,
    })
}

/// Which changes of assignments to watch.
pub fn watch_filter(fields: &mut Fields, filter: &proto::WatchFilter) -> Parsed<ChangeFilter> {
    let namespace = fields.namespace_or_all("filter.namespace", &filter.namespace);
    let ports =
        filter.ports.map(|ports| fields.port_range("filter.ports", Some(ports))).transpose();
    let service = fields.short_text("filter.service_name", &filter.service_name);
    let service = fold(service?).into_owned();
    Ok(ChangeFilter {
        namespace: namespace?,
        ports: ports?,
        service: (!service.is_empty()).then_some(service),
        ..ChangeFilter::default()
    })
}

/// The most port ranges that are checked together.
const MAX_CHECKED_RANGES: usize = 100;

/// Port ranges to check, each separately.
pub fn check(
    fields: &mut Fields,
    request: &proto::CheckPortRequest,
) -> Parsed<Vec<ProposedRegistration>> {
    let template = |ports| proto::RegisterPortRequest {
        namespace: request.namespace.clone(),
        service_name: request.service_name.clone(),
        ports,
        transports: request.transports.clone(),
        pool: request.pool.clone(),
        acknowledge: request.acknowledge.clone(),
        ..proto::RegisterPortRequest::default()
    };
    fields.batch_size("ports", request.ports.len(), MAX_CHECKED_RANGES)?;
    let first = proposed(fields, &template(Some(proto::PortRange { first: Some(1), last: None })));
    let ports: Vec<_> = (0..)
        .zip(&request.ports)
        .map(|(index, ports): (usize, _)| {
            fields.port_range(&format!("ports[{index}]"), Some(*ports))
        })
        .collect();
    let ports = ports.into_iter().collect::<Parsed<Vec<_>>>()?;
    let mut first = first?;
    first.service_name = first.service_name.filter(|name| !name.is_empty());
    fields.port_count("ports", ports.iter().map(|ports| (*ports, first.transports.len())))?;
    Ok(ports.into_iter().map(|ports| ProposedRegistration { ports, ..first.clone() }).collect())
}

/// Registrations to check together.
pub fn check_batch(
    fields: &mut Fields,
    requests: &[proto::RegisterPortRequest],
) -> Parsed<Vec<ProposedRegistration>> {
    fields.batch_size("requests", requests.len(), MAX_REGISTRATIONS)?;
    let proposed: Vec<_> = requests
        .iter()
        .enumerate()
        .map(|(index, one)| {
            fields.within(&format!("requests[{index}]"), |fields| proposed(fields, one))
        })
        .collect();
    let proposed = proposed.into_iter().collect::<Parsed<Vec<_>>>()?;
    let requested = proposed.iter().map(|one| (one.ports, one.transports.len()));
    fields.port_count("requests", requested)?;
    Ok(proposed)
}

fn proposed(
    fields: &mut Fields,
    request: &proto::RegisterPortRequest,
) -> Parsed<ProposedRegistration> {
    let namespace = fields.namespace("namespace", &request.namespace);
    let name = fields.parsed("service_name", Text::<128>::parse(request.service_name.as_str()));
    let ports = fields.port_range("ports", request.ports);
    let transports = fields.transports_to_register("transports", &request.transports);
    let pool = fields.optional("pool", &request.pool);
    let acknowledge = fields.acknowledge("acknowledge", &request.acknowledge);
    Ok(ProposedRegistration {
        namespace: namespace?,
        service_name: Some(name?.as_str().to_owned()),
        ports: ports?,
        transports: transports?,
        pool: pool?,
        acknowledge: acknowledge?,
    })
}
