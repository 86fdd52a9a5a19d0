//! Output: tables for people, JSON and CSV for programs.
//!
//! Control characters in registry data never reach a terminal.

pub(super) mod bar;
pub(super) mod change;
pub(super) mod enum_names;
pub(super) mod finding;
pub(super) mod guide;
pub(super) mod lists;
pub(super) mod record;
pub(super) mod table;

use std::io::{self, IsTerminal, Write};
use std::path::Path;

use clap::ValueEnum;
use serde_json::Value;

use super::{Error, ExitStatus};
use crate::grpc::proto;

/// An output format.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(super) enum Format {
    /// A table for people.
    Table,
    /// One JSON value.
    Json,
    /// One JSON object per line.
    Jsonl,
    /// CSV: a header and one row per record.
    Csv,
}

/// A result that can be printed in each format.
pub(super) trait View {
    /// The table or text for people.
    fn table(&self) -> String;

    /// One JSON object per item.
    fn objects(&self) -> Vec<Value>;

    /// The CSV rows: flat objects that all have the same fields.
    fn csv_rows(&self) -> Vec<Value> {
        self.objects()
    }

    /// An empty row: its fields are the CSV header if no rows exist.
    fn empty_row(&self) -> Value {
        record::object(&proto::Assignment::default())
    }

    /// The result as one JSON value.
    fn json(&self) -> Value {
        Value::Array(self.objects())
    }
}

/// Prints a view to stdout.
pub(super) fn show(format: Format, view: &impl View) -> Result<ExitStatus, Error> {
    let error = |error: serde_json::Error| Error::Format(error.into());
    let text = match format {
        Format::Table => view.table(),
        Format::Json => serde_json::to_string_pretty(&view.json()).map_err(error)? + "\n",
        Format::Jsonl => view.objects().iter().map(|object| object.to_string() + "\n").collect(),
        Format::Csv => {
            csv(&view.csv_rows(), &view.empty_row()).map_err(|error| Error::Format(error.into()))?
        }
    };
    print(&text)
}

fn csv(rows: &[Value], blank: &Value) -> Result<String, csv::Error> {
    let fields = |row: &Value| row.as_object().cloned().unwrap_or_default();
    let mut writer = csv::Writer::from_writer(Vec::new());
    writer.write_record(fields(rows.first().unwrap_or(blank)).keys())?;
    for row in rows {
        writer.write_record(fields(row).values().map(cell))?;
    }
    let bytes = writer.into_inner().map_err(|error| error.into_error())?;
    Ok(String::from_utf8_lossy(&bytes).into_owned())
}

/// A value as one CSV cell: lists joined by commas, labels as `key=value` joined by semicolons.
fn cell(value: &Value) -> String {
    match value {
        Value::Null => String::new(),
        Value::String(text) => text.clone(),
        Value::Array(items) => items.iter().map(cell).collect::<Vec<_>>().join(","),
        Value::Object(pairs) => {
            let pairs = pairs.iter().map(|(key, value)| format!("{key}={}", cell(value)));
            pairs.collect::<Vec<_>>().join(";")
        }
        Value::Bool(_) | Value::Number(_) => value.to_string(),
    }
}

/// Prints text to stdout.
pub(super) fn print(text: &str) -> Result<ExitStatus, Error> {
    let mut stdout = io::stdout().lock();
    let written = if stdout.is_terminal() {
        let lines: Vec<_> = text.split('\n').map(clean).collect();
        stdout.write_all(lines.join("\n").as_bytes())
    } else {
        stdout.write_all(text.as_bytes())
    };
    written.and_then(|()| stdout.flush()).map_err(Error::Output)?;
    Ok(ExitStatus::Success)
}

/// The exit status of a query. If it found nothing, prints a notice.
pub(super) fn found_status(is_found: bool) -> ExitStatus {
    if !is_found {
        notice("nothing found");
    }
    ExitStatus::found(is_found)
}

/// Prints a message for people to stderr.
pub(super) fn notice(text: &str) {
    // An error is ignored: if stderr is closed, it can't be reported.
    let _ = writeln!(io::stderr(), "{}", clean(text));
}

/// A path as one word of a shell command.
pub(super) fn quoted(path: &Path) -> String {
    let text = path.to_string_lossy();
    let is_plain = |c: char| c.is_alphanumeric() || "/._-+:@%=,".contains(c);
    if !text.is_empty() && text.chars().all(is_plain) {
        return text.into_owned();
    }
    format!("'{}'", text.replace('\'', r"'\''"))
}

/// The text on one line, without control characters and characters that change the writing
/// direction, which could manipulate a terminal.
pub(super) fn clean(text: &str) -> String {
    let replace = |c: char| match c {
        '\t' | '\n' | '\r' => ' ',
        '\u{61c}' | '\u{200e}' | '\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2066}'..='\u{2069}' => {
            '\u{fffd}'
        }
        c if c.is_control() => '\u{fffd}',
        c => c,
    };
    text.chars().map(replace).collect()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_path_is_quoted_as_one_shell_word() {
        let word = |path| quoted(Path::new(path));
        assert_eq!(word("/var/lib/portbook.db"), "/var/lib/portbook.db");
        assert_eq!(word("Tom's $HOME.db"), r"'Tom'\''s $HOME.db'");
        assert_eq!(word(""), "''");
    }

    #[test]
    fn control_characters_are_replaced() {
        let text = "a\u{1b}[31m\u{9b}b\u{7f}\u{202e}\r\n\tZürich";
        assert_eq!(clean(text), "a\u{fffd}[31m\u{fffd}b\u{fffd}\u{fffd}   Zürich");
    }

    #[test]
    fn csv_has_a_header_and_a_cell_for_each_value() {
        let row =
            json!({"b": null, "a": ["x", "y"], "l": {"k": "v", "m": ""}, "n": 7, "t": "1,\"2\""});
        assert_eq!(
            csv(&[row], &Value::Null).unwrap(),
            "b,a,l,n,t\n,\"x,y\",k=v;m=,7,\"1,\"\"2\"\"\"\n"
        );
        assert_eq!(csv(&[], &json!({"a": null, "b": null})).unwrap(), "a,b\n");
    }
}
