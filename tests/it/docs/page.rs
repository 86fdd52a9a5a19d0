//! Pages of the documentation: their console blocks, and their links.
//!
//! A console block is a list of commands, each after `$ `, with the lines that it prints. A line that
//! begins with `> ` continues the command before it. `...` stands for any lines. `^C` stands for the
//! interrupt key: the command runs until it has printed the lines before.

use std::fs;
use std::path::{Path, PathBuf};

/// A command of a console block, and what the page shows as its output.
#[derive(Debug)]
pub struct Step {
    /// The line of its first `$ `, counted from 0.
    pub line: usize,
    pub command: String,
    pub output: Vec<String>,
    /// The lines of the output in the page, the end excluded.
    pub output_lines: std::ops::Range<usize>,
}

/// A page, by lines.
pub struct Page {
    pub path: PathBuf,
    pub lines: Vec<String>,
}

impl Page {
    pub fn read(path: &str) -> Self {
        let path = root().join(path);
        let text = fs::read_to_string(&path).unwrap();
        Self { path, lines: text.lines().map(str::to_owned).collect() }
    }

    /// The commands of all console blocks, in order.
    pub fn steps(&self) -> Vec<Step> {
        let mut steps: Vec<Step> = Vec::new();
        let mut is_in_console = false;
        for (number, line) in self.lines.iter().enumerate() {
            if let Some(language) = line.strip_prefix("```") {
                is_in_console = language == "console";
                continue;
            }
            if !is_in_console {
                continue;
            }
            if let Some(command) = line.strip_prefix("$ ") {
                let next = number + 1;
                let command = command.to_owned();
                steps.push(Step {
                    line: number,
                    command,
                    output: Vec::new(),
                    output_lines: next..next,
                });
                continue;
            }
            let step =
                steps.last_mut().unwrap_or_else(|| panic!("{}: no command", self.at(number)));
            match line.strip_prefix("> ") {
                Some(more) if step.output.is_empty() => {
                    step.command = format!("{}\n{more}", step.command);
                    step.output_lines = number + 1..number + 1;
                }
                _ => {
                    step.output.push(line.clone());
                    step.output_lines.end = number + 1;
                }
            }
        }
        for step in &mut steps {
            // The blank line between two commands of a block is not output.
            if step.output.last().is_some_and(String::is_empty) {
                step.output.pop();
                step.output_lines.end -= 1;
            }
        }
        steps
    }

    /// Where a line is, as editors accept it.
    pub fn at(&self, line: usize) -> String {
        format!("{}:{}", self.path.display(), line + 1)
    }

    /// The targets of its links, each with its line.
    pub fn links(&self) -> Vec<(usize, String)> {
        let link = regex::Regex::new(r"\]\(([^)\s]+)\)").unwrap();
        let mut links = Vec::new();
        let mut is_in_block = false;
        for (number, line) in self.lines.iter().enumerate() {
            if line.starts_with("```") {
                is_in_block = !is_in_block;
            } else if !is_in_block {
                links.extend(link.captures_iter(line).map(|found| (number, found[1].to_owned())));
            }
        }
        links
    }

    /// The anchors of its headings, as GitHub makes them.
    pub fn anchors(&self) -> Vec<String> {
        let mut is_in_block = false;
        let mut anchors = Vec::new();
        for line in &self.lines {
            if line.starts_with("```") {
                is_in_block = !is_in_block;
            } else if line.starts_with('#') && !is_in_block {
                let heading = line.trim_start_matches('#').trim().to_lowercase();
                let kept = heading.chars().filter(|c| c.is_alphanumeric() || " -_".contains(*c));
                anchors.push(kept.collect::<String>().replace(' ', "-"));
            }
        }
        anchors
    }
}

/// The root of the repository.
pub fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

/// Every page of the documentation, by its path from the root.
pub fn all() -> Vec<String> {
    let names = |folder: &str| {
        let entries = fs::read_dir(root().join(folder)).unwrap();
        let names = entries.map(|entry| entry.unwrap().file_name().into_string().unwrap());
        names
            .filter(|name| Path::new(name).extension() == Some("md".as_ref()))
            .map(|name| Path::new(folder).join(name))
            .collect()
    };
    let mut pages: Vec<PathBuf> = names("");
    pages.extend::<Vec<_>>(names("docs"));
    pages.sort();
    pages.into_iter().map(|path| path.to_str().unwrap().to_owned()).collect()
}
