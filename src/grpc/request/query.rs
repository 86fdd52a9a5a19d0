//! Questions: filters, moments of the past, and wishes to be judged.

use std::collections::BTreeSet;

use jiff::Timestamp;

use crate::grpc::fields::{Fields, MAX_REGISTRATIONS, Noted, Read};
use crate::grpc::proto;
use crate::registry::assignment::Revision;
use crate::registry::decide::dry_run::ProposedRegistration;
use crate::registry::list::Filter;
use crate::registry::service_name::fold;
use crate::registry::text::Text;
use crate::store::history::ChangeFilter;

/// A moment of the past.
#[derive(Clone, Copy, Debug)]
pub enum AsOf {
    /// After this revision.
    Revision(Revision),
    /// After all that was committed until then.
    Time(Timestamp),
}

/// When to look; now if nothing is said.
pub fn as_of(fields: &mut Fields, as_of: Option<proto::AsOf>) -> Read<Option<AsOf>> {
    let Some(proto::AsOf { moment }) = as_of else { return Ok(None) };
    match moment {
        Some(proto::as_of::Moment::Revision(number)) => Ok(Some(AsOf::Revision(Revision(number)))),
        Some(proto::as_of::Moment::Time(time)) => {
            fields.time("as_of.time", time).map(|time| Some(AsOf::Time(time)))
        }
        None => Err(fields.fault("as_of", "has no moment: a revision or a time is asked for")),
    }
}

/// Which records to list.
pub fn filter(fields: &mut Fields, filter: proto::AssignmentFilter) -> Read<Filter> {
    let namespace = fields.namespaces("filter.namespace", &filter.namespace);
    let sources = each(&filter.sources, |number| fields.source("filter.sources", number));
    let states = each(&filter.states, |number| fields.state("filter.states", number));
    let transports =
        each(&filter.transports, |number| fields.transport("filter.transports", number));
    let ports =
        filter.ports.map(|ports| fields.port_range("filter.ports", Some(ports))).transpose();
    let prefix = fields.short("filter.service_name_prefix", &filter.service_name_prefix);
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

/// The values of a list, each once however often it is given.
fn each<T: Ord>(numbers: &[i32], read: impl FnMut(i32) -> Result<T, Noted>) -> Read<BTreeSet<T>> {
    numbers.iter().copied().map(read).collect()
}

/// Which changes to tell.
pub fn change_filter(fields: &mut Fields, filter: proto::ChangeFilter) -> Read<ChangeFilter> {
    let namespace = fields.namespaces("filter.namespace", &filter.namespace);
    let ports =
        filter.ports.map(|ports| fields.port_range("filter.ports", Some(ports))).transpose();
    let transport = fields.transport("filter.transport", filter.transport);
    let service = fields.short("filter.service_name", &filter.service_name);
    let uid = fields.optional("filter.uid", &filter.uid);
    let actor = fields.text::<63>("filter.actor", filter.actor);
    let kinds = each(&filter.kinds, |number| fields.change_kind("filter.kinds", number));
    let start = filter.start_time.map(|time| fields.time("filter.start_time", time)).transpose();
    let end = filter.end_time.map(|time| fields.time("filter.end_time", time)).transpose();
    if let (Ok(Some(start)), Ok(Some(end))) = (start, end)
        && end <= start
    {
        fields.fault("filter.end_time", "is not after start_time");
    }
    let given = |text: &str| (!text.is_empty()).then(|| text.to_owned());
    Ok(ChangeFilter {
        namespace: namespace?,
        with_settings: false,
        ports: ports?,
        transport: transport?,
        service: given(&fold(service?)),
        uid: uid?,
        actor: given(actor?.as_str()),
        kinds: kinds?,
        start_time: start?,
        end_time: end?,
    })
}

/// Which changes of assignments to watch.
pub fn watch_filter(fields: &mut Fields, filter: &proto::WatchFilter) -> Read<ChangeFilter> {
    let namespace = fields.namespaces("filter.namespace", &filter.namespace);
    let ports =
        filter.ports.map(|ports| fields.port_range("filter.ports", Some(ports))).transpose();
    let service = fields.short("filter.service_name", &filter.service_name);
    let service = fold(service?).into_owned();
    Ok(ChangeFilter {
        namespace: namespace?,
        ports: ports?,
        service: (!service.is_empty()).then_some(service),
        ..ChangeFilter::default()
    })
}

/// The most runs of ports that are checked together.
const MAX_CHECKED: usize = 100;

/// Runs of ports that somebody thinks of, each a wish of its own.
pub fn check(
    fields: &mut Fields,
    request: &proto::CheckPortRequest,
) -> Read<Vec<ProposedRegistration>> {
    let template = |ports| proto::RegisterPortRequest {
        namespace: request.namespace.clone(),
        service_name: request.service_name.clone(),
        ports,
        transports: request.transports.clone(),
        pool: request.pool.clone(),
        acknowledge: request.acknowledge.clone(),
        ..proto::RegisterPortRequest::default()
    };
    fields.batch("ports", request.ports.len(), MAX_CHECKED)?;
    let first = wish(fields, &template(Some(proto::PortRange { first: Some(1), last: None })));
    let ports: Vec<_> = (0..)
        .zip(&request.ports)
        .map(|(place, ports): (usize, _)| {
            fields.port_range(&format!("ports[{place}]"), Some(*ports))
        })
        .collect();
    let ports = ports.into_iter().collect::<Read<Vec<_>>>()?;
    let mut first = first?;
    first.service_name = first.service_name.filter(|name| !name.is_empty());
    fields.judged("ports", ports.iter().map(|ports| (*ports, first.transports.len())))?;
    Ok(ports.into_iter().map(|ports| ProposedRegistration { ports, ..first.clone() }).collect())
}

/// Registrations that somebody thinks of.
pub fn wishes(
    fields: &mut Fields,
    requests: &[proto::RegisterPortRequest],
) -> Read<Vec<ProposedRegistration>> {
    fields.batch("requests", requests.len(), MAX_REGISTRATIONS)?;
    let wishes: Vec<_> = requests
        .iter()
        .enumerate()
        .map(|(place, one)| {
            fields.within(&format!("requests[{place}]"), |fields| wish(fields, one))
        })
        .collect();
    let wishes = wishes.into_iter().collect::<Read<Vec<_>>>()?;
    let asked = wishes.iter().map(|one| (one.ports, one.transports.len()));
    fields.judged("requests", asked)?;
    Ok(wishes)
}

fn wish(fields: &mut Fields, request: &proto::RegisterPortRequest) -> Read<ProposedRegistration> {
    let namespace = fields.namespace("namespace", &request.namespace);
    let name = fields.take("service_name", Text::<128>::parse(request.service_name.as_str()));
    let ports = fields.port_range("ports", request.ports);
    let transports = fields.transports_to_take("transports", &request.transports);
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
