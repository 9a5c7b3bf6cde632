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

use crate::progress::{Deed, World};

/// Anchors that there can come to be; none is number 0 but the first, which is nobody's neighbour.
const ANCHORS: usize = 5;
/// Entries of a block.
const FULL: u32 = 2;
/// The entry that somebody looks for.
const STAYS: u8 = 3;
/// The entry of the row that goes to another key and back.
const ROWS: u8 = 4;

/// A deliberate mistake.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Mutation {
    /// O2: the block with the other half is linked after the first half is all that is left.
    SplitsInTwoSteps,
    /// O5: an addition of what is there changes nothing.
    AddsAgainInSilence,
    /// O5: a removal looks at the row before it loads the word.
    LooksBeforeItLoads,
    /// M2: a hint is added without a look at the anchor.
    HintsAtWhatGoes,
    /// A block is merged without being frozen.
    MergesTheUnfrozen,
    /// An anchor is dead before its contents are on its left.
    DiesBeforeItIsMerged,
    /// An anchor is given back before it is dead.
    IsForgottenAlive,
}

/// What an anchor's word says of its block.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Default)]
enum Word {
    #[default]
    Unused,
    InForce,
    Frozen,
    Dead,
}

/// An anchor and its block.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Default)]
struct Anchor {
    word: Word,
    /// Changes of the word.
    count: u8,
    low: u8,
    /// A bit for each entry.
    entries: u8,
    /// The next anchor, or 0.
    right: u8,
    /// Nothing leads to it any more, not even a closing hint.
    is_retired: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Default)]
struct Hint {
    anchor: u8,
    is_closing: bool,
}

/// The block of hints, by their low keys.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Default)]
struct Top {
    count: u8,
    length: u8,
    hints: [Hint; ANCHORS],
}

impl Top {
    fn all(&self) -> &[Hint] {
        &self.hints[..usize::from(self.length)]
    }

    fn find(&self, anchor: u8) -> Option<usize> {
        self.all().iter().position(|hint| hint.anchor == anchor)
    }

    fn insert(&mut self, index: usize, hint: Hint) {
        self.hints[index..].rotate_right(1);
        self.hints[index] = hint;
        self.length += 1;
    }

    fn remove(&mut self, index: usize) {
        self.hints[index] = Hint::default();
        self.hints[index..].rotate_left(1);
        self.length -= 1;
    }
}

/// What one goes down for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
enum Goal {
    Insert(u8),
    Remove,
    Seek,
    Merge,
    /// The block on the left of an anchor that goes.
    Left(u8),
}

/// A block that was in force when it was loaded.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
struct Place {
    anchor: u8,
    block: Anchor,
    is_hinted: bool,
}

/// What one does next.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
enum Step {
    /// The row goes back to its old key.
    Link,
    /// Look at the row, and load after that.
    LookFirst,
    Descend(Goal),
    Load {
        goal: Goal,
        anchor: u8,
        is_hinted: bool,
    },
    /// Look at the row, whose entry is in the block.
    Look {
        place: Place,
    },
    Put {
        goal: Goal,
        place: Place,
        entries: u8,
        right: u8,
    },
    LinkHalf {
        goal: Goal,
        place: u8,
        half: u8,
    },
    Hint {
        anchor: u8,
    },
    Check {
        anchor: u8,
        top: Top,
    },
    AddHint {
        anchor: u8,
        top: Top,
    },
    Choose,
    Close {
        top: Top,
        index: usize,
    },
    /// Load the word of an anchor that goes.
    Merge {
        anchor: u8,
    },
    Freeze {
        anchor: u8,
        block: Anchor,
    },
    Die {
        anchor: u8,
        block: Anchor,
    },
    Drop {
        anchor: u8,
    },
    DropHint {
        top: Top,
        index: usize,
    },
    Done,
}

/// One at work, and the anchors that it has met on its way and lets go first, the last one first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
struct Actor {
    step: Step,
    met: [u8; 2],
    /// Its entry is in, and what is left is to add a hint.
    is_done: bool,
}

impl Actor {
    /// Is it at the last step of letting an anchor go?
    fn step_drops(&self) -> bool {
        matches!(self.step, Step::Drop { .. } | Step::DropHint { .. })
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) struct State {
    anchors: [Anchor; ANCHORS],
    top: Top,
    actors: [Actor; ACTORS.len()],
    /// The row's key is that of its entry.
    has_key: bool,
    /// Somebody has died.
    is_short: bool,
    has_missed: bool,
}

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

fn bit(entry: u8) -> u8 {
    1 << entry
}

/// Without the lower half of the entries, the smaller one.
fn upper_half(entries: u8) -> u8 {
    (0..entries.count_ones() / 2).fold(entries, |rest, _| rest & (rest - 1))
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

    /// One step of one of them.
    fn step(&self, s: &mut State, actor: usize) -> &'static str {
        let goal_of_all = GOALS[actor];
        let (next, what) = match s.actors[actor].step {
            Step::Link => {
                s.has_key = true;
                (Step::Descend(goal_of_all), "links a version")
            }
            Step::LookFirst | Step::Look { .. } if s.has_key => (Step::Done, "sees the version"),
            Step::LookFirst => (Step::Descend(goal_of_all), "sees no version"),
            Step::Descend(goal) => {
                let anchor = Self::hinted(s, goal);
                (Step::Load { goal, anchor, is_hinted: true }, "loads the hints")
            }
            Step::Load { goal, anchor, is_hinted } => {
                (self.load(s, actor, goal, anchor, is_hinted), "loads a word")
            }
            Step::Look { place } => {
                let Anchor { entries, right, .. } = place.block;
                let put = Step::Put { goal: Goal::Remove, place, entries: entries & !bit(ROWS), right };
                (put, "sees no version")
            }
            Step::Put { goal, place, entries, right } => {
                (self.put(s, actor, goal, place, entries, right), "changes a word")
            }
            Step::LinkHalf { goal, place, half } => {
                s.anchors[usize::from(place)].right = half;
                s.anchors[usize::from(place)].count += 1;
                (after_put(s, actor, goal, Some(half)), "links the other half")
            }
            Step::Hint { anchor } => (Step::Check { anchor, top: s.top }, "loads the hints"),
            Step::Check { anchor, top } => {
                let goes = s.anchors[usize::from(anchor)].word != Word::InForce;
                let has_it = top.find(anchor).is_some();
                let next = if has_it || (goes && !self.is(Mutation::HintsAtWhatGoes)) {
                    self.resume(s, actor)
                } else {
                    Step::AddHint { anchor, top }
                };
                (next, "looks at an anchor without a hint")
            }
            Step::AddHint { anchor, top } if s.top == top => {
                let low = |number: u8| s.anchors[usize::from(number)].low;
                let index = top.all().iter().filter(|hint| low(hint.anchor) <= low(anchor)).count();
                s.top.insert(index, Hint { anchor, is_closing: false });
                s.top.count += 1;
                (self.resume(s, actor), "adds a hint")
            }
            Step::AddHint { anchor, .. } => (Step::Hint { anchor }, "finds the hints changed"),
            _ => self.step_of_merge(s, actor),
        };
        s.actors[actor].step = next;
        what
    }

    /// One step of letting an anchor go.
    fn step_of_merge(&self, s: &mut State, actor: usize) -> (Step, &'static str) {
        match s.actors[actor].step {
            Step::Choose => match s.top.find(self.goes) {
                Some(index) if !s.top.hints[index].is_closing => {
                    (Step::Close { top: s.top, index }, "chooses an anchor")
                }
                Some(_) => (self.let_go(s, actor, self.goes), "finds an anchor that is closing"),
                None => (Step::Done, "finds no anchor to merge"),
            },
            Step::Close { top, index } if s.top == top => {
                s.top.hints[index].is_closing = true;
                s.top.count += 1;
                (self.let_go(s, actor, self.goes), "closes a hint")
            }
            Step::Close { .. } => (Step::Done, "finds the hints changed"),
            Step::Merge { anchor } => {
                let block = s.anchors[usize::from(anchor)];
                let next = match block.word {
                    Word::InForce if self.is(Mutation::MergesTheUnfrozen) => {
                        Step::Descend(Goal::Left(anchor))
                    }
                    Word::InForce => Step::Freeze { anchor, block },
                    Word::Frozen if self.is(Mutation::DiesBeforeItIsMerged) => Step::Die { anchor, block },
                    Word::Frozen => Step::Descend(Goal::Left(anchor)),
                    Word::Unused | Word::Dead => Step::Drop { anchor },
                };
                (next, "loads the word of one that goes")
            }
            Step::Freeze { anchor, block } => {
                let word = &mut s.anchors[usize::from(anchor)];
                if *word == block {
                    word.word = Word::Frozen;
                    word.count += 1;
                }
                (Step::Merge { anchor }, "freezes")
            }
            Step::Die { anchor, block } => {
                let word = &mut s.anchors[usize::from(anchor)];
                if word.count == block.count {
                    word.word = Word::Dead;
                    word.count += 1;
                }
                (Step::Merge { anchor }, "lets an anchor die")
            }
            Step::Drop { anchor } => {
                let next = match s.top.find(anchor) {
                    Some(index) => Step::DropHint { top: s.top, index },
                    None => self.resume(s, actor),
                };
                (next, "looks for a hint to drop")
            }
            Step::DropHint { top, index } => {
                let anchor = top.hints[index].anchor;
                if s.top == top {
                    s.top.remove(index);
                    s.top.count += 1;
                    s.anchors[usize::from(anchor)].is_retired = true;
                    (self.resume(s, actor), "drops a hint")
                } else {
                    (Step::Drop { anchor }, "finds the hints changed")
                }
            }
            other => (other, "rests"),
        }
    }

    /// Is an anchor with this low key on the left of what one goes down for?
    fn is_left(s: &State, goal: Goal, low: u8) -> bool {
        match goal {
            Goal::Insert(entry) => low <= entry,
            Goal::Remove => low <= ROWS,
            Goal::Seek | Goal::Merge => low <= STAYS,
            Goal::Left(anchor) => low < s.anchors[usize::from(anchor)].low,
        }
    }

    fn hinted(s: &State, goal: Goal) -> u8 {
        let low = |hint: &&Hint| s.anchors[usize::from(hint.anchor)].low;
        let left = s.top.all().iter().take_while(|hint| Self::is_left(s, goal, low(hint)));
        left.filter(|hint| !hint.is_closing).last().map_or(0, |hint| hint.anchor)
    }

    fn load(&self, s: &mut State, actor: usize, goal: Goal, anchor: u8, is_hinted: bool) -> Step {
        let block = s.anchors[usize::from(anchor)];
        let is_frozen = block.word == Word::Frozen;
        if block.word == Word::Dead || (is_frozen && is_hinted) {
            return Step::Descend(goal);
        }
        if block.right != 0 && Self::is_left(s, goal, s.anchors[usize::from(block.right)].low) {
            return Step::Load { goal, anchor: block.right, is_hinted: false };
        }
        let place = Place { anchor, block, is_hinted };
        let put = |entries, right| Step::Put { goal, place, entries, right };
        match goal {
            Goal::Seek | Goal::Merge => {
                s.has_missed |= block.entries & bit(STAYS) == 0;
                Step::Done
            }
            Goal::Remove if block.entries & bit(ROWS) == 0 => Step::Done,
            Goal::Remove if self.is(Mutation::LooksBeforeItLoads) => {
                put(block.entries & !bit(ROWS), block.right)
            }
            Goal::Remove => Step::Look { place },
            Goal::Insert(entry) => {
                if block.entries & bit(entry) != 0 && self.is(Mutation::AddsAgainInSilence) {
                    return Step::Done;
                }
                put(block.entries | bit(entry), block.right)
            }
            Goal::Left(goes) => {
                let merged = s.anchors[usize::from(goes)];
                if block.right != goes {
                    Step::Die { anchor: goes, block: merged }
                } else if is_frozen {
                    self.let_go(s, actor, anchor)
                } else {
                    put(block.entries | merged.entries, merged.right)
                }
            }
        }
    }

    /// The CAS, from the block that was loaded; with more entries than a block has, a split.
    fn put(&self, s: &mut State, actor: usize, goal: Goal, place: Place, entries: u8, right: u8) -> Step {
        let Place { anchor: number, block, is_hinted } = place;
        if block.word == Word::Frozen {
            return self.let_go(s, actor, number);
        }
        let again = match goal {
            Goal::Left(anchor) => Step::Merge { anchor },
            Goal::Remove if self.is(Mutation::LooksBeforeItLoads) => Step::LookFirst,
            goal => Step::Descend(goal),
        };
        let half = s.anchors.iter().position(|anchor| anchor.word == Word::Unused);
        let anchor = &mut s.anchors[usize::from(number)];
        if (anchor.count, anchor.word) != (block.count, block.word) {
            return again;
        }
        anchor.count += 1;
        (anchor.entries, anchor.right) = (entries, right);
        if entries.count_ones() <= FULL {
            // Whoever has missed a hint on the way to its entry adds it.
            let unhinted = (!is_hinted && !matches!(goal, Goal::Left(_))).then_some(number);
            return after_put(s, actor, goal, unhinted);
        }
        let half = half.expect("anchors enough");
        let low = upper_half(entries).trailing_zeros().try_into().expect("entries are few");
        let half_number = u8::try_from(half).expect("anchors are few");
        anchor.entries = entries & (bit(low) - 1);
        if !self.is(Mutation::SplitsInTwoSteps) {
            anchor.right = half_number;
        }
        s.anchors[half] =
            Anchor { word: Word::InForce, low, entries: upper_half(entries), right, ..Anchor::default() };
        if self.is(Mutation::SplitsInTwoSteps) {
            Step::LinkHalf { goal, place: number, half: half_number }
        } else {
            after_put(s, actor, goal, Some(half_number))
        }
    }

    /// What comes when an anchor is gone, or a hint added.
    fn resume(&self, s: &mut State, actor: usize) -> Step {
        let it = &mut s.actors[actor];
        if it.step_drops() {
            it.met = [it.met[1], 0];
        }
        match (it.met[0], GOALS[actor]) {
            (0, Goal::Merge) => Step::Done,
            (0, _) if it.is_done => Step::Done,
            (0, Goal::Remove) if self.is(Mutation::LooksBeforeItLoads) => Step::LookFirst,
            (0, goal) => Step::Descend(goal),
            (anchor, _) => Step::Merge { anchor },
        }
    }

    /// An anchor goes before anything else does.
    fn let_go(&self, s: &mut State, actor: usize, anchor: u8) -> Step {
        let met = &mut s.actors[actor].met;
        if met[0] != anchor {
            assert_eq!(met[1], 0, "no more than two on the way");
            *met = [anchor, met[0]];
        }
        if self.is(Mutation::IsForgottenAlive) { Step::Drop { anchor } } else { Step::Merge { anchor } }
    }
}

/// What comes after a block was put in, with an anchor that has no hint, or none.
fn after_put(s: &mut State, actor: usize, goal: Goal, unhinted: Option<u8>) -> Step {
    match (unhinted, goal) {
        (Some(anchor), _) => {
            if !matches!(goal, Goal::Left(_)) {
                s.actors[actor].is_done = true;
            }
            Step::Hint { anchor }
        }
        (None, Goal::Left(anchor)) => Step::Merge { anchor },
        (None, _) => Step::Done,
    }
}
