//! CSV: the first line is the header; its separator is detected.

use super::columns::count;
use super::table::{Row, Table, TableError};

/// Parses the text as one table.
pub(super) fn table(text: &str) -> Result<Table, TableError> {
    let first = text.lines().find(|line| !line.trim().is_empty()).unwrap_or_default();
    // The separator with the most known headers; the default is a comma.
    let known_headers = |separator: u8| {
        let rows = rows(first, separator).unwrap_or_default();
        rows.first().map_or(0, |row| count(&row.cells))
    };
    let separator = b"\t;,".iter().copied().max_by_key(|&separator| known_headers(separator));
    let separator = separator.unwrap_or(b',');
    if let Some(line) = open_quote(text, separator) {
        return Err(TableError::OpenQuote(line));
    }
    let mut rows = rows(text, separator)?.into_iter();
    let header = rows.next().ok_or(TableError::Empty)?;
    Ok(Table { header, rows: rows.collect() })
}

/// The rows with at least one non-empty cell.
fn rows(text: &str, separator: u8) -> Result<Vec<Row>, csv::Error> {
    let mut reader = csv::ReaderBuilder::new()
        .delimiter(separator)
        .has_headers(false)
        .flexible(true)
        .trim(csv::Trim::All)
        .from_reader(text.as_bytes());
    let mut rows = Vec::new();
    let (mut counted, mut line) = (0, 1);
    for record in reader.records() {
        let record = record?;
        let begin = record.position().map_or(counted, |position| position.byte() as usize);
        // The position of a record is before the empty lines above it.
        let blank = text[begin..].bytes().take_while(|&byte| byte == b'\n').count();
        line += text[counted..begin + blank].matches('\n').count();
        counted = begin + blank;
        let cells: Vec<String> = record.iter().map(String::from).collect();
        if cells.iter().any(|cell| !cell.is_empty()) {
            rows.push(Row { line, cells });
        }
    }
    Ok(rows)
}

/// The line of an unclosed quote. The CSV reader would read the rest of the file as one cell.
fn open_quote(text: &str, separator: u8) -> Option<usize> {
    let mut bytes = text.bytes().peekable();
    let (mut line, mut opened, mut at_start) = (1, None, true);
    while let Some(byte) = bytes.next() {
        line += usize::from(byte == b'\n');
        if opened.is_some() {
            if byte == b'"' && bytes.next_if_eq(&b'"').is_none() {
                opened = None;
            }
        } else if byte == b'"' && at_start {
            opened = Some(line);
        }
        at_start = opened.is_none() && (byte == separator || byte == b'\n');
    }
    opened
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn parse(text: &str) -> Vec<(usize, Vec<String>)> {
        let table = table(text).unwrap();
        let rows = std::iter::once(table.header).chain(table.rows);
        rows.map(|row| (row.line, row.cells)).collect()
    }

    fn row(line: usize, cells: &[&str]) -> (usize, Vec<String>) {
        (line, cells.iter().map(|&cell| cell.to_owned()).collect())
    }

    #[test]
    fn separator_is_detected_from_the_header() {
        for separator in [",", ";", "\t"] {
            let text = "Port|Service|Notes\n9100|etcd|a\n".replace('|', separator);
            assert_eq!(
                parse(&text),
                [row(1, &["Port", "Service", "Notes"]), row(2, &["9100", "etcd", "a"])]
            );
        }
        // Commas in cells do not make the comma the separator.
        assert_eq!(parse("Port;Service;Notes\n1, 2;etcd;a\n")[1], row(2, &["1, 2", "etcd", "a"]));
    }

    #[test]
    fn line_numbers_are_those_of_the_starts_of_rows() {
        let text = "\n\nPort,Service,Notes\n\n9100,etcd,\"two\nlines\"\n,,\n\n9101,x\n";
        assert_eq!(
            parse(text),
            [
                row(3, &["Port", "Service", "Notes"]),
                row(5, &["9100", "etcd", "two\nlines"]),
                row(9, &["9101", "x"]),
            ]
        );
    }

    #[test]
    fn an_unclosed_quote_is_an_error() {
        let error = |text| table(text).unwrap_err().to_string();
        assert_eq!(error("Port,Service\n9100,\"etcd\n9101,x\n"), "unclosed quote on line 2");
        for text in ["Port,Service\n9100,3.5\" disk\n", "Port,Service\n9100,\"a \"\"b\"\"\"\n"] {
            assert_eq!(parse(text).len(), 2);
        }
    }

    proptest! {
        #[test]
        fn parsing_never_panics(text in "[ a-z0-9,;\t\"\n|\u{fc}]{0,80}") {
            let _ = table(&text);
        }

        #[test]
        fn writing_and_parsing_csv_are_inverse(
            cells in proptest::collection::vec("[a-z\"\n,;\u{fc}][ a-z\"\n,;]{0,8}[a-z,;]", 1..8),
        ) {
            let mut writer = csv::Writer::from_writer(Vec::new());
            writer.write_record(["Port", "Service"]).unwrap();
            for cell in &cells {
                writer.write_record(["1", cell.as_str()]).unwrap();
            }
            let text = String::from_utf8(writer.into_inner().unwrap()).unwrap();
            let mut line = 2;
            let expected = cells.iter().map(|cell| {
                let row = row(line, &["1", cell.trim()]);
                line += 1 + cell.matches('\n').count();
                row
            });
            let expected: Vec<_> = expected.collect();
            prop_assert_eq!(&parse(&text)[1..], expected);
        }
    }
}
