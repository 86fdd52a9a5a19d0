//! The documentation against the program: every console block is pasted into a shell, in order,
//! against a new server, and prints what the page shows; generated parts are those that the code
//! generates; every link leads somewhere.
//!
//! `UPDATE_DOCS=1 cargo test --test it docs::` writes what the program prints and generates into the
//! pages, to be reviewed like code.

mod api_reference;
mod cli_reference;
mod page;
mod shell;

use std::fs;
use std::path::Path;
use std::process::Command;

use self::page::{Page, Step, all, root};
use self::shell::Shell;

/// Pages that bring their own server, in their first block.
const WITH_OWN_SERVER: [&str; 1] = ["README.md"];
/// Programs that pages call, and that a machine may not have.
const OTHER_PROGRAMS: [&str; 4] = ["grpcurl", "sqlite3", "openssl", "jq"];

fn is_update() -> bool {
    std::env::var_os("UPDATE_DOCS").is_some()
}

/// Pastes the console blocks of a page. A page that calls a program that is not installed is
/// skipped, unless `PORTBOOK_TEST_ALL` is set.
fn paste(path: &str) {
    let page = Page::read(path);
    let steps = page.steps();
    let is_called =
        |program: &&str| steps.iter().any(|step| step.command.contains(&format!("{program} ")));
    let is_missing = |program: &&str| !is_installed(program);
    let missing: Vec<_> = OTHER_PROGRAMS.into_iter().filter(is_called).filter(is_missing).collect();
    if !missing.is_empty() {
        assert!(std::env::var_os("PORTBOOK_TEST_ALL").is_none(), "{path} needs {missing:?}");
        eprintln!("skipped: the console blocks of {path}: needs {}", missing.join(", "));
        return;
    }
    let mut shell =
        if WITH_OWN_SERVER.contains(&path) { Shell::new() } else { Shell::with_server() };
    shell.provide_docs();
    let mut lines = page.lines.clone();
    let mut added = 0isize;
    let mut wrong = Vec::new();
    for step in &steps {
        let interrupt = step.output.iter().position(|line| line.starts_with("^C"));
        let printed = shell.paste(&step.command, interrupt.map(|place| &step.output[..place]));
        if is_match(&step.output, &printed) {
            continue;
        }
        if is_update() {
            let shift =
                |line: usize| usize::try_from(isize::try_from(line).unwrap() + added).unwrap();
            let range = shift(step.output_lines.start)..shift(step.output_lines.end);
            let new = with_interrupt(step, interrupt, &printed);
            added += isize::try_from(new.len()).unwrap() - isize::try_from(range.len()).unwrap();
            lines.splice(range, new);
        } else {
            wrong.push(format!(
                "{}: $ {}\n--- the page shows:\n{}\n--- the program prints:\n{}\n",
                page.at(step.line),
                step.command,
                step.output.join("\n"),
                printed.join("\n")
            ));
        }
    }
    if is_update() {
        fs::write(&page.path, lines.join("\n") + "\n").unwrap();
    }
    assert!(wrong.is_empty(), "{}\nUPDATE_DOCS=1 writes what is printed", wrong.join("\n"));
}

/// The printed lines as the page shows them, the interrupt key included.
fn with_interrupt(step: &Step, interrupt: Option<usize>, printed: &[String]) -> Vec<String> {
    let mut lines = printed.to_vec();
    if interrupt.is_some() {
        let place = step.output.iter().take_while(|line| !line.starts_with("^C")).count();
        lines.insert(place.min(lines.len()), "^C".to_owned());
    }
    lines
}

/// Whether the lines are those of the page, where `...` stands for any lines, and times, uids,
/// secrets and durations may differ.
fn is_match(shown: &[String], printed: &[String]) -> bool {
    let shown: Vec<String> = shown
        .iter()
        .map(|line| line.strip_prefix("^C").unwrap_or(line))
        .filter(|line| !line.is_empty())
        .map(same_everywhere)
        .collect();
    let printed: Vec<String> =
        printed.iter().filter(|line| !line.is_empty()).map(|line| same_everywhere(line)).collect();
    matches(&shown, &printed)
}

fn matches(shown: &[String], printed: &[String]) -> bool {
    match (shown, printed) {
        ([], printed) => printed.is_empty(),
        ([any, rest @ ..], printed) if any == "..." => {
            (0..=printed.len()).any(|skipped| matches(rest, &printed[skipped..]))
        }
        ([line, rest @ ..], [other, others @ ..]) => line == other && matches(rest, others),
        (_, []) => false,
    }
}

/// A line without what differs from run to run.
fn same_everywhere(line: &str) -> String {
    let mut line = line.to_owned();
    for (pattern, name) in [
        (r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d+)?Z", "TIME"),
        (r"[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}", "UID"),
        (r"pbk_[A-Za-z0-9_.-]+", "SECRET"),
        (r"\d+\.\d+ s\b", "DURATION"),
        (r"\d+ bytes", "SIZE"),
    ] {
        line = regex::Regex::new(pattern).unwrap().replace_all(&line, name).into_owned();
    }
    line
}

fn is_installed(program: &str) -> bool {
    Command::new("sh")
        .args(["-c", &format!("command -v {program}")])
        .output()
        .unwrap()
        .status
        .success()
}

/// Compares a generated page, or the part of a page between its marks, with what is generated.
fn assert_generated(path: &str, part: Option<&str>, generated: &str) {
    let file = root().join(path);
    let text = fs::read_to_string(&file).unwrap_or_default();
    let expected = match part {
        None => generated.to_owned(),
        Some(part) => {
            let (begin, end) = (format!("<!-- generated: {part} -->\n"), "<!-- end -->");
            let (before, rest) =
                text.split_once(&begin).unwrap_or_else(|| panic!("{path}: no {begin}"));
            let (_, after) = rest.split_once(end).unwrap();
            format!("{before}{begin}\n{generated}\n{end}{after}")
        }
    };
    if is_update() {
        fs::write(file, expected).unwrap();
    } else {
        let first = text.lines().zip(expected.lines()).find(|(is, should)| is != should);
        assert!(
            text == expected,
            "{path} is not what the code generates, first here: {first:?}\nUPDATE_DOCS=1 writes it"
        );
    }
}

#[test]
fn readme_console_blocks_print_what_they_show() {
    paste("README.md");
}

#[test]
fn guide_console_blocks_print_what_they_show() {
    paste("docs/guide.md");
}

#[test]
fn import_console_blocks_print_what_they_show() {
    paste("docs/import.md");
}

#[test]
fn api_console_blocks_print_what_they_show() {
    paste("docs/api.md");
}

#[test]
fn operations_console_blocks_print_what_they_show() {
    paste("docs/operations.md");
}

#[test]
fn every_page_with_console_blocks_is_pasted() {
    let tested = include_str!("mod.rs");
    for path in all() {
        let has_steps = !Page::read(&path).steps().is_empty();
        assert!(!has_steps || tested.contains(&format!("paste(\"{path}\")")), "{path} has no test");
    }
}

#[test]
fn the_readme_is_a_front_page() {
    let length = Page::read("README.md").lines.len();
    assert!(length <= 200, "README.md has {length} lines: move some of them to docs/");
}

#[test]
fn every_link_leads_somewhere() {
    let mut links = 0;
    for path in all() {
        let page = Page::read(&path);
        for (line, link) in page.links() {
            let at = page.at(line);
            if link.starts_with("https://") {
                continue;
            }
            assert!(
                !link.contains("://") && !link.starts_with('/'),
                "{at}: {link} is not relative"
            );
            let (file, anchor) = link.split_once('#').unwrap_or((&link, ""));
            let target = match file {
                "" => page.path.clone(),
                file => page.path.parent().unwrap().join(file),
            };
            assert!(target.exists(), "{at}: {link} leads nowhere");
            if !anchor.is_empty() {
                let target = target.canonicalize().unwrap();
                let target = target.strip_prefix(root().canonicalize().unwrap()).unwrap();
                let anchors = Page::read(target.to_str().unwrap()).anchors();
                assert!(anchors.iter().any(|known| known == anchor), "{at}: no heading for {link}");
            }
            links += 1;
        }
    }
    assert!(links > 20, "{links} links were found");
}

#[test]
fn shell_blocks_are_valid_shell() {
    let mut blocks = 0;
    for path in all() {
        let text = fs::read_to_string(Path::new(root()).join(&path)).unwrap();
        for block in text.split("```sh\n").skip(1) {
            let block = block.split("```").next().unwrap();
            let checked = Command::new("bash").args(["-n", "-c", block]).output().unwrap();
            assert!(
                checked.status.success(),
                "{path}: {block}{}",
                String::from_utf8_lossy(&checked.stderr)
            );
            blocks += 1;
        }
    }
    assert!(blocks > 3, "{blocks} blocks were found");
}
