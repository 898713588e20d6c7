//! The site file: parse, check, plan, export.
//!
//! [`parse`] reads a blueprint and gives checked intents, or every problem with its line and column. [`diff`] says what
//! applying them would change; [`export`] writes intents as a blueprint that means the same.
#![cfg_attr(test, allow(clippy::unwrap_used))]

mod defaults;
mod diff;
mod export;
mod form;
mod lower;
mod node;
mod problem;
mod read;
mod words;

use pergola_model::{AnyResource, View};

pub use diff::{IntentChange, diff};
pub use export::export;
pub use node::Mark;
pub use problem::{Problem, Problems};

/// A site as a file describes it: every intent, checked against the others.
#[derive(Debug, Clone, PartialEq)]
pub struct Blueprint {
    intents: Vec<AnyResource>,
}

impl Blueprint {
    /// In key order, kind by kind in the order in which kinds depend on one another.
    pub fn intents(&self) -> &[AnyResource] {
        &self.intents
    }

    pub fn into_intents(self) -> Vec<AnyResource> {
        self.intents
    }

    /// A View of the intents alone.
    pub fn view(&self) -> View {
        View::from_resources(self.intents.iter().cloned())
    }
}

/// Reads and checks a blueprint. All problems are reported, not only the first.
pub fn parse(text: &str) -> Result<Blueprint, Problems> {
    let node = node::Node::parse(text).map_err(|error| {
        let at = error.location().map_or(Mark { line: 1, column: 1 }, |location| Mark {
            line: u32::try_from(location.line()).unwrap_or(u32::MAX),
            column: u32::try_from(location.column()).unwrap_or(u32::MAX),
        });
        let (found, allowed) = match error.without_snippet() {
            serde_saphyr::Error::DuplicateMappingKey { key, .. } => {
                (key.clone().unwrap_or_else(|| "a key".into()), "each key of a map once".into())
            }
            // It ends in the position, which stands in front of ours.
            other => {
                let said = other.to_string();
                let said = said.split(" at line ").next().unwrap_or(&said).to_owned();
                (said, "a YAML document".into())
            }
        };
        Problems::new(vec![Problem { at, path: String::new(), found, allowed }], text)
    })?;
    let mut reader = read::Reader::default();
    let form = <form::BlueprintForm as read::Read>::read(&node, &mut reader);
    let mut problems = reader.problems;
    let mut intents = Vec::new();
    if let Some(form) = form {
        let (resources, more) = lower::Lowered::of(&form).finish();
        intents = resources;
        problems.extend(more);
    }
    if problems.is_empty() { Ok(Blueprint { intents }) } else { Err(Problems::new(problems, text)) }
}

/// The JSON Schema of a blueprint, as it is checked in at `topology/blueprint/schema/blueprint.schema.json`.
pub fn schema() -> String {
    let mut schema = schemars::schema_for!(form::BlueprintForm).to_value();
    schema["title"] = "Pergola blueprint".into();
    // Strings in the model, which YAML takes for numbers when they are written as one.
    for name in ["PortRange", "IpProto", "EthType"] {
        schema["$defs"][name]["type"] = serde_json::json!(["string", "integer"]);
    }
    let mut text = serde_json::to_string_pretty(&schema).unwrap_or_default();
    text.push('\n');
    text
}
