//! What is wrong with a file, said so that one can mend it.

use std::fmt;

use crate::node::Mark;

/// So much of a line is shown.
const SHOWN: usize = 160;

/// One thing that is wrong.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Problem {
    pub at: Mark,
    /// Where in the document: `ports.leaf1/3.tagged[1]`.
    pub path: String,
    pub found: String,
    pub allowed: String,
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Problem { at, path, found, allowed } = self;
        write!(f, "{}:{}: ", at.line, at.column)?;
        if !path.is_empty() {
            write!(f, "{path}: ")?;
        }
        write!(f, "found `{found}`, allowed: {allowed}")
    }
}

/// Everything that is wrong with one file, in the order of its lines.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Problems {
    list: Vec<Problem>,
    source: String,
}

impl Problems {
    pub(crate) fn new(mut list: Vec<Problem>, source: &str) -> Self {
        list.sort();
        list.dedup();
        Problems { list, source: source.to_owned() }
    }

    pub fn list(&self) -> &[Problem] {
        &self.list
    }

    /// All of it with the file's name and the lines in question.
    pub fn render(&self, file: &str) -> String {
        let mut out = String::new();
        for problem in &self.list {
            out.push_str(&format!("{file}:{problem}\n"));
            let line = usize::try_from(problem.at.line).unwrap_or(usize::MAX);
            if let Some(text) = line.checked_sub(1).and_then(|n| self.source.lines().nth(n)) {
                // Of a long line what is around.
                let column = problem.at.column.saturating_sub(1) as usize;
                let from = column.saturating_sub(SHOWN / 2);
                let text: String = text.chars().skip(from).take(SHOWN).collect();
                let indent: String =
                    text.chars().take(column - from).map(|c| if c == '\t' { '\t' } else { ' ' }).collect();
                out.push_str(&format!("{line:>5} | {text}\n      | {indent}^\n"));
            }
        }
        let s = if self.list.len() == 1 { "" } else { "s" };
        out.push_str(&format!("{} problem{s}; nothing was changed\n", self.list.len()));
        out
    }
}

impl fmt::Display for Problems {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.render("blueprint").trim_end())
    }
}

impl std::error::Error for Problems {}
