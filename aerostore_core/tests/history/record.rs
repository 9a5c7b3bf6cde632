//! What transactions did, from the lines their processes wrote, as a history for the checker.
//!
//! A line is `i`, `o` or `f` (begun, committed, aborted), the time in nanoseconds and the operations: `a:key:number` appends, `r:key:`
//! reads, with the numbers found once it has committed.

use adya::History;
use adya::history::{Interner, Mop, Op, OpType, ReadValue, Scalar};
use std::collections::BTreeSet;

/// One thing that a transaction does.
#[derive(Clone, Debug)]
pub(crate) enum Action {
    Append { key: String, number: i64 },
    Read { key: String, found: Option<Vec<i64>> },
}

impl Action {
    pub(crate) fn text(&self) -> String {
        match self {
            Self::Append { key, number } => format!("a:{key}:{number}"),
            Self::Read { key, found } => {
                let numbers: Vec<String> =
                    found.iter().flatten().map(std::string::ToString::to_string).collect();
                format!("r:{key}:{}", numbers.join(","))
            }
        }
    }

    fn parse(text: &str, committed: bool) -> Self {
        let mut parts = text.split(':');
        let (kind, key, rest) = (parts.next().unwrap(), parts.next().unwrap(), parts.next().unwrap());
        let key = key.to_owned();
        match kind {
            "a" => Self::Append { key, number: rest.parse().unwrap() },
            "r" => Self::Read { key, found: committed.then(|| numbers(rest)) },
            _ => panic!("{text}"),
        }
    }

    fn key(&self) -> &str {
        match self {
            Self::Append { key, .. } | Self::Read { key, .. } => key,
        }
    }
}

/// The numbers of a list.
pub(crate) fn numbers(text: &str) -> Vec<i64> {
    text.split(',').filter(|number| !number.is_empty()).map(|number| number.parse().unwrap()).collect()
}

struct Event {
    at_ns: i64,
    process: u64,
    kind: OpType,
    actions: Vec<Action>,
}

/// Everything heard from the processes.
#[derive(Default)]
pub(crate) struct Events(Vec<Event>);

/// A history, and how many transactions of each outcome it has.
pub(crate) struct Record {
    pub(crate) history: History,
    pub(crate) committed: usize,
    pub(crate) aborted: usize,
    pub(crate) unknown: usize,
}

impl Events {
    pub(crate) fn hear(&mut self, process: u64, line: &str) {
        let mut words = line.split(' ');
        let kind = match words.next() {
            Some("i") => OpType::Invoke,
            Some("o") => OpType::Ok,
            Some("f") => OpType::Fail,
            // The test runner's words.
            _ => return,
        };
        let at_ns = words.next().unwrap().parse().unwrap();
        let actions = words
            .filter(|word| !word.is_empty())
            .map(|word| Action::parse(word, kind == OpType::Ok))
            .collect();
        self.0.push(Event { at_ns, process, kind, actions });
    }

    /// Transactions that were told they have committed.
    pub(crate) fn committed(&self) -> usize {
        self.0.iter().filter(|event| event.kind == OpType::Ok).count()
    }

    pub(crate) fn keys(&self) -> Vec<String> {
        let keys: BTreeSet<&str> = self.0.iter().flat_map(|event| &event.actions).map(Action::key).collect();
        keys.into_iter().map(str::to_owned).collect()
    }

    pub(crate) fn into_record(mut self) -> Record {
        // A process's own events are in order already. Of two processes at the same nanosecond, who begins comes first: that
        // claims no order between them.
        self.0.sort_by_key(|event| (event.at_ns, event.kind != OpType::Invoke));
        let mut interner = Interner::default();
        let mut ops: Vec<Op> = Vec::with_capacity(self.0.len());
        let mut open = std::collections::BTreeMap::new();
        let (mut committed, mut aborted) = (0, 0);
        for event in &self.0 {
            match event.kind {
                OpType::Invoke => assert!(open.insert(event.process, event).is_none(), "begun twice"),
                _ => assert!(open.remove(&event.process).is_some(), "ended before it began"),
            }
            committed += usize::from(event.kind == OpType::Ok);
            aborted += usize::from(event.kind == OpType::Fail);
            ops.push(op(&mut interner, ops.len(), event.kind, event));
        }
        for event in open.values() {
            ops.push(op(&mut interner, ops.len(), OpType::Info, event));
        }
        Record { unknown: open.len(), history: History::from_ops(ops, interner), committed, aborted }
    }
}

fn op(interner: &mut Interner, index: usize, kind: OpType, event: &Event) -> Op {
    let value = event.actions.iter().map(|action| mop(interner, action)).collect();
    Op {
        index: index as u64,
        kind,
        process: Some(event.process.cast_signed()),
        value,
        time: Some(event.at_ns),
    }
}

fn mop(interner: &mut Interner, action: &Action) -> Mop {
    let key = interner.intern(Scalar::Str(action.key().to_owned()));
    match action {
        Action::Append { number, .. } => Mop::Append { key, value: interner.intern(Scalar::Int(*number)) },
        Action::Read { found: None, .. } => Mop::Read { key, value: ReadValue::Nil },
        Action::Read { found: Some(found), .. } => {
            let found = found.iter().map(|number| interner.intern(Scalar::Int(*number))).collect();
            Mop::Read { key, value: ReadValue::List(found) }
        }
    }
}
