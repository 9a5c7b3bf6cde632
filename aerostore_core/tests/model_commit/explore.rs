//! Depth-first search through every reachable state.
//!
//! States seen are remembered by a fingerprint of 128 bits. Among a hundred million states two share one with a
//! probability of 1.5e-23; whole states would need ten times the memory.

use crate::check;
use crate::protocol::{Label, Model};
use crate::state::State;
use std::collections::HashSet;
use std::hash::{BuildHasherDefault, Hash, Hasher};
use xxhash_rust::xxh3::xxh3_128;

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
    let mut seen: HashSet<u128, ByItself> = HashSet::default();
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

/// Tells states apart: what they hash, byte after byte, and those bytes at once.
pub(crate) fn fingerprint(state: &impl Hash) -> u128 {
    let mut image = Image { bytes: [0; IMAGE_BYTES], length: 0 };
    state.hash(&mut image);
    xxh3_128(&image.bytes[..image.length])
}

/// No state writes more.
const IMAGE_BYTES: usize = 512;

/// Takes down what a state hashes. Numbers and variants in it are small: a byte each.
struct Image {
    bytes: [u8; IMAGE_BYTES],
    length: usize,
}

impl Image {
    fn push(&mut self, number: Option<u8>) {
        self.bytes[self.length] = number.expect("numbers in a state are small");
        self.length += 1;
    }
}

impl Hasher for Image {
    fn write(&mut self, bytes: &[u8]) {
        let end = self.length + bytes.len();
        self.bytes[self.length..end].copy_from_slice(bytes);
        self.length = end;
    }

    fn write_u8(&mut self, number: u8) {
        self.push(Some(number));
    }

    fn write_usize(&mut self, number: usize) {
        self.push(number.try_into().ok());
    }

    fn write_isize(&mut self, variant: isize) {
        self.push(variant.try_into().ok());
    }

    fn finish(&self) -> u64 {
        unreachable!("the bytes are what is asked for")
    }
}

/// Fingerprints are as good as any hash of them.
pub(crate) type ByItself = BuildHasherDefault<Fingerprint>;

/// The hash of a fingerprint.
#[derive(Default)]
pub(crate) struct Fingerprint(u64);

impl Hasher for Fingerprint {
    fn write(&mut self, _: &[u8]) {
        unreachable!("a fingerprint is a number")
    }

    fn write_u128(&mut self, fingerprint: u128) {
        self.0 = u64::try_from(fingerprint >> 64).expect("that leaves half of it");
    }

    fn finish(&self) -> u64 {
        self.0
    }
}
