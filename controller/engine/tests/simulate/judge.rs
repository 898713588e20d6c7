//! What has to be so when the weather is calm.

use super::*;

impl World {
    pub(super) fn judge(&self) -> Vec<String> {
        let mut wrong: Vec<String> = Vec::new();
        let listing = self.store.listing(|_| true);
        let stored = listing.entries.iter().filter_map(|e| AnyResource::from_stored(&e.key, &e.value).ok());
        let view = View::from_resources(stored);
        let mut planner: Planner = Planner::new(pergola_fabric_apps::all());
        planner.plan_all(&view);
        for (name, switch) in &self.switches {
            wrong.extend(switch.broken.iter().map(|b| format!("{name}: {b}")));
            let wanted = node::wanted(&planner, name);
            if switch.held != wanted {
                let missing = wanted.keys().filter(|k| !switch.held.contains_key(k)).count();
                let foreign = switch.held.keys().filter(|k| !wanted.contains_key(k)).count();
                wrong.push(format!("{name} holds not the plan: {missing} missing, {foreign} too many"));
            }
            let masters: Vec<&Node> =
                self.nodes.iter().filter(|n| n.devices.get(name).is_some_and(|h| h.role.is_master())).collect();
            if masters.len() != 1 {
                let names: Vec<&str> = masters.iter().map(|n| n.name.as_str()).collect();
                wrong.push(format!("{name} has the masters {names:?}"));
            }
            for node in masters {
                let status = node.devices[name].device.status();
                if !status.in_sync {
                    wrong.push(format!("{} is not in sync with {name}: {status:?}", node.name));
                }
            }
            for node in &self.nodes {
                if node.devices.contains_key(name) && node.wanted(name) != wanted {
                    wrong.push(format!("{} wants something else of {name}", node.name));
                }
            }
        }
        for (n, there) in &self.acked {
            let key = route(*n, self.hop).key().to_string();
            if self.store.get(&key).is_some() != *there {
                wrong.push(format!("{key} was acknowledged and is not so"));
            }
        }
        wrong
    }
}
