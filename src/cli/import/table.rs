//! Tables: rows of cells with the lines they stand on, from CSV or from Markdown.

use clap::ValueEnum;

use super::columns::{self, count, names};
use super::{markdown, separated};

/// How a table is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(super) enum Form {
    /// As it looks.
    Auto,
    /// With commas, semicolons or tabs.
    Csv,
    /// A pipe table.
    Markdown,
}

/// Cells, and the line on which they begin.
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

/// Why there is no table.
#[derive(Debug, thiserror::Error)]
pub(super) enum TableError {
    #[error("there is nothing in it")]
    Empty,
    #[error(
        "no table of registrations is found: looked for {looked_for} with a column for ports and \
         one for service names; known columns are {}",
        columns::known()
    )]
    None { looked_for: &'static str },
    #[error("there is no table {asked}: {found} have a column for ports and one for service names")]
    Fewer { asked: usize, found: usize },
    #[error("the quote that opens on line {0} is never closed")]
    OpenQuote(usize),
    #[error("the CSV can't be read")]
    Csv(#[from] csv::Error),
}

/// The table with this number, from 1, and the lines on which the others begin.
pub(super) fn read(
    text: &str,
    form: Form,
    number: usize,
) -> Result<(Table, Vec<usize>), TableError> {
    if text.trim().is_empty() {
        return Err(TableError::Empty);
    }
    let mut tables = if form == Form::Csv { Vec::new() } else { markdown::tables(text) };
    tables.retain(|table| names(&table.header.cells) == (true, true));
    if tables.is_empty() && form != Form::Markdown {
        let table = separated::table(text)?;
        // A header with only some of what is asked for is told what it lacks.
        let is_meant = form == Form::Csv || count(&table.header.cells) > 0;
        tables.extend(is_meant.then_some(table));
    }
    if tables.is_empty() {
        let looked_for = match form {
            Form::Auto => "a Markdown table, and for a first line with commas, semicolons or tabs,",
            Form::Csv => "a first line with commas, semicolons or tabs",
            Form::Markdown => "a Markdown table",
        };
        return Err(TableError::None { looked_for });
    }
    let found = tables.len();
    if number > found {
        return Err(TableError::Fewer { asked: number, found });
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
    fn the_first_table_of_registrations_is_read_and_the_others_are_told() {
        let (table, others) = read(TWO, Form::Auto, 1).unwrap();
        assert_eq!(table.header.line, 7);
        assert_eq!(table.rows, [Row { line: 9, cells: vec!["9100".into(), "etcd".into()] }]);
        assert_eq!(others, [12]);
        let (table, others) = read(TWO, Form::Markdown, 2).unwrap();
        assert_eq!((table.header.line, others), (12, vec![7]));
        let fault = read(TWO, Form::Auto, 3).unwrap_err().to_string();
        assert!(fault.starts_with("there is no table 3: 2 have"), "{fault}");
    }

    #[test]
    fn a_file_without_a_table_says_what_was_looked_for() {
        let fault = |text, form| read(text, form, 1).unwrap_err().to_string();
        let told = fault("Dear all,\nsee below.\n", Form::Auto);
        assert!(told.contains("Markdown table, and") && told.contains("owning team"), "{told}");
        assert!(fault("Port,Service\n1,a\n", Form::Markdown).contains("for a Markdown table with"));
        assert_eq!(fault(" \n\n", Form::Auto), "there is nothing in it");
    }

    #[test]
    fn a_header_that_lacks_something_is_a_header_all_the_same() {
        let (table, _) = read("Port;Owner\n1;a\n", Form::Auto, 1).unwrap();
        assert_eq!(table.header.cells, ["Port", "Owner"]);
    }
}
