//! `portbook lookup`: what is on a port, where a service is, what an endpoint is.

use clap::Args;
use prost::Message;
use serde_json::{Value, json};

use super::args::{AsOfArgs, NamespaceArgs, OutputArgs, ReadArgs};
use super::output::table::Columns;
use super::output::{self, enum_names, guide, record, table};
use super::parse::LookupKey;
use super::session::Session;
use super::{Error, ExitStatus};
use crate::grpc::{convert, proto};

/// The arguments of `portbook lookup`.
#[derive(Args, Debug)]
pub(super) struct LookupArgs {
    /// A port (443, 443/tcp), a service (https, domain/udp) or an endpoint (192.0.2.1:80,
    /// [2001:db8::1]:443, db.example.com:postgresql, :22, https://example.com).
    #[arg(required = true)]
    what: Vec<LookupKey>,
    #[command(flatten)]
    namespace: NamespaceArgs,
    #[command(flatten)]
    as_of: AsOfArgs,
    #[command(flatten)]
    read: ReadArgs,
    #[command(flatten)]
    output: OutputArgs,
}

/// LookupKey is known of one thing that was asked for.
#[derive(Debug, Default)]
struct Found {
    query: String,
    /// The port, its class and its state, unless a service was asked for.
    port: Option<(u32, i32, i32)>,
    assignments: Vec<proto::Assignment>,
    guides: Vec<proto::Guide>,
}

impl LookupArgs {
    pub(super) async fn run(self) -> Result<ExitStatus, Error> {
        let session = Session::open(&self.read).await?;
        let mut all = Vec::with_capacity(self.what.len());
        for what in &self.what {
            let found = match ask(&session, what, &self.namespace.namespace, self.as_of.as_of).await
            {
                Err(error) if error.is_unknown_service() => {
                    output::notice(&format!("portbook: {}", error.report()));
                    Found { query: query(what), ..Found::default() }
                }
                answer => answer?,
            };
            all.push(found);
        }
        let is_found = all.iter().all(Found::is_service);
        output::show(self.output.output, &Answers(all))?;
        Ok(ExitStatus::found(is_found))
    }
}

fn query(what: &LookupKey) -> String {
    match what {
        LookupKey::Port(port, None) => port.to_string(),
        LookupKey::Port(port, Some(transport)) => format!("{port}/{transport}"),
        LookupKey::Name(name, None) => name.clone(),
        LookupKey::Name(name, Some(transport)) => format!("{name}/{transport}"),
        LookupKey::Endpoint(endpoint) => endpoint.clone(),
    }
}

async fn ask(
    session: &Session,
    what: &LookupKey,
    namespace: &str,
    as_of: Option<proto::AsOf>,
) -> Result<Found, Error> {
    let (query, namespace) = (query(what), namespace.to_owned());
    let mut registry = session.registry();
    let port_info = match what {
        LookupKey::Name(name, transport) => {
            let request = proto::LookupServiceRequest {
                service_name: name.clone(),
                transport: convert::transport(*transport).into(),
                namespace,
                as_of,
            };
            let answer = session.call(registry.lookup_service(request)).await?;
            let proto::LookupServiceResponse { assignments, guides, .. } = answer;
            return Ok(Found { query, port: None, assignments, guides });
        }
        LookupKey::Port(port, transport) => {
            let request = proto::LookupPortRequest {
                port: Some(port.number().into()),
                transport: convert::transport(*transport).into(),
                namespace,
                as_of,
            };
            session.call(registry.lookup_port(request)).await?.port_info
        }
        LookupKey::Endpoint(endpoint) => {
            if as_of.is_some() {
                let message = format!("an endpoint has no --as-of: ask for the port of {endpoint}");
                return Err(Error::Usage(message));
            }
            let request = proto::LookupEndpointRequest { endpoint: endpoint.clone(), namespace };
            session.call(registry.lookup_endpoint(request)).await?.port_info
        }
    };
    let info = proto::PortInfo::decode(port_info)?;
    Ok(Found {
        query,
        port: Some((info.port, info.port_class, info.state)),
        assignments: info.assignments,
        guides: info.guide.into_iter().chain(info.more_guides).collect(),
    })
}

impl Found {
    fn is_service(&self) -> bool {
        self.assignments.iter().any(|record| {
            !record.service_name.is_empty() || record.state == i32::from(proto::State::Assigned)
        })
    }

    fn object(&self) -> Value {
        json!({
            "query": self.query,
            "port": self.port.map(|(port, ..)| port),
            "port_class": self.port.and_then(|(_, class, _)| enum_names::port_class(class)),
            "state": self.port.and_then(|(.., state)| enum_names::state(state)),
            "assignments": record::objects(&self.assignments),
            "guides": self.guides.iter().map(guide::object).collect::<Vec<_>>(),
        })
    }

    /// `443 · System Port · assigned`.
    fn heading(&self) -> Option<String> {
        let (port, class, state) = self.port?;
        let class = match proto::PortClass::try_from(class).unwrap_or_default() {
            proto::PortClass::Unspecified => None,
            proto::PortClass::System => Some("System Port".to_owned()),
            proto::PortClass::User => Some("User Port".to_owned()),
            proto::PortClass::Dynamic => Some("Dynamic Port".to_owned()),
        };
        let state = enum_names::state(state).map(str::to_ascii_lowercase);
        let port = port.to_string();
        let is_plain = self.query.split('/').next() == Some(port.as_str());
        let port = (!is_plain).then_some(port);
        let parts = [Some(output::clean(&self.query)), port, class, state];
        Some(parts.into_iter().flatten().collect::<Vec<_>>().join(" · ") + "\n")
    }

    fn text(&self) -> String {
        let heading = self.heading().unwrap_or_default();
        let records = if self.assignments.is_empty() {
            String::new()
        } else {
            table::records(&self.assignments, Columns::default())
        };
        let own = self.assignments.iter().filter_map(details).collect::<String>();
        let guides = guide::paragraphs(&self.guides);
        let gap = if guides.is_empty() { "" } else { "\n" };
        format!("{heading}{records}{own}{gap}{guides}")
    }
}

/// LookupKey a table has no room for, of a registration: whom to ask, and what else was said.
fn details(record: &proto::Assignment) -> Option<String> {
    if record.source() != proto::Source::Custom {
        return None;
    }
    let labels = record.labels.iter().map(|(key, value)| format!("{key}={value}"));
    let facts = [
        ("contact", record.contact.clone()),
        ("reference", record.reference.clone()),
        ("notes", record.assignment_notes.clone()),
        ("pool", record.pool.clone()),
        ("instance", record.instance.clone()),
        ("lease", record.expire_time.map(|time| format!("until {time}")).unwrap_or_default()),
        ("labels", labels.collect::<Vec<_>>().join(" ")),
        ("since", record.create_time.map(|time| time.to_string()).unwrap_or_default()),
        ("uid", record.uid.clone()),
    ];
    let said = facts.into_iter().filter(|(_, fact)| !fact.is_empty());
    let lines = said.map(|(name, fact)| format!("  {name:10}{}\n", output::clean(&fact)));
    let transport = enum_names::transport(record.transport).unwrap_or_default();
    let ports = table::ports(record.ports);
    Some(format!(
        "\n{} {ports}/{transport}\n{}",
        output::clean(&record.service_name),
        lines.collect::<String>()
    ))
}

struct Answers(Vec<Found>);

impl output::View for Answers {
    fn table(&self) -> String {
        let texts = self.0.iter().map(Found::text).filter(|text| !text.is_empty());
        texts.collect::<Vec<_>>().join("\n")
    }

    fn objects(&self) -> Vec<Value> {
        self.0.iter().map(Found::object).collect()
    }

    fn csv_rows(&self) -> Vec<Value> {
        self.0.iter().flat_map(|found| record::objects(&found.assignments)).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_heading_names_the_port_where_the_query_does_not() {
        let heading = |query: &str| {
            let port = Some((443, proto::PortClass::System.into(), proto::State::Assigned.into()));
            Found { query: query.into(), port, ..Found::default() }.heading().unwrap()
        };
        assert_eq!(heading("443"), "443 · System Port · assigned\n");
        assert_eq!(heading("443/tcp"), "443/tcp · System Port · assigned\n");
        assert_eq!(heading("a.b:https"), "a.b:https · 443 · System Port · assigned\n");
    }

    #[test]
    fn the_details_of_a_registration_tell_its_pool_and_until_when_it_is_held() {
        let record = proto::Assignment {
            source: proto::Source::Custom.into(),
            service_name: "billing".into(),
            pool: "web".into(),
            instance: "blue".into(),
            expire_time: Some(prost_types::Timestamp::default()),
            ..proto::Assignment::default()
        };
        assert_eq!(
            details(&record).unwrap(),
            "\nbilling -/\n  pool      web\n  instance  blue\n  lease     until \
             1970-01-01T00:00:00Z\n"
        );
    }

    #[test]
    fn a_reserved_port_is_no_service() {
        let record = |name: &str, state: proto::State| proto::Assignment {
            service_name: name.into(),
            state: state.into(),
            ..proto::Assignment::default()
        };
        let is_service = |assignments| Found { assignments, ..Found::default() }.is_service();
        assert!(!is_service(vec![]));
        assert!(!is_service(vec![record("", proto::State::Reserved)]));
        assert!(is_service(vec![record("", proto::State::Assigned)]));
        assert!(is_service(vec![record("elasticsearch", proto::State::Unlisted)]));
    }
}
