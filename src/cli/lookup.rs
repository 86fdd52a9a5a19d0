//! `portbook lookup`: the records of a port, a service or an endpoint.

use clap::Args;
use prost::Message;
use serde_json::{Value, json};

use super::args::{AsOfArgs, NamespaceArgs, OutputArgs, ReadArgs};
use super::details;
use super::output::table::Columns;
use super::output::{self, enum_names, guide, record, table};
use super::parse::LookupKey;
use super::session::Session;
use super::{Error, ExitStatus};
use crate::grpc::details::DetailedMessage;
use crate::grpc::{convert, proto};
use crate::registry::details::TextField;

/// The arguments of `portbook lookup`.
#[derive(Args, Debug)]
pub(super) struct LookupArgs {
    /// A port (443, 443/tcp), a service (https, domain/udp) or an endpoint (192.0.2.1:80,
    /// [2001:db8::1]:443, db.example.com:postgresql, :22, https://example.com).
    #[arg(required = true, value_name = "KEY")]
    keys: Vec<LookupKey>,
    #[command(flatten)]
    namespace: NamespaceArgs,
    #[command(flatten)]
    as_of: AsOfArgs,
    #[command(flatten)]
    read: ReadArgs,
    #[command(flatten)]
    output: OutputArgs,
}

/// The result of one key.
#[derive(Debug, Default)]
struct LookupResult {
    query: String,
    /// The port, its class and its state; `None` for a service name.
    port: Option<(u32, i32, i32)>,
    assignments: Vec<proto::Assignment>,
    guides: Vec<proto::Guide>,
}

impl LookupArgs {
    pub(super) async fn run(self) -> Result<ExitStatus, Error> {
        let session = Session::open(&self.read).await?;
        let mut results = Vec::with_capacity(self.keys.len());
        for key in &self.keys {
            let result = lookup(&session, key, &self.namespace.namespace, self.as_of.as_of).await;
            results.push(match result {
                Err(error) if error.is_unknown_service() => {
                    output::notice(&format!("portbook: {}", error.report()));
                    LookupResult { query: query(key), ..LookupResult::default() }
                }
                result => result?,
            });
        }
        let is_found = results.iter().all(LookupResult::is_service);
        output::show(self.output.output, &LookupResults(results))?;
        Ok(ExitStatus::found(is_found))
    }
}

fn query(key: &LookupKey) -> String {
    match key {
        LookupKey::Port(port, None) => port.to_string(),
        LookupKey::Port(port, Some(transport)) => format!("{port}/{transport}"),
        LookupKey::Name(name, None) => name.clone(),
        LookupKey::Name(name, Some(transport)) => format!("{name}/{transport}"),
        LookupKey::Endpoint(endpoint) => endpoint.clone(),
    }
}

async fn lookup(
    session: &Session,
    key: &LookupKey,
    namespace: &str,
    as_of: Option<proto::AsOf>,
) -> Result<LookupResult, Error> {
    let (query, namespace) = (query(key), namespace.to_owned());
    let port_info = match key {
        LookupKey::Name(name, transport) => {
            let request = proto::LookupServiceRequest {
                service_name: name.clone(),
                transport: convert::transport(*transport).into(),
                namespace,
                as_of,
            };
            let response = session.send(request).await?;
            let proto::LookupServiceResponse { assignments, guides, .. } = response;
            return Ok(LookupResult { query, port: None, assignments, guides });
        }
        LookupKey::Port(port, transport) => {
            let request = proto::LookupPortRequest {
                port: Some(port.number().into()),
                transport: convert::transport(*transport).into(),
                namespace,
                as_of,
            };
            session.send(request).await?.port_info
        }
        LookupKey::Endpoint(endpoint) => {
            if as_of.is_some() {
                let message = format!(
                    "--as-of does not support endpoints: look up the port of {endpoint} instead"
                );
                return Err(Error::Usage(message));
            }
            let request = proto::LookupEndpointRequest { endpoint: endpoint.clone(), namespace };
            session.send(request).await?.port_info
        }
    };
    let info = proto::PortInfo::decode(port_info)?;
    Ok(LookupResult {
        query,
        port: Some((info.port, info.port_class, info.state)),
        assignments: info.assignments,
        guides: info.guide.into_iter().chain(info.more_guides).collect(),
    })
}

impl LookupResult {
    fn is_service(&self) -> bool {
        self.assignments.iter().any(|record| {
            !record.service_name.is_empty() || record.state == i32::from(proto::State::Assigned)
        })
    }

    fn object(&self) -> Value {
        json!({
            "query": self.query,
            "port": self.port.map(|(port, ..)| port),
            "port_class": self.port.and_then(|(_, class, _)| enum_names::name_of::<proto::PortClass>(class)),
            "state": self.port.and_then(|(.., state)| enum_names::name_of::<proto::State>(state)),
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
        let state = enum_names::name_of::<proto::State>(state).map(str::to_ascii_lowercase);
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
        let details = self.assignments.iter().filter_map(other_fields).collect::<String>();
        let guides = guide::paragraphs(&self.guides);
        let gap = if guides.is_empty() { "" } else { "\n" };
        format!("{heading}{records}{details}{gap}{guides}")
    }
}

/// The fields of a registration that the table does not show.
fn other_fields(record: &proto::Assignment) -> Option<String> {
    if record.source() != proto::Source::Custom {
        return None;
    }
    let labels = record.labels.iter().map(|(key, value)| format!("{key}={value}"));
    let texts = TextField::ALL.into_iter().filter(|&field| !details::is_table_column(field));
    let texts = texts.map(|field| (details::display_name(field), record.text(field).to_owned()));
    let fields = [
        ("pool", record.pool.clone()),
        ("instance", record.instance.clone()),
        ("expires", record.expire_time.map(|time| time.to_string()).unwrap_or_default()),
        ("labels", labels.collect::<Vec<_>>().join(" ")),
        ("created", record.create_time.map(|time| time.to_string()).unwrap_or_default()),
        ("uid", record.uid.clone()),
    ];
    let fields = texts.chain(fields).filter(|(_, value)| !value.is_empty());
    let lines = fields.map(|(name, value)| format!("  {name:10}{}\n", output::clean(&value)));
    let transport = enum_names::transport(record.transport()).unwrap_or_default();
    let ports = table::ports(record.ports);
    Some(format!(
        "\n{} {ports}/{transport}\n{}",
        output::clean(&record.service_name),
        lines.collect::<String>()
    ))
}

struct LookupResults(Vec<LookupResult>);

impl output::View for LookupResults {
    fn table(&self) -> String {
        let texts = self.0.iter().map(LookupResult::text).filter(|text| !text.is_empty());
        texts.collect::<Vec<_>>().join("\n")
    }

    fn objects(&self) -> Vec<Value> {
        self.0.iter().map(LookupResult::object).collect()
    }

    fn csv_rows(&self) -> Vec<Value> {
        self.0.iter().flat_map(|result| record::objects(&result.assignments)).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn heading_shows_the_port_unless_the_query_does() {
        let heading = |query: &str| {
            let port = Some((443, proto::PortClass::System.into(), proto::State::Assigned.into()));
            LookupResult { query: query.into(), port, ..LookupResult::default() }.heading().unwrap()
        };
        assert_eq!(heading("443"), "443 · System Port · assigned\n");
        assert_eq!(heading("443/tcp"), "443/tcp · System Port · assigned\n");
        assert_eq!(heading("a.b:https"), "a.b:https · 443 · System Port · assigned\n");
    }

    #[test]
    fn details_of_a_registration_show_pool_and_expiry() {
        let record = proto::Assignment {
            source: proto::Source::Custom.into(),
            service_name: "billing".into(),
            pool: "web".into(),
            instance: "blue".into(),
            expire_time: Some(prost_types::Timestamp::default()),
            ..proto::Assignment::default()
        };
        assert_eq!(
            other_fields(&record).unwrap(),
            "\nbilling -/\n  pool      web\n  instance  blue\n  expires   1970-01-01T00:00:00Z\n"
        );
    }

    #[test]
    fn a_reserved_port_is_not_a_service() {
        let record = |name: &str, state: proto::State| proto::Assignment {
            service_name: name.into(),
            state: state.into(),
            ..proto::Assignment::default()
        };
        let is_service =
            |assignments| LookupResult { assignments, ..LookupResult::default() }.is_service();
        assert!(!is_service(vec![]));
        assert!(!is_service(vec![record("", proto::State::Reserved)]));
        assert!(is_service(vec![record("", proto::State::Assigned)]));
        assert!(is_service(vec![record("elasticsearch", proto::State::Unlisted)]));
    }
}
