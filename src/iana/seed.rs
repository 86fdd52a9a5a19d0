//! Generates the migration that seeds a database with IANA's file.

use std::fmt::Write;

use super::{IanaError, IanaRecord, edition, read};
use crate::registry::reference::Edition;

const ROWS_PER_INSERT: usize = 500;

/// The migration for this file. Equal files produce equal migrations.
///
/// # Errors
/// If the file is not IANA's registry.
pub fn seed_sql(file: &[u8]) -> Result<String, IanaError> {
    let records = read(file)?;
    let Edition { iana_date: date, iana_sha256: sha256 } = edition(file, &records);
    let mut sql = format!(
        "-- Generated, not to be edited. IANA's Service Name and Transport Protocol Port Number Registry.\n\
         --\n\
         -- source   service-names-port-numbers.csv, as the crate port-desc 0.1.1 ships it (public domain, CC0 1.0)\n\
         -- date     {date}, the newest date in the file\n\
         -- records  {}\n\
         -- sha256   {sha256}\n\
         -- command  cargo run -- generate-seed tests/fixtures/service-names-port-numbers-{date}.csv > migrations/0002_iana_seed.sql\n\n\
         insert into registry (id, iana_date, iana_sha256) values (1, '{date}', '{sha256}');\n",
        records.len(),
    );
    for (chunk, rows) in records.chunks(ROWS_PER_INSERT).enumerate() {
        sql.push_str("\ninsert into iana_record values\n");
        for (row, record) in rows.iter().enumerate() {
            let end = if row + 1 == rows.len() { ";" } else { "," };
            push_row(&mut sql, chunk * ROWS_PER_INSERT + row + 1, record);
            sql.push_str(end);
            sql.push('\n');
        }
    }
    Ok(sql)
}

fn push_row(sql: &mut String, ordinal: usize, record: &IanaRecord) {
    let _ = write!(sql, "({ordinal}");
    for column in record.columns() {
        sql.push_str(", ");
        if column.is_empty() {
            sql.push_str("null");
        } else {
            let _ = write!(sql, "'{}'", column.replace('\'', "''"));
        }
    }
    let _ = match record.ports() {
        Some(ports) => write!(sql, ", {}, {}", ports.first(), ports.last()),
        None => write!(sql, ", null, null"),
    };
    let _ = write!(sql, ", '{}')", record.state().name());
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_seed_migration_equals_the_generated_one() {
        let file = include_bytes!("../../tests/fixtures/service-names-port-numbers-2024-06-12.csv");
        let seed = include_str!("../../migrations/0002_iana_seed.sql");
        assert!(seed_sql(file).unwrap() == seed, "regenerate it with the command in its header");
    }
}
