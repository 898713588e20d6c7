//! A cable between two switches, as the site wants it.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::ids::LinkId;
use crate::resource::{Kind, Resource};

/// A link between two switches.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Link {
    pub id: LinkId,
}

impl Resource for Link {
    const KIND: Kind = Kind::Link;

    fn name(&self) -> String {
        self.id.to_string()
    }
}
