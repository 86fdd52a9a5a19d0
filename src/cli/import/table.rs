//! Tables: rows of cells with their line numbers, from CSV or Markdown.

use clap::ValueEnum;

use super::columns::{self, count, has_ports_and_services};
use super::{markdown, separated};

/// The format of the file.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(super) enum FileFormat {
    /// Detect the format.
    Auto,
    /// CSV with commas, semicolons or tabs.
    Csv,
    /// Markdown with a pipe table.
    Markdown,
}

/// A row, and the line on which it starts.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Row {
    pub(super) line: usize,
    pub(super) cells: Vec<String>,
}

/// A table.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Table {
    pub(super) header: Row,
    pub(super) rows: Vec<Row>,
}

/// Why no table can be read.
#[derive(Debug, thiserror::Error)]
pub(super) enum TableError {
    #[error("the file is empty")]
    Empty,
    #[error(
        "no table of registrations found: expected {expected} with a column for ports and a \
         column for service names; known columns: {}",
        columns::known()
    )]
    NotFound { expected: &'static str },
    #[error(
        "table {number} not found: the number of tables with columns for ports and service names \
         is {found}"
    )]
    TooFew { number: usize, found: usize },
    #[error("unclosed quote on line {0}")]
    OpenQuote(usize),
    #[error("invalid CSV")]
    Csv(#[from] csv::Error),
}

/// Reads the table with this number, from 1. Also returns the header lines of the other tables.
pub(super) fn read(
    text: &str,
    format: FileFormat,
    number: usize,
) -> Result<(Table, Vec<usize>), TableError> {
    if text.trim().is_empty() {
        return Err(TableError::Empty);
    }
    let mut tables = if format == FileFormat::Csv { Vec::new() } else { markdown::tables(text) };
    tables.retain(|table| has_ports_and_services(&table.header.cells) == (true, true));
    if tables.is_empty() && format != FileFormat::Markdown {
        let table = separated::table(text)?;
        // A header with at least one known column is accepted here, so that the error names the
        // missing columns.
        let is_header = format == FileFormat::Csv || count(&table.header.cells) > 0;
        tables.extend(is_header.then_some(table));
    }
    if tables.is_empty() {
        let expected = match format {
            FileFormat::Auto => "a Markdown table or CSV (commas, semicolons or tabs)",
            FileFormat::Csv => "CSV (commas, semicolons or tabs)",
            FileFormat::Markdown => "a Markdown table",
        };
        return Err(TableError::NotFound { expected });
    }
    let found = tables.len();
    if number > found {
        return Err(TableError::TooFew { number, found });
    }
    let table = tables.swap_remove(number - 1);
    let mut others: Vec<_> = tables.iter().map(|table| table.header.line).collect();
    others.sort_unstable();
    Ok((table, others))
}

#[cfg(test)]
mod tests {
    use super::*;

    const TWO: &str = "\
# Ports

| Key | Value |
|-----|-------|
| a   | b     |

| Port | Process |
|------|---------|
| 9100 | etcd    |

## UDP
| Port | Process |
|------|---------|
| 53   | dns     |
";

    #[test]
    fn reads_the_selected_table_and_returns_the_lines_of_the_others() {
        let (table, others) = read(TWO, FileFormat::Auto, 1).unwrap();
        assert_eq!(table.header.line, 7);
        assert_eq!(table.rows, [Row { line: 9, cells: vec!["9100".into(), "etcd".into()] }]);
        assert_eq!(others, [12]);
        let (table, others) = read(TWO, FileFormat::Markdown, 2).unwrap();
        assert_eq!((table.header.line, others), (12, vec![7]));
        let error = read(TWO, FileFormat::Auto, 3).unwrap_err().to_string();
        assert!(error.starts_with("table 3 not found") && error.ends_with("is 2"), "{error}");
    }

    #[test]
    fn a_missing_table_is_an_error_with_the_expected_format() {
        let error = |text, format| read(text, format, 1).unwrap_err().to_string();
        let message = error("Dear all,\nsee below.\n", FileFormat::Auto);
        assert!(message.contains("table or CSV") && message.contains("owning team"), "{message}");
        let message = error("Port,Service\n1,a\n", FileFormat::Markdown);
        assert!(message.contains("expected a Markdown table with"), "{message}");
        assert_eq!(error(" \n\n", FileFormat::Auto), "the file is empty");
    }

    #[test]
    fn an_incomplete_header_is_read() {
        let (table, _) = read("Port;Owner\n1;a\n", FileFormat::Auto, 1).unwrap();
        assert_eq!(table.header.cells, ["Port", "Owner"]);
    }
}
