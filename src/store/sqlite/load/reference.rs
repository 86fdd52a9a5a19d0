//! Reads the reference: IANA's records, the common uses and the guides.

use serde::Deserialize;
use sqlx::sqlite::SqliteConnection;

use crate::iana::Converter;
use crate::registry::assignment::{Assignment, Origin, Source, State, Uid};
use crate::registry::details::Details;
use crate::registry::guide::{Encryption, Guide};
use crate::registry::port::{Port, PortRange};
use crate::store::StoreError;
use crate::store::history::format::or_corrupt;

// The large tables are read as JSON, a thousand records per row: the driver's cost per row would
// double the time of a start.

/// The columns of an IANA record, in the order of the select below.
type IanaRow = [Option<String>; 12];

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
    let mut converter = Converter::default();
    let mut chunk = iana_chunk(connection, 0).await?;
    for after in (0..last).step_by(CHUNK as usize) {
        // The database reads the next chunk, on its own thread, while this one is converted.
        let (next, result) = tokio::join!(iana_chunk(connection, after + CHUNK), async {
            let rows: Vec<IanaRow> = or_corrupt(serde_json::from_str(&chunk))?;
            let mut records = rows.into_iter().map(|row| row.map(Option::unwrap_or_default).into());
            or_corrupt(records.try_for_each(|record| converter.push(record)))
        });
        result?;
        chunk = next?;
    }
    Ok(converter.finish())
}

/// The records after an ordinal, at most one chunk.
async fn iana_chunk(connection: &mut SqliteConnection, after: u32) -> Result<String, StoreError> {
    let last = after + CHUNK;
    Ok(sqlx::query_scalar!(
        r#"select json_group_array(json_array(service_name, port_number, transport,
             description, assignee, contact, registration_date, modification_date, reference,
             service_code, unauthorized_use_reported, assignment_notes) order by ordinal) as "chunk!: String"
           from iana_record where ordinal > ? and ordinal <= ?"#,
        after,
        last
    )
    .fetch_one(connection)
    .await?)
}

#[derive(Deserialize)]
struct CommonRow {
    ordinal: u32,
    service_name: String,
    first_port: u16,
    last_port: u16,
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
    let ports = or_corrupt(PortRange::new(Port::new(row.first_port), Port::new(row.last_port)))?;
    let transport = Some(or_corrupt(row.transport.parse())?);
    let port_number = ports.to_string();
    Ok(Assignment {
        uid: Uid::fixed(Source::Common, &row.service_name, &port_number, transport, 0),
        origin: Origin::Common { ordinal: row.ordinal },
        service_name: Some(row.service_name.into()),
        ports: Some(ports),
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

fn encryption_from(name: &str) -> Result<Encryption, StoreError> {
    match name {
        "NONE" => Ok(Encryption::None),
        "STARTTLS" => Ok(Encryption::StartTls),
        "TLS" => Ok(Encryption::Tls),
        "OWN" => Ok(Encryption::BuiltIn),
        other => Err(StoreError::Corrupt(format!("encryption {other:?}"))),
    }
}
