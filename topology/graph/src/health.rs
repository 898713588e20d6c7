//! Whether a link can carry traffic, from what is wanted and what was seen.

use pergola_model::{Link, View};

/// What is known of a link the site wants.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum LinkHealth {
    /// Seen, and up.
    Up,
    /// Not seen yet. It counts as usable, so that a fabric that just started has paths; a port that is down or a neighbour
    /// that turns out to be another one takes it out.
    Unseen,
    /// Discovery says it is down, or one of its ports is.
    Down,
    /// Another neighbour was seen at one of its ends.
    Miscabled,
    /// One of its ports is switched off by the site.
    Disabled,
}

impl LinkHealth {
    /// Judges one link by everything the View has on it.
    pub fn of(view: &View, link: &Link) -> LinkHealth {
        let ends = link.id.ends();
        if ends.iter().any(|end| view.port(end).is_some_and(|port| !port.enabled)) {
            return LinkHealth::Disabled;
        }
        if ends.iter().any(|end| view.cabling_fault(end).is_some()) {
            return LinkHealth::Miscabled;
        }
        if ends.iter().any(|end| view.port_state(end).is_some_and(|state| !state.oper_up)) {
            return LinkHealth::Down;
        }
        match view.link_state(&link.id) {
            Some(state) if state.up => LinkHealth::Up,
            Some(_) => LinkHealth::Down,
            None => LinkHealth::Unseen,
        }
    }

    /// Whether paths may use the link.
    pub fn is_usable(self) -> bool {
        matches!(self, LinkHealth::Up | LinkHealth::Unseen)
    }
}
