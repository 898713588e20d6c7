//! Controls: each node is a block, each action of a table is in place or a call.

use cranelift_codegen::ir::condcodes::IntCC;
use cranelift_codegen::ir::types::I64;
use cranelift_codegen::ir::{Block, InstBuilder, Value};
use cranelift_frontend::Switch;

use super::cx::Cx;
use super::emit::{Emit, MEM, Params};
use super::{help, ops};
use crate::exec::Ctx;
use crate::program::code::*;
use crate::tables::{Entry, Table};

/// Actions of up to this many primitives are built into every table that has them.
const SMALL: usize = 6;

/// Actions that are worth a function: large, and in more than one place.
pub(super) fn shared_actions(code: &Code, tables: &[crate::program::TableInfo]) -> Vec<bool> {
    let mut places = vec![0usize; code.actions.len()];
    for node in code.ingress.nodes.iter().chain(&code.egress.nodes) {
        match node {
            Node::Table { table, .. } => tables[*table].actions.iter().for_each(|&action| places[action] += 1),
            Node::Call { action, .. } => places[*action] += 1,
            Node::If { .. } => {}
        }
    }
    let many = |(action, &places): (&Action, &usize)| places > 1 && action.ops.len() > SMALL;
    code.actions.iter().zip(&places).map(many).collect()
}

impl Emit<'_> {
    /// The function of a control.
    pub fn control(mut self, pipeline: &Pipeline) {
        let out = self.block();
        let blocks: Vec<Block> = pipeline.nodes.iter().map(|_| self.block()).collect();
        let block_of = |at: u32| blocks.get(at as usize).copied().unwrap_or(out);
        self.jump(block_of(pipeline.start));
        let (mut todo, mut seen) = (vec![pipeline.start], vec![false; pipeline.nodes.len()]);
        let mut order = Vec::new();
        while let Some(at) = todo.pop() {
            let Some(node) = pipeline.nodes.get(at as usize) else { continue };
            if std::mem::replace(&mut seen[at as usize], true) {
                continue;
            }
            order.push(at as usize);
            match node {
                Node::Table { next, .. } => match next {
                    Next::Same(to) => todo.push(*to),
                    Next::HitMiss(hit, miss) => todo.extend([*hit, *miss]),
                    Next::ByAction(list, default) => {
                        todo.extend(list.iter().map(|l| l.1));
                        todo.push(*default);
                    }
                },
                Node::If { yes, no, .. } => todo.extend([*yes, *no]),
                Node::Call { next, .. } => todo.push(*next),
            }
        }
        for at in order {
            self.b.switch_to_block(blocks[at]);
            match &pipeline.nodes[at] {
                Node::If { cond, yes, no, .. } => self.branch(cond, block_of(*yes), block_of(*no)),
                Node::Call { action, next } => {
                    self.act(*action, Params::None, out);
                    self.jump(block_of(*next));
                }
                Node::Table { table, next } => match self.fixed_action(*table) {
                    Some(action) => {
                        self.act(action, Params::None, out);
                        self.follow(next, Some(action), None, &block_of);
                    }
                    None => self.table(*table, next, &block_of, out),
                },
            }
        }
        // Nodes that nothing leads to.
        for (at, seen) in seen.iter().enumerate() {
            if !seen {
                self.b.switch_to_block(blocks[at]);
                self.jump(out);
            }
        }
        self.b.switch_to_block(out);
        let zero = self.int(0);
        self.b.ins().return_(&[zero]);
        self.finish();
    }

    /// Runs an action and leaves for `out` if it ended the control.
    fn act(&mut self, action: usize, params: Params, out: Block) {
        let code = self.code;
        let def = &code.actions[action];
        let functions = self.functions;
        if let Some(id) = functions.actions[action]
            && let Params::At(params) = params
        {
            self.call_own(id, &[self.cx, params]);
        } else if ops::compiles(def) {
            self.body(action, params);
        } else {
            let before = (self.action, self.params);
            (self.action, self.params) = (Some(action), params);
            let (params, words) = self.params_for_call();
            (self.action, self.params) = before;
            let action = self.int(action as u64);
            self.call(help::action as *const () as usize, &[self.cx, action, params, words]);
        }
        if ops::may_exit(def) {
            self.leave_on_exit(out);
        }
    }

    /// The function of an action: the context and the address of its parameters.
    pub fn action_function(mut self, action: usize, params: Value) {
        self.body(action, Params::At(params));
        let zero = self.int(0);
        self.b.ins().return_(&[zero]);
        self.finish();
    }

    /// Goes to the node that follows a table; `hit` is none where the table missed.
    fn follow(&mut self, next: &Next, action: Option<usize>, hit: Option<Value>, block_of: &dyn Fn(u32) -> Block) {
        match next {
            Next::Same(to) => self.jump(block_of(*to)),
            Next::HitMiss(yes, no) => match hit {
                Some(hit) => self.branch_on(hit, block_of(*yes), block_of(*no)),
                None => self.jump(block_of(*no)),
            },
            Next::ByAction(list, default) => {
                let found = action.and_then(|action| list.iter().find(|l| l.0 == action));
                self.jump(block_of(found.map_or(*default, |l| l.1)));
            }
        }
    }

    /// The same by an action that is known at run time only.
    fn follow_any(&mut self, next: &Next, action: Value, hit: Option<Value>, block_of: &dyn Fn(u32) -> Block) {
        let Next::ByAction(list, default) = next else { return self.follow(next, None, hit, block_of) };
        let mut switch = Switch::new();
        let mut seen = Vec::new();
        for &(action, to) in list {
            if !seen.contains(&action) {
                seen.push(action);
                switch.set_entry(action as u128, block_of(to));
            }
        }
        switch.emit(&mut self.b, action, block_of(*default));
    }

    /// The action of a table that p4c made for bare statements: without a key, and fixed by the program.
    fn fixed_action(&self, table: usize) -> Option<usize> {
        let info = &self.program.tables[table];
        let plain = info.hidden && !info.has_counters && info.meter.is_none();
        let mut initial = self.code.initial.iter().filter(|initial| initial.table == table && initial.key.is_none());
        let default = initial.next().filter(|initial| plain && initial.params.is_empty())?;
        initial.next().is_none().then_some(default.action)
    }

    fn table(&mut self, table: usize, next: &Next, block_of: &dyn Fn(u32) -> Block, out: Block) {
        let program = self.program;
        let info = &program.tables[table];
        let tables = self.cx_word(std::mem::offset_of!(Cx, tables));
        let base = (table * size_of::<Table>()) as i32;
        let (busy, idle) = (self.block(), self.block());
        let state = self.b.ins().load(I64, MEM, tables, base + Table::IDLE as i32);
        let is_busy = self.b.ins().icmp_imm_s(IntCC::Equal, state, Table::BUSY as i64);
        self.branch_on(is_busy, busy, idle);

        self.b.switch_to_block(idle);
        if info.has_counters {
            self.count_idle(table, tables, base);
        }
        self.follow_any(next, state, None, block_of);

        self.b.switch_to_block(busy);
        let key = self.key(&self.code.tables[table]);
        let words = self.code.tables[table].words;
        let (at, id, len) = (self.add(tables, base as u64), self.int(table as u64), self.int(words as u64));
        let found = self.call(help::apply_for(words), &[self.cx, at, id, key, len]);
        let chosen = self.low32(found);
        let hit = match next {
            Next::HitMiss(..) => Some(self.b.ins().ushr_imm_u(found, 63)),
            _ => None,
        };
        let mut switch = Switch::new();
        let mut cases = Vec::new();
        for &action in &info.actions {
            if !cases.iter().any(|&(a, _)| a == action) {
                let block = self.block();
                switch.set_entry(action as u128, block);
                cases.push((action, block));
            }
        }
        let ran = self.block();
        switch.emit(&mut self.b, chosen, ran);
        for (action, block) in cases {
            self.b.switch_to_block(block);
            if !self.code.actions[action].ops.is_empty() {
                let params = self.cx_word(std::mem::offset_of!(Cx, params));
                self.act(action, Params::At(params), out);
            }
            self.follow(next, Some(action), hit, block_of);
        }
        // There is no action, the interpreter ran it, or it must because the table does not list it.
        self.b.set_cold_block(ran);
        self.b.switch_to_block(ran);
        self.call(help::unlisted as *const () as usize, &[self.cx, chosen]);
        self.leave_on_exit(out);
        let shifted = self.b.ins().ushr_imm_u(found, help::RAN_SHIFT);
        let action = self.b.ins().band_imm_u(shifted, help::RAN_MASK);
        self.follow_any(next, action, hit, block_of);
    }

    /// Counts a packet in the default entry of a table that does nothing else.
    fn count_idle(&mut self, table: usize, tables: Value, base: i32) {
        let (direct, add, indirect, done) = (self.block(), self.block(), self.block(), self.block());
        let shard = self.cx_word(std::mem::offset_of!(Cx, shard));
        self.branch_on(shard, direct, indirect);
        self.b.switch_to_block(direct);
        // The default entry may have been taken away since the look at the table's state.
        let entry = self.b.ins().load(I64, MEM, tables, base + Table::DEFAULT as i32);
        self.branch_on(entry, add, done);
        self.b.switch_to_block(add);
        let pair = self.b.ins().iadd(entry, shard);
        let at = Entry::counter_offset() as i32;
        let bytes = self.b.ins().uload32(MEM, self.ctx, std::mem::offset_of!(Ctx, ingress_len) as i32);
        for (at, by) in [(at, None), (at + 8, Some(bytes))] {
            let count = self.b.ins().load(I64, MEM, pair, at);
            let count = match by {
                Some(by) => self.b.ins().iadd(count, by),
                None => self.add(count, 1),
            };
            self.b.ins().store(MEM, count, pair, at);
        }
        self.jump(done);
        self.b.switch_to_block(indirect);
        self.b.set_cold_block(indirect);
        let id = self.int(table as u64);
        self.call(help::count_idle as *const () as usize, &[self.cx, id]);
        self.jump(done);
        self.b.switch_to_block(done);
    }

    /// Packs a table's key on the stack; its address.
    fn key(&mut self, table: &TableCode) -> Value {
        if table.words == 0 {
            return self.int(0);
        }
        let slot = self.key_slot();
        let mut words: Vec<Option<Value>> = vec![None; table.words];
        for part in &table.key {
            let word = usize::from(part.word);
            let valid = part.of.map(|header| self.is_valid(header));
            let seen = |emit: &mut Self, value: Value| match valid {
                Some(valid) => {
                    let zero = emit.int(0);
                    emit.b.ins().select(valid, value, zero)
                }
                None => value,
            };
            if part.more.is_empty() {
                let value = self.num(&part.src);
                let value = seen(self, value);
                let value = if part.shift > 0 { self.b.ins().ishl_imm_u(value, i64::from(part.shift)) } else { value };
                words[word] = Some(match words[word] {
                    Some(before) => self.b.ins().bor(before, value),
                    None => value,
                });
            } else {
                for (i, &(bits, mask)) in part.more.iter().enumerate() {
                    let value = self.load_bits(bits);
                    let all = if bits.width >= 64 { u64::MAX } else { (1 << bits.width) - 1 };
                    let value = if all & !mask == 0 { value } else { self.b.ins().band_imm_u(value, mask as i64) };
                    words[word + i] = Some(seen(self, value));
                }
            }
        }
        for (i, word) in words.into_iter().enumerate() {
            let word = word.unwrap_or_else(|| self.int(0));
            self.b.ins().stack_store(I64, word, slot, i as i32 * 8);
        }
        self.b.ins().stack_addr(I64, slot, 0)
    }
}
