//! Between controllers and switches: calls, answers and streams, which are late, cut or lost.

use super::*;

impl World {
    pub(super) fn held(&mut self, node: usize, name: &SwitchName) -> Option<&mut Held> {
        self.nodes[node].devices.get_mut(name)
    }

    /// One call or message to a switch.
    pub(super) fn carry_out(&mut self, node: usize, name: &SwitchName, output: Output) {
        let life = self.nodes[node].life;
        match output {
            Output::Connect => {
                let conn = self.next_conn;
                self.next_conn += 1;
                self.conns.insert(conn, (node, life, name.clone(), [0, 0]));
                if let Some(held) = self.held(node, name) {
                    held.conn = Some(conn);
                    held.said = 0;
                }
                let delay = 300_000 + self.random.below(2 * MS);
                let (switch, output) = (name.clone(), Box::new(Output::Connect));
                self.at(delay, Event::ToSwitch { node, life, switch, conn, output, said: 0 });
            }
            Output::Disconnect => {
                if let Some(conn) = self.held(node, name).and_then(|h| h.conn.take()) {
                    let delay = 100_000 + self.random.below(2 * MS);
                    let (switch, output) = (name.clone(), Box::new(Output::Disconnect));
                    self.at(delay, Event::ToSwitch { node, life, switch, conn, output, said: 0 });
                }
            }
            output => {
                let Some(held) = self.held(node, name) else { return };
                let Some(conn) = held.conn else { return };
                let stream = matches!(output, Output::Send(_));
                if let Output::Send(message) = &output
                    && let Some(v1::stream_message_request::Update::Arbitration(a)) = &message.update
                {
                    let id = a.election_id.unwrap_or_default();
                    held.said = u128::from(id.high) << 64 | u128::from(id.low);
                }
                let said = held.said;
                let late = if !self.calm && self.random.chance(3) { 200 * MS } else { MS };
                let mut delay = 100_000 + self.random.below(late);
                if stream {
                    delay = self.in_order(conn, 0, delay);
                }
                let (switch, output) = (name.clone(), Box::new(output));
                self.at(delay, Event::ToSwitch { node, life, switch, conn, output, said });
            }
        }
    }

    /// Messages of one stream keep their order.
    pub(super) fn in_order(&mut self, conn: Conn, direction: usize, delay: Nanos) -> Nanos {
        let Some((_, _, _, last)) = self.conns.get_mut(&conn) else { return delay };
        let at = (self.now + delay).max(last[direction] + 1);
        last[direction] = at;
        at - self.now
    }

    pub(super) fn back(&mut self, switch: &SwitchName, told: Vec<(Conn, Input)>) {
        for (conn, input) in told {
            let stream = matches!(input, Input::Stream(_) | Input::StreamEnded(_));
            let late = if !self.calm && self.random.chance(3) { 200 * MS } else { MS };
            let mut delay = 100_000 + self.random.below(late);
            if stream {
                delay = self.in_order(conn, 1, delay);
            }
            self.at(delay, Event::FromSwitch { switch: switch.clone(), conn, input: Box::new(input) });
        }
    }

    pub(super) fn arrive_at_switch(
        &mut self,
        node: usize,
        life: u64,
        name: &SwitchName,
        conn: Conn,
        output: Output,
        said: u128,
    ) {
        let reachable = !self.cut.contains(&(node, name.clone()));
        let by = self.nodes[node].number * 1000 + life;
        let Some(switch) = self.switches.get_mut(name) else { return };
        if let Output::Connect = output {
            let input = if switch.up && reachable {
                switch.open(conn);
                Input::Connected
            } else {
                Input::ConnectFailed(Fault::new(Code::Unavailable, "refused"))
            };
            return self.back(name, vec![(conn, input)]);
        }
        if !reachable {
            self.torn.insert(conn);
            return;
        }
        if !switch.is_open(conn) {
            return;
        }
        let told = match output {
            Output::Disconnect => switch.close(conn),
            Output::Send(message) => match message.update {
                Some(v1::stream_message_request::Update::Arbitration(_)) => switch.arbitrate(conn, said),
                _ => Vec::new(),
            },
            Output::GetPipeline { .. } => vec![(conn, Input::Pipeline(switch.pipeline()))],
            Output::SetPipeline { .. } => vec![(conn, Input::PipelineSet(switch.push(said, by)))],
            Output::Write { id, ops, election_id } => {
                let result = switch.write(&ops, election_id, by, &mut self.random);
                vec![(conn, Input::Written { id, result })]
            }
            Output::Read { id, scopes } => {
                let found = switch.read(&scopes);
                // The parts of one answer come in order, and its end after them.
                let mut parts: Vec<(Conn, Input)> =
                    found.chunks(100).map(|c| (conn, Input::ReadPart { id, entities: c.to_vec() })).collect();
                parts.push((conn, Input::ReadDone { id, result: Ok(()) }));
                let mut after = 0;
                for (conn, input) in parts {
                    after += 50_000 + self.random.below(MS);
                    self.at(after, Event::FromSwitch { switch: name.clone(), conn, input: Box::new(input) });
                }
                return;
            }
            Output::Connect | Output::Event(_) => return,
        };
        // A call's answer may be lost with its connection.
        let call = !told.iter().any(|(_, i)| matches!(i, Input::Stream(_)));
        if call && !self.calm && self.random.chance(1) {
            return self.cut_conn(name, conn);
        }
        self.back(name, told);
    }

    /// Ends the torn connections whose way is whole again.
    pub(super) fn tear(&mut self) {
        for conn in std::mem::take(&mut self.torn) {
            let Some((node, _, switch, _)) = self.conns.get(&conn).cloned() else { continue };
            if self.cut.contains(&(node, switch.clone())) {
                self.torn.insert(conn);
            } else {
                self.cut_conn(&switch, conn);
            }
        }
    }

    /// A connection breaks: both ends learn of it, sooner or later.
    pub(super) fn cut_conn(&mut self, name: &SwitchName, conn: Conn) {
        let Some(switch) = self.switches.get_mut(name) else { return };
        let mut told = switch.close(conn);
        told.push((conn, Input::StreamEnded(Fault::new(Code::Unavailable, "reset"))));
        self.back(name, told);
    }

    pub(super) fn arrive_from_switch(&mut self, switch: SwitchName, conn: Conn, input: Box<Input>) {
        let Some((node, life, ..)) = self.conns.get(&conn).cloned() else { return };
        if self.nodes[node].alive && self.nodes[node].life == life && self.nodes[node].paused_until > self.now {
            return self.later(node, Event::FromSwitch { switch, conn, input });
        }
        let gone = matches!(*input, Input::StreamEnded(_) | Input::ConnectFailed(_));
        if !gone && self.cut.contains(&(node, switch.clone())) {
            self.torn.insert(conn);
            return;
        }
        if !self.hears(node, life) {
            return;
        }
        let local = self.nodes[node].local(self.now);
        if let Some(held) = self.held(node, &switch).filter(|h| h.conn == Some(conn)) {
            held.device.handle(*input, local);
        }
    }
}
