//! What must hold in every reachable state.

use crate::protocol::Model;
use crate::state::{NONE, ROWS, Record, State, Step, TRANSACTIONS};

/// The first promise broken in `state`, in words.
pub(crate) fn violation(model: &Model, state: &State) -> Option<String> {
    reads(model, state).or_else(|| chains(model, state)).or_else(|| log(state))
}

/// What must hold when nobody can move: everybody has finished.
pub(crate) fn stuck(state: &State) -> Option<String> {
    let t = state.transactions.iter().position(|transaction| transaction.step != Step::Finished)?;
    Some(format!("stuck: T{} waits for ever", t + 1))
}

/// Every transaction has read exactly what the committed transactions before its place in the order left: before its
/// commit timestamp once it has committed (serializable), before its snapshot until then (no torn snapshot).
fn reads(model: &Model, state: &State) -> Option<String> {
    for (t, transaction) in state.transactions.iter().enumerate() {
        let (place, promise) = match state.records[t] {
            Record::Committed(timestamp) => (timestamp, "not serializable"),
            Record::Aborted => continue,
            _ => (transaction.snapshot, "torn snapshot"),
        };
        for (row, &version) in transaction.reads.iter().enumerate() {
            if version == NONE {
                continue;
            }
            let reader = t + 1;
            let Some(read_at) = state.committed_at(version).filter(|&at| at < place) else {
                return Some(format!(
                    "{promise}: T{reader} read row {row} by T{version}, which is not committed"
                ));
            };
            let missed = (0..TRANSACTIONS).find(|&writer| {
                model.writes(writer, row)
                    && matches!(state.records[writer], Record::Committed(at) if read_at < at && at < place)
            });
            if let Some(writer) = missed {
                return Some(format!("{promise}: T{reader} missed what T{} wrote to row {row}", writer + 1));
            }
        }
    }
    None
}

/// The committed versions of a row are all in its chain, newest first.
fn chains(model: &Model, state: &State) -> Option<String> {
    for row in 0..ROWS {
        let mut found = 0;
        let mut above = u8::MAX;
        let mut version = state.heads[row];
        loop {
            if let Some(timestamp) = state.committed_at(version) {
                if timestamp >= above {
                    return Some(format!("chain of row {row} is out of order at T{version}"));
                }
                above = timestamp;
                found += 1;
            }
            if version == 0 {
                break;
            }
            version = state.older[usize::from(version - 1)][row];
        }
        let committed = (0..TRANSACTIONS)
            .filter(|&t| model.writes(t, row) && matches!(state.records[t], Record::Committed(_)))
            .count();
        if found != committed + 1 {
            return Some(format!("row {row} has lost a committed version"));
        }
    }
    None
}

/// The log is a prefix of the committed transactions in commit order: all below `durable`, nothing else.
fn log(state: &State) -> Option<String> {
    for (t, record) in state.records.iter().enumerate() {
        let logged = state.log.logged & (1 << t) != 0;
        let belongs = matches!(record, Record::Committed(timestamp) if *timestamp < state.log.durable);
        if logged != belongs {
            let fault = if logged { "has" } else { "lacks" };
            return Some(format!("log is no prefix: it {fault} T{}, which is {record:?}", t + 1));
        }
    }
    None
}
