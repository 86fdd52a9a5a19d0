//! docs/cli.md, generated from the definitions of the commands.

use std::collections::BTreeMap;
use std::fmt::Write;

use clap::{Arg, Command, CommandFactory};
use portbook::cli::Cli;

use super::assert_generated;

/// A flag that so many commands share is described once.
const SHARED_BY: usize = 6;

/// The commands that do something, each with its words after `portbook`.
fn commands(command: &Command, words: &str) -> Vec<(String, Command)> {
    let visible =
        command.get_subcommands().filter(|sub| !sub.is_hide_set() && sub.get_name() != "help");
    let mut found = Vec::new();
    for sub in visible {
        let words = format!("{words} {}", sub.get_name()).trim_start().to_owned();
        if sub.has_subcommands() {
            found.extend(commands(sub, &words));
        } else {
            found.push((words, sub.clone()));
        }
    }
    found
}

/// A row of a table of flags.
fn flag(arg: &Arg) -> String {
    let mut name = arg.get_long().map_or_else(String::new, |long| format!("--{long}"));
    if let Some(short) = arg.get_short() {
        name = format!("-{short}, {name}");
    }
    if arg.get_action().takes_values() {
        let value = arg.get_value_names().and_then(|names| names.first());
        write!(name, " {}", value.map_or("VALUE", |value| value.as_str())).unwrap();
    }
    let variable =
        arg.get_env().map_or_else(String::new, |name| format!("`{}`", name.to_str().unwrap()));
    let hides_default = arg.is_hide_default_value_set() || !arg.get_action().takes_values();
    let defaults = arg.get_default_values().iter().map(|value| value.to_str().unwrap());
    let defaults: Vec<_> = defaults.filter(|value| !hides_default && !value.is_empty()).collect();
    let default =
        if defaults.is_empty() { String::new() } else { format!("`{}`", defaults.join(",")) };
    format!("| `{name}` | {variable} | {default} | {}{} |", help(arg), choices(arg))
}

/// What an argument is for, as one line of a table.
fn help(arg: &Arg) -> String {
    let help =
        arg.get_long_help().or_else(|| arg.get_help()).map(ToString::to_string).unwrap_or_default();
    help.split_whitespace().collect::<Vec<_>>().join(" ").replace('|', "\\|")
}

/// The values that an argument may have, where there are few.
fn choices(arg: &Arg) -> String {
    if !arg.get_action().takes_values() {
        return String::new();
    }
    let values = arg.get_possible_values();
    let names: Vec<_> = values
        .iter()
        .filter(|value| !value.is_hide_set())
        .map(|value| format!("`{}`", value.get_name()))
        .collect();
    if names.is_empty() { String::new() } else { format!(". One of {}", names.join(", ")) }
}

fn is_documented(arg: &Arg) -> bool {
    !arg.is_hide_set() && !["help", "version"].contains(&arg.get_id().as_str())
}

fn reference() -> String {
    const HEAD: &str = "| flag | variable | default | |\n|---|---|---|---|";
    let mut cli = Cli::command();
    cli.build();
    let commands = commands(&cli, "");
    let mut uses: BTreeMap<String, usize> = BTreeMap::new();
    for (_, command) in &commands {
        for arg in command.get_arguments().filter(|arg| is_documented(arg) && !arg.is_positional())
        {
            *uses.entry(flag(arg)).or_default() += 1;
        }
    }
    let is_shared = |row: &String| uses[row] >= SHARED_BY;
    let mut page = String::from(
        "# Commands\n\nGenerated from the definitions of the commands; `portbook COMMAND --help` prints the same. A flag\ntakes precedence over its variable.\n",
    );
    writeln!(page, "\n```text\n{}\n```", cli.get_after_help().unwrap()).unwrap();
    writeln!(page, "\n## Shared flags\n\nFlags that mean the same in many commands.\n\n{HEAD}")
        .unwrap();
    for row in uses.keys().filter(|row| is_shared(row)) {
        writeln!(page, "{row}").unwrap();
    }
    for (words, mut command) in commands {
        let about = command.get_long_about().or_else(|| command.get_about()).unwrap().to_string();
        writeln!(page, "\n## portbook {words}\n\n{}", about.trim()).unwrap();
        let positional: Vec<_> = command.get_positionals().cloned().collect();
        let flags: Vec<_> = command
            .get_arguments()
            .filter(|arg| is_documented(arg) && !arg.is_positional())
            .cloned()
            .collect();
        let usage = command.render_usage().to_string();
        let usage = usage.trim_start_matches("Usage:").trim();
        writeln!(page, "\n```text\n{usage}\n```").unwrap();
        if !positional.is_empty() {
            writeln!(page).unwrap();
        }
        for arg in positional {
            let name = arg.get_value_names().and_then(|names| names.first()).unwrap().to_string();
            writeln!(page, "- `{name}`: {}{}", help(&arg), choices(&arg)).unwrap();
        }
        let (shared, separate): (Vec<_>, Vec<_>) =
            flags.iter().partition(|arg| is_shared(&flag(arg)));
        if !separate.is_empty() {
            writeln!(page, "\n{HEAD}").unwrap();
        }
        for arg in separate {
            writeln!(page, "{}", flag(arg)).unwrap();
        }
        if !shared.is_empty() {
            let names = shared.iter().map(|arg| format!("`--{}`", arg.get_long().unwrap()));
            writeln!(page, "\nShared flags: {}.", names.collect::<Vec<_>>().join(", ")).unwrap();
        }
    }
    page
}

#[test]
fn the_command_page_is_generated_from_the_commands() {
    assert_generated("docs/cli.md", None, &reference());
}
