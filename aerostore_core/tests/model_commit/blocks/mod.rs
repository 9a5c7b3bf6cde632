//! The ordered index as atomic steps: a list of blocks under one block of hints, while entries are added and removed, blocks
//! are split and merged, and somebody looks for an entry that is there all the time.
//!
//! The rules under test are those of `index/skiplist`:
//!
//! - O1 contents change by one CAS of an anchor's word;
//! - O2 a split does, too, and what is above learns of the new anchor later;
//! - O5 an addition of what is there changes the word, and a removal is a CAS from the word loaded before the look at the row;
//! - M2 no hint is added to an anchor that is frozen or dead; and the order of the five steps of a merge.
//!
//! A block holds two entries, and the block of hints is never split. A word is a count of its changes: no two that somebody may
//! compare are the same (O5). Any one may die at any step; what it left undone is done by who meets it. What is left out: memory, which is
//! not used again while an operation that has seen it runs (O4), more than one level of hints (M1), and weak memory.

mod state;
mod steps;

use crate::progress::{Deed, World};
use state::{ANCHORS, Actor, Anchor, Goal, Hint, ROWS, STAYS, Step, Top, Word, bit};
pub(crate) use state::{Mutation, State};

/// Who there is, and what for.
const GOALS: [Goal; 6] =
    [Goal::Insert(ROWS), Goal::Remove, Goal::Insert(5), Goal::Insert(2), Goal::Merge, Goal::Seek];
pub(crate) const ACTORS: [&str; 6] = ["writer", "vacuum", "inserter", "inserter", "merger", "reader"];

#[derive(Clone, Copy)]
pub(crate) struct Blocks {
    pub(crate) name: &'static str,
    /// Who is there, in the order of `ACTORS`.
    pub(crate) actors: [bool; ACTORS.len()],
    /// The anchor that is merged.
    pub(crate) goes: u8,
    /// One of them may die.
    pub(crate) deaths: bool,
    pub(crate) mutation: Option<Mutation>,
}

impl World for Blocks {
    type State = State;

    fn name(&self) -> &'static str {
        self.name
    }

    fn initial(&self) -> State {
        let mut actors = [Actor { step: Step::Done, met: [0; 2], is_done: false }; ACTORS.len()];
        for (number, actor) in actors.iter_mut().enumerate().filter(|(number, _)| self.actors[*number]) {
            actor.step = match GOALS[number] {
                Goal::Insert(ROWS) => Step::Link,
                Goal::Remove if self.is(Mutation::LooksBeforeItLoads) => Step::LookFirst,
                Goal::Merge => Step::Choose,
                goal => Step::Descend(goal),
            };
        }
        let mut anchors = [Anchor::default(); ANCHORS];
        let mut top = Top::default();
        let blocks = [(0, bit(1), 1), (3, bit(STAYS) | bit(ROWS), 2), (6, bit(6), 0)];
        for (number, (low, entries, right)) in (0..).zip(blocks) {
            anchors[usize::from(number)] =
                Anchor { word: Word::InForce, low, entries, right, ..Anchor::default() };
            top.insert(usize::from(number), Hint { anchor: number, is_closing: false });
        }
        State { anchors, top, actors, has_key: false, is_short: false, has_missed: false }
    }

    fn successors(&self, state: &State, into: &mut Vec<(Deed, State)>) {
        for (actor, name) in ACTORS.into_iter().enumerate() {
            if state.actors[actor].step == Step::Done {
                continue;
            }
            let number = u8::try_from(actor + 1).expect("actors are few");
            let mut next = *state;
            let what = self.step(&mut next, actor);
            into.push(((name, number, what), next));
            if self.deaths && !state.is_short {
                let mut next = *state;
                next.actors[actor].step = Step::Done;
                next.is_short = true;
                into.push(((name, number, "dies"), next));
            }
        }
    }

    fn broken(&self, state: &State) -> Option<&'static str> {
        if state.has_missed {
            return Some("an entry was not found that is there all the time");
        }
        let mut found = 0;
        let mut listed = [false; ANCHORS];
        let mut at = 0;
        loop {
            let anchor = &state.anchors[usize::from(at)];
            if anchor.word == Word::Dead || anchor.is_retired {
                return Some("the list leads to an anchor that is gone");
            }
            listed[usize::from(at)] = true;
            let high = if anchor.right == 0 { 8 } else { state.anchors[usize::from(anchor.right)].low };
            let range = (anchor.low..high).fold(0, |range, entry| range | bit(entry));
            if anchor.entries & !range != 0 || found & anchor.entries != 0 {
                return Some("an entry is where it does not belong");
            }
            found |= anchor.entries;
            at = anchor.right;
            if at == 0 {
                break;
            }
            if listed[usize::from(at)] {
                return Some("the list goes round");
            }
        }
        if found & bit(STAYS) == 0 || found & (bit(1) | bit(6)) != bit(1) | bit(6) {
            return Some("an entry is lost that nobody has removed");
        }
        for (actor, goal) in GOALS.into_iter().enumerate() {
            let is_done = self.actors[actor] && state.actors[actor].step == Step::Done && !state.is_short;
            if let (true, Goal::Insert(entry)) = (is_done, goal)
                && found & bit(entry) == 0
            {
                return Some("an entry is lost that was added");
            }
        }
        let stray = |hint: &Hint| !hint.is_closing && !listed[usize::from(hint.anchor)];
        if state.top.all().iter().any(stray) {
            return Some("a hint leads to an anchor that is not in the list");
        }
        let forgotten =
            |(anchor, listed): (&Anchor, bool)| anchor.word != Word::Unused && !listed && !anchor.is_retired;
        let is_left = state.anchors.iter().zip(listed).any(forgotten);
        (is_left && !state.is_short && self.is_over(state)).then_some("an anchor is forgotten")
    }

    fn is_over(&self, state: &State) -> bool {
        state.actors.iter().all(|actor| actor.step == Step::Done)
    }
}

impl Blocks {
    fn is(&self, mutation: Mutation) -> bool {
        self.mutation == Some(mutation)
    }
}
