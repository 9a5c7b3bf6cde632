//! Depth-first search through every reachable state.
//!
//! States seen are remembered by a fingerprint of 128 bits. Among a hundred million states two share one with a
//! probability of 1.5e-23; whole states would need ten times the memory.

use crate::check;
use crate::protocol::{Label, Model};
use crate::state::State;
use foldhash::quality::FixedState;
use std::hash::{BuildHasher, Hash};

/// What a search has seen.
pub(crate) struct Outcome {
    pub(crate) states: usize,
    pub(crate) steps: usize,
    pub(crate) depth: usize,
    /// The first promise found broken and how it came about.
    pub(crate) violation: Option<(String, Vec<Label>)>,
}

/// A state on the current path and where to go from it.
struct Frame {
    arrived_by: Option<Label>,
    successors: Vec<(Label, State)>,
}

/// Visits every state reachable from the beginning, or stops at the first violation.
pub(crate) fn explore(model: &Model, forced_aborts: u8, log_rounds: u8) -> Outcome {
    let initial = State::initial(forced_aborts, log_rounds);
    let mut seen = foldhash::HashSet::default();
    seen.insert(fingerprint(&initial));
    let mut outcome = Outcome { states: 1, steps: 0, depth: 0, violation: None };
    let mut path = vec![frame(model, &initial, None)];
    while let Some(top) = path.last_mut() {
        let Some((label, state)) = top.successors.pop() else {
            path.pop();
            continue;
        };
        outcome.steps += 1;
        if !seen.insert(fingerprint(&state)) {
            continue;
        }
        let next = frame(model, &state, Some(label));
        let broken = check::violation(model, &state)
            .or_else(|| if next.successors.is_empty() { check::stuck(&state) } else { None });
        path.push(next);
        outcome.depth = outcome.depth.max(path.len());
        if let Some(promise) = broken {
            let trace = path.iter().filter_map(|frame| frame.arrived_by).collect();
            outcome.violation = Some((promise, trace));
            break;
        }
    }
    outcome.states = seen.len();
    outcome
}

fn frame(model: &Model, state: &State, arrived_by: Option<Label>) -> Frame {
    let mut successors = Vec::with_capacity(8);
    model.successors(state, &mut successors);
    Frame { arrived_by, successors }
}

/// Tells states apart.
pub(crate) fn fingerprint(state: &impl Hash) -> u128 {
    let half = |seed| u128::from(FixedState::with_seed(seed).hash_one(state));
    half(1) << 64 | half(2)
}
