//! Markdown: GitHub's pipe tables, with their cells as plain text.

use super::table::{Row, Table};

/// The tables of the text, except those in fenced code blocks.
pub(super) fn tables(text: &str) -> Vec<Table> {
    let mut tables = Vec::new();
    let mut lines = text.lines().zip(1..).peekable();
    let mut fence = None;
    while let Some((line, number)) = lines.next() {
        let marker = ["```", "~~~"].into_iter().find(|fence| line.trim_start().starts_with(fence));
        match (fence, marker) {
            (None, Some(_)) => fence = marker,
            (Some(open), Some(marker)) if open == marker => fence = None,
            _ => {}
        }
        if fence.is_some() || !line.contains('|') {
            continue;
        }
        let header = Row { line: number, cells: cells(line) };
        let is_table = |(next, _): &(&str, usize)| is_delimiter(next, header.cells.len());
        if lines.next_if(is_table).is_none() {
            continue;
        }
        let mut rows = Vec::new();
        while let Some((line, number)) = lines.next_if(|(line, _)| line.contains('|')) {
            let cells = cells(line);
            if cells.iter().any(|cell| !cell.is_empty()) {
                rows.push(Row { line: number, cells });
            }
        }
        tables.push(Table { header, rows });
    }
    tables
}

/// Whether the line is a delimiter row: `|---|:-:|`.
fn is_delimiter(line: &str, width: usize) -> bool {
    let is_dashes = |cell: &String| {
        let dashes = cell.strip_prefix(':').unwrap_or(cell);
        let dashes = dashes.strip_suffix(':').unwrap_or(dashes);
        !dashes.is_empty() && dashes.bytes().all(|byte| byte == b'-')
    };
    let cells = split(line);
    line.contains('|') && cells.len() == width && cells.iter().all(is_dashes)
}

fn cells(line: &str) -> Vec<String> {
    split(line).iter().map(|cell| plain(cell)).collect()
}

/// The cells of a line in Markdown; `\|` does not end a cell.
fn split(line: &str) -> Vec<String> {
    let line = line.trim();
    let line = line.strip_prefix('|').unwrap_or(line);
    let mut cells = vec![String::new()];
    let mut characters = line.chars().peekable();
    while let Some(character) = characters.next() {
        if character == '|' && characters.peek().is_none() {
            break;
        }
        if character == '|' {
            cells.push(String::new());
        } else if let Some(cell) = cells.last_mut() {
            let is_escaped = character == '\\' && characters.next_if_eq(&'|').is_some();
            cell.push(if is_escaped { '|' } else { character });
        }
    }
    cells.into_iter().map(|cell| cell.trim().to_owned()).collect()
}

/// Removes the markup: code, links, strong emphasis, line breaks and escapes.
fn plain(cell: &str) -> String {
    let mut text = String::with_capacity(cell.len());
    let mut is_code = false;
    let mut rest = cell;
    while let Some(character) = rest.chars().next() {
        let after = &rest[character.len_utf8()..];
        rest = match character {
            '`' => {
                is_code = !is_code;
                after
            }
            _ if is_code => {
                text.push(character);
                after
            }
            '\\' if after.starts_with(|c: char| c.is_ascii_punctuation()) => {
                text.push_str(&after[..1]);
                &after[1..]
            }
            '*' if after.starts_with('*') => &after[1..],
            '<' if line_break(after).is_some() => {
                text.push(' ');
                line_break(after).unwrap_or(after)
            }
            '[' => match link(after) {
                Some((label, after)) => {
                    text.push_str(&plain(label));
                    after
                }
                None => {
                    text.push(character);
                    after
                }
            },
            _ => {
                text.push(character);
                after
            }
        };
    }
    text.trim().to_owned()
}

/// The text after an HTML line break whose `<` was read.
fn line_break(text: &str) -> Option<&str> {
    let (tag, after) = text.split_once('>')?;
    tag.trim_end_matches('/').trim().eq_ignore_ascii_case("br").then_some(after)
}

/// The label of a link whose `[` was read, and the text after the link.
fn link(text: &str) -> Option<(&str, &str)> {
    let (label, target) = text.split_once("](")?;
    let (_, after) = target.split_once(')')?;
    (!label.contains('[')).then_some((label, after))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn markup_is_removed_from_cells() {
        for (cell, text) in [
            ("`kube-apiserver`", "kube-apiserver"),
            ("[etcd](https://etcd.io/docs)", "etcd"),
            ("[`etcd`](https://etcd.io) and [x]", "etcd and [x]"),
            ("**9100**", "9100"),
            ("9100<br>9101<br/>9102<BR />9103", "9100 9101 9102 9103"),
            (r"node\_exporter \\ `a\b`", r"node_exporter \ a\b"),
            ("a < b", "a < b"),
            ("[a](b", "[a](b"),
            ("", ""),
        ] {
            assert_eq!(plain(cell), text, "{cell}");
        }
    }

    #[test]
    fn a_table_ends_with_its_last_row() {
        let text = "\
Intro with a | in it.

 Port | Process
:-----|:-------:
 9100 | a \\| b
| 9101 | c ||
|||
no row
| 9102 | d |

```
| Port | Process |
|------|---------|
| 1    | code    |
```
";
        let tables = tables(text);
        assert_eq!(tables.len(), 1);
        assert_eq!(tables[0].header, Row { line: 3, cells: vec!["Port".into(), "Process".into()] });
        let row = |line, cells: &[&str]| Row {
            line,
            cells: cells.iter().map(|&cell| cell.to_owned()).collect(),
        };
        assert_eq!(tables[0].rows, [row(5, &["9100", "a | b"]), row(6, &["9101", "c", ""])]);
    }

    #[test]
    fn delimiter_row_has_as_many_cells_as_the_header() {
        assert!(tables("| a | b |\n|---|\n| 1 | 2 |\n").is_empty());
        assert!(tables("| a | b |\n| 1 | 2 |\n").is_empty());
        assert!(tables("| a |\n").is_empty());
    }

    proptest! {
        #[test]
        fn parsing_never_panics(text in "[ a-z0-9`~|:\\-\\\\\\[\\]()<>*/\n\u{fc}]{0,80}") {
            tables(&text);
            cells(&text);
        }
    }
}
