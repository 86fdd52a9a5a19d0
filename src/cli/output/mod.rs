//! How answers are written: a table for people, JSON and CSV for programs.
//!
//! Nothing that came from a registry reaches a terminal with its control characters.

pub(super) mod bar;
pub(super) mod change;
pub(super) mod enum_names;
pub(super) mod finding;
pub(super) mod guide;
pub(super) mod record;
pub(super) mod resource;
pub(super) mod table;

use std::io::{self, IsTerminal, Write};
use std::path::Path;

use clap::ValueEnum;
use serde_json::Value;

use super::{Error, ExitStatus};
use crate::grpc::proto;

/// How an answer is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(super) enum Format {
    /// For people.
    Table,
    /// One JSON value.
    Json,
    /// One JSON object a line.
    Jsonl,
    /// A header, and a row for each record.
    Csv,
}

/// Something that can be written in each form.
pub(super) trait View {
    /// For people.
    fn table(&self) -> String;

    /// For programs: an object for each thing.
    fn objects(&self) -> Vec<Value>;

    /// For spreadsheets: objects without objects in them, all with the same fields.
    fn csv_rows(&self) -> Vec<Value> {
        self.objects()
    }

    /// A row of nothing, whose fields are the header where there are no rows.
    fn empty_row(&self) -> Value {
        record::object(&proto::Assignment::default())
    }

    /// The whole as one JSON value.
    fn json(&self) -> Value {
        Value::Array(self.objects())
    }
}

/// Writes an answer to stdout.
pub(super) fn show(format: Format, view: &impl View) -> Result<ExitStatus, Error> {
    let form = |fault: serde_json::Error| Error::Format(fault.into());
    let text = match format {
        Format::Table => view.table(),
        Format::Json => serde_json::to_string_pretty(&view.json()).map_err(form)? + "\n",
        Format::Jsonl => view.objects().iter().map(|object| object.to_string() + "\n").collect(),
        Format::Csv => {
            csv(&view.csv_rows(), &view.empty_row()).map_err(|fault| Error::Format(fault.into()))?
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
    let bytes = writer.into_inner().map_err(|fault| fault.into_error())?;
    Ok(String::from_utf8_lossy(&bytes).into_owned())
}

/// A value as one cell: lists with commas, labels as `key=value` with semicolons.
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

/// Writes text to stdout.
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

/// How a command has ended whose answer is empty if nothing was found, which people are told.
pub(super) fn found_status(is_found: bool) -> ExitStatus {
    if !is_found {
        notice("nothing found");
    }
    ExitStatus::found(is_found)
}

/// Says something beside the answer, on stderr.
pub(super) fn notice(text: &str) {
    // With stderr gone there is nobody left to tell.
    let _ = writeln!(io::stderr(), "{}", clean(text));
}

/// A path as a word of a command line.
pub(super) fn quoted(path: &Path) -> String {
    let text = path.to_string_lossy();
    let is_plain = |c: char| c.is_alphanumeric() || "/._-+:@%=,".contains(c);
    if !text.is_empty() && text.chars().all(is_plain) {
        return text.into_owned();
    }
    format!("'{}'", text.replace('\'', r"'\''"))
}

/// The text in one line, without what could take over a terminal: control characters, and those
/// that turn the direction of writing.
pub(super) fn clean(text: &str) -> String {
    let harmless = |c: char| match c {
        '\t' | '\n' | '\r' => ' ',
        '\u{61c}' | '\u{200e}' | '\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2066}'..='\u{2069}' => {
            '\u{fffd}'
        }
        c if c.is_control() => '\u{fffd}',
        c => c,
    };
    text.chars().map(harmless).collect()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_path_is_one_word() {
        let word = |path| quoted(Path::new(path));
        assert_eq!(word("/var/lib/portbook.db"), "/var/lib/portbook.db");
        assert_eq!(word("Tom's $HOME.db"), r"'Tom'\''s $HOME.db'");
        assert_eq!(word(""), "''");
    }

    #[test]
    fn control_characters_are_taken_out() {
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
