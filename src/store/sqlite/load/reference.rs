//! Reads the reference: IANA's records, the common uses and the guides.

use std::collections::HashMap;

use serde::Deserialize;
use sqlx::sqlite::SqliteConnection;

use crate::registry::assignment::{Assignment, IanaColumns, Origin, Source, State, Uid};
use crate::registry::details::Details;
use crate::registry::guide::{Encryption, Guide};
use crate::registry::port::{Port, PortRange, Transport};
use crate::store::StoreError;
use crate::store::sqlite::interner::TextInterner;
use crate::store::sqlite::row::or_corrupt;

// The large tables are read as JSON, a thousand records per row: the driver's cost per row would
// double the time of a start.

/// An IANA record, with the columns in the order of the select below.
#[derive(Deserialize)]
struct IanaRow {
    ordinal: u32,
    service_name: Option<String>,
    port_number: Option<String>,
    transport: Option<String>,
    description: Option<String>,
    assignee: Option<String>,
    contact: Option<String>,
    registration_date: Option<String>,
    modification_date: Option<String>,
    reference: Option<String>,
    service_code: Option<String>,
    unauthorized_use_reported: Option<String>,
    assignment_notes: Option<String>,
    first_port: Option<i64>,
    last_port: Option<i64>,
    state: String,
}

/// The number of records read at a time.
const CHUNK: u32 = 1024;

/// IANA's records, in the registry's order.
pub(in crate::store::sqlite) async fn iana(
    connection: &mut SqliteConnection,
) -> Result<Vec<Assignment>, StoreError> {
    let last =
        sqlx::query_scalar!(r#"select coalesce(max(ordinal), 0) as "last!: u32" from iana_record"#)
            .fetch_one(&mut *connection)
            .await?;
    let mut shared = TextInterner::default();
    let mut same_keys = HashMap::new();
    let mut assignments: Vec<Assignment> = Vec::new();
    let mut chunk = iana_chunk(connection, 0).await?;
    for after in (0..last).step_by(CHUNK as usize) {
        // The database reads the next chunk, on its own thread, while this one is parsed.
        let (next, parsed) = tokio::join!(iana_chunk(connection, after + CHUNK), async {
            let rows: Vec<IanaRow> = or_corrupt(serde_json::from_str(&chunk))?;
            rows.into_iter()
                .map(|row| iana_assignment(row, &mut shared, &mut same_keys))
                .collect::<Result<Vec<_>, _>>()
        });
        assignments.extend(parsed?);
        chunk = next?;
    }
    Ok(assignments)
}

/// The records after an ordinal, at most one chunk.
async fn iana_chunk(connection: &mut SqliteConnection, after: u32) -> Result<String, StoreError> {
    let last = after + CHUNK;
    Ok(sqlx::query_scalar!(
        r#"select json_group_array(json_array(ordinal, service_name, port_number, transport,
             description, assignee, contact, registration_date, modification_date, reference,
             service_code, unauthorized_use_reported, assignment_notes, first_port, last_port,
             state) order by ordinal) as "chunk!: String"
           from iana_record where ordinal > ? and ordinal <= ?"#,
        after,
        last
    )
    .fetch_one(connection)
    .await?)
}

type IanaKey = (String, String, Option<Transport>);

fn iana_assignment(
    row: IanaRow,
    shared: &mut TextInterner,
    same_keys: &mut HashMap<IanaKey, usize>,
) -> Result<Assignment, StoreError> {
    let name = row.service_name.unwrap_or_default();
    let port_number = row.port_number.unwrap_or_default();
    let transport = transport_from(row.transport.as_deref())?;
    let service_name = (!name.is_empty()).then(|| shared.intern(Some(&name)));
    let published_as_range = port_number.contains('-');
    let key = (name, port_number, transport);
    let earlier = same_keys.get(&key).copied().unwrap_or_default();
    let uid = Uid::fixed(Source::Iana, &key.0, &key.1, transport, earlier);
    same_keys.insert(key, earlier + 1);
    Ok(Assignment {
        uid,
        service_name,
        ports: ports_from(row.first_port, row.last_port)?,
        transport,
        state: state_from(&row.state)?,
        details: Details {
            description: shared.intern(row.description.as_deref()),
            assignee: shared.intern(row.assignee.as_deref()),
            contact: shared.intern(row.contact.as_deref()),
            reference: shared.intern(row.reference.as_deref()),
            assignment_notes: shared.intern(row.assignment_notes.as_deref()),
            // Fields that IANA's registry does not have.
            ..Details::default()
        },
        origin: Origin::Iana(IanaColumns {
            ordinal: row.ordinal,
            published_as_range,
            aliases: Vec::new(),
            registration_date: shared.intern(row.registration_date.as_deref()),
            modification_date: shared.intern(row.modification_date.as_deref()),
            service_code: shared.intern(row.service_code.as_deref()),
            unauthorized_use_reported: shared.intern(row.unauthorized_use_reported.as_deref()),
        }),
    })
}

#[derive(Deserialize)]
struct CommonRow {
    ordinal: u32,
    service_name: String,
    first_port: i64,
    last_port: i64,
    transport: String,
    description: String,
    reference: Option<String>,
}

/// The common uses.
pub(in crate::store::sqlite) async fn common(
    connection: &mut SqliteConnection,
) -> Result<Vec<Assignment>, StoreError> {
    let rows = sqlx::query_scalar!(
        r#"select json_group_array(json_array(ordinal, service_name, first_port, last_port,
             transport, description, reference) order by ordinal) as "rows!: String"
           from common_use"#
    )
    .fetch_one(connection)
    .await?;
    let rows: Vec<CommonRow> = or_corrupt(serde_json::from_str(&rows))?;
    rows.into_iter().map(common_assignment).collect()
}

fn common_assignment(row: CommonRow) -> Result<Assignment, StoreError> {
    let ports = ports_from(Some(row.first_port), Some(row.last_port))?;
    let transport = transport_from(Some(&row.transport))?;
    let port_number = ports.map(|ports| ports.to_string()).unwrap_or_default();
    Ok(Assignment {
        uid: Uid::fixed(Source::Common, &row.service_name, &port_number, transport, 0),
        origin: Origin::Common { ordinal: row.ordinal },
        service_name: Some(row.service_name.into()),
        ports,
        transport,
        state: State::Unlisted,
        details: Details {
            description: row.description.into(),
            reference: row.reference.map(Into::into).unwrap_or_default(),
            ..Details::default()
        },
    })
}

#[derive(Deserialize)]
struct GuideRow {
    guide_id: String,
    title: String,
    full_name: String,
    summary: String,
    category: String,
    encryption: String,
    use_instead: Option<String>,
    aliases: Vec<String>,
    service_names: Vec<String>,
}

/// The guides.
pub(in crate::store::sqlite) async fn guides(
    connection: &mut SqliteConnection,
) -> Result<Vec<Guide>, StoreError> {
    let rows = sqlx::query_scalar!(
        r#"select json_group_array(json_array(
             guide_id, title, full_name, summary, category, encryption, use_instead,
             (select json_group_array(alias order by alias)
                from guide_alias where guide_alias.guide_id = guide.guide_id),
             (select json_group_array(service_name order by service_name)
                from guide_service where guide_service.guide_id = guide.guide_id))
             order by guide_id) as "rows!: String"
           from guide"#
    )
    .fetch_one(connection)
    .await?;
    let rows: Vec<GuideRow> = or_corrupt(serde_json::from_str(&rows))?;
    rows.into_iter()
        .map(|row| {
            Ok(Guide {
                id: row.guide_id.into(),
                title: row.title,
                full_name: row.full_name,
                summary: row.summary,
                category: row.category,
                encryption: encryption_from(&row.encryption)?,
                use_instead: row.use_instead.unwrap_or_default(),
                aliases: row.aliases,
                service_names: row.service_names,
            })
        })
        .collect()
}

fn ports_from(first: Option<i64>, last: Option<i64>) -> Result<Option<PortRange>, StoreError> {
    let (Some(first), Some(last)) = (first, last) else {
        return Ok(None);
    };
    let port = |number: i64| or_corrupt(u16::try_from(number)).map(Port::new);
    or_corrupt(PortRange::new(port(first)?, port(last)?)).map(Some)
}

fn transport_from(name: Option<&str>) -> Result<Option<Transport>, StoreError> {
    name.map(|name| or_corrupt(name.parse())).transpose()
}

fn state_from(name: &str) -> Result<State, StoreError> {
    State::from_name(name).ok_or_else(|| StoreError::Corrupt(format!("state {name:?}")))
}

fn encryption_from(name: &str) -> Result<Encryption, StoreError> {
    match name {
        "NONE" => Ok(Encryption::None),
        "STARTTLS" => Ok(Encryption::StartTls),
        "TLS" => Ok(Encryption::Tls),
        "OWN" => Ok(Encryption::BuiltIn),
        other => Err(StoreError::Corrupt(format!("encryption {other:?}"))),
    }
}
