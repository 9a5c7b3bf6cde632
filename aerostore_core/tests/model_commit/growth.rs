//! The key index while a table moves into its successor, as atomic steps: movers, one that removes a row, some that insert the
//! same key, one that looks for a key that is there all the time.
//!
//! The rules under test are those of `index/hash.rs`:
//!
//! - H1 a slot never becomes EMPTY again, so all inserts of one key meet at one slot;
//! - H2 an insert goes to the next table only after the EMPTY slot that ends its path is frozen;
//! - H3 an entry is in the next table before its slot says MOVED;
//! - H4 a DELETED slot keeps its row, and a mover that meets its row in one takes it as put there.
//!
//! All keys have the same path, of which a table has as many slots as can come to be needed. What is left out: segments, the batch that
//! each insert moves, the end of a table, and memory, which is not used again while an operation that has seen it runs (I2).

use crate::progress::{Deed, World};

/// Slots of a path, so that one stays EMPTY.
const SLOTS: usize = 5;
/// Those of the first table.
const FIRST_SLOTS: usize = 4;
/// The row whose key somebody looks for.
const STAYS: u8 = 1;
/// The row that is removed.
const GOES: u8 = 2;
/// Rows of one key that two insert.
const NEW: [u8; 2] = [3, 4];

/// A deliberate mistake.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Mutation {
    /// H1: a removal leaves an EMPTY slot.
    RemovalEmpties,
    /// H2: an insert goes on to the next table without freezing the end of its path.
    LeavesTheEndOpen,
    /// H3: a slot says MOVED before its entry is in the next table.
    MovesBeforeItCopies,
    /// H4: a mover passes over a DELETED slot of its row.
    PutsBackWhatWasRemoved,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
enum Slot {
    #[default]
    Empty,
    FrozenEmpty,
    Entry(u8),
    Frozen(u8),
    Moved,
    Deleted(u8),
}

impl Slot {
    fn row(self) -> Option<u8> {
        match self {
            Self::Entry(row) | Self::Frozen(row) => Some(row),
            _ => None,
        }
    }

    fn ends(self) -> bool {
        matches!(self, Self::Empty | Self::FrozenEmpty)
    }
}

/// What one operation does next; a place is a table and a slot.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
enum Step {
    /// Load a slot on the way to where `row` belongs.
    Probe {
        table: usize,
        slot: usize,
        row: u8,
        then: Then,
    },
    /// CAS of that slot, loaded as EMPTY.
    Put {
        table: usize,
        slot: usize,
        row: u8,
        then: Then,
    },
    /// Freeze it instead: the table has a successor.
    Close {
        slot: usize,
        row: u8,
    },
    /// Load the slot to be moved.
    Move {
        slot: usize,
        then: After,
    },
    /// CAS of it.
    Turn {
        slot: usize,
        from: Slot,
        to: Slot,
        then: After,
    },
    /// Look for the row to be removed.
    Find {
        table: usize,
        slot: usize,
    },
    Delete {
        table: usize,
        slot: usize,
    },
    /// Look for the row that stays.
    Look {
        table: usize,
        slot: usize,
    },
    Done,
}

/// What an entry is put there for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
enum Then {
    Insert,
    /// The slot it comes from says MOVED then.
    Moved {
        slot: usize,
        then: After,
    },
}

/// What is done after a slot was moved.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
enum After {
    NextSlot,
    /// Go on with the removal.
    Removal,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) struct State {
    tables: [[Slot; SLOTS]; 2],
    /// The first table has a successor.
    grows: bool,
    steps: [Step; ACTORS.len()],
    is_removed: bool,
    /// Rows whose insert has said that it is new.
    inserted: u8,
    has_missed: bool,
}

const MOVERS: [usize; 2] = [0, 1];
const REMOVER: usize = 2;
const INSERTERS: [usize; 2] = [3, 4];
const READER: usize = 5;
pub(crate) const ACTORS: [&str; 6] = ["mover", "mover", "remover", "inserter", "inserter", "reader"];

#[derive(Clone, Copy)]
pub(crate) struct Growth {
    pub(crate) name: &'static str,
    /// Who is there, in the order of `ACTORS`.
    pub(crate) actors: [bool; ACTORS.len()],
    pub(crate) mutation: Option<Mutation>,
}

impl Growth {
    fn is(&self, mutation: Mutation) -> bool {
        self.mutation == Some(mutation)
    }
}

impl World for Growth {
    type State = State;

    fn name(&self) -> &'static str {
        self.name
    }

    fn initial(&self) -> State {
        let mut steps = [Step::Done; ACTORS.len()];
        for mover in MOVERS {
            steps[mover] = Step::Move { slot: 0, then: After::NextSlot };
        }
        steps[REMOVER] = Step::Find { table: 0, slot: 0 };
        for (inserter, row) in INSERTERS.into_iter().zip(NEW) {
            steps[inserter] = Step::Probe { table: 0, slot: 0, row, then: Then::Insert };
        }
        steps[READER] = Step::Look { table: 0, slot: 0 };
        for (step, is_there) in steps.iter_mut().zip(self.actors) {
            if !is_there {
                *step = Step::Done;
            }
        }
        let mut tables = [[Slot::Empty; SLOTS]; 2];
        (tables[0][0], tables[0][1]) = (Slot::Entry(GOES), Slot::Entry(STAYS));
        State { tables, grows: false, steps, is_removed: false, inserted: 0, has_missed: false }
    }

    fn successors(&self, state: &State, into: &mut Vec<(Deed, State)>) {
        if !state.grows {
            into.push((("table", 1, "gets a successor"), State { grows: true, ..*state }));
        }
        for (actor, name) in ACTORS.into_iter().enumerate() {
            let mut next = *state;
            let number = u8::try_from(actor + 1).expect("actors are few");
            if let Some(what) = self.step(&mut next, actor) {
                into.push(((name, number, what), next));
            }
        }
    }

    fn broken(&self, state: &State) -> Option<&'static str> {
        if state.inserted.count_ones() > 1 {
            return Some("two rows have been inserted with one key");
        }
        if state.has_missed {
            return Some("a key was not found that is there all the time");
        }
        // What is still to be moved is in both for a moment, but found once: in the first.
        let times =
            |row: u8, table: usize| state.tables[table].iter().filter(|slot| slot.row() == Some(row)).count();
        for row in [STAYS, GOES, NEW[0], NEW[1]] {
            if times(row, 0) > 1 || times(row, 1) > 1 {
                return Some("a row is twice in a table");
            }
        }
        let over = state.steps.iter().all(|step| *step == Step::Done);
        (state.is_removed && over && times(GOES, 0) + times(GOES, 1) > 0)
            .then_some("a row that was removed is found")
    }

    fn is_over(&self, state: &State) -> bool {
        state.steps.iter().all(|step| *step == Step::Done)
    }
}

impl Growth {
    /// One step of one of them; `None` when it has ended, or has nothing to do yet.
    fn step(&self, s: &mut State, actor: usize) -> Option<&'static str> {
        let (next, what) = match s.steps[actor] {
            Step::Done => return None,
            Step::Probe { table, slot, row, then } => {
                (self.probe(s, table, slot, row, then), "looks at a slot on its way")
            }
            Step::Put { table, slot, row, then } => {
                let place = &mut s.tables[table][slot];
                if *place == Slot::Empty {
                    *place = Slot::Entry(row);
                    if then == Then::Insert {
                        s.inserted |= 1 << row;
                    }
                    (self.is_there(row, then), "puts its entry")
                } else {
                    (Step::Probe { table, slot, row, then }, "finds the slot taken")
                }
            }
            Step::Close { slot, row } => {
                let place = &mut s.tables[0][slot];
                if *place == Slot::Empty {
                    *place = Slot::FrozenEmpty;
                }
                (Step::Probe { table: 0, slot, row, then: Then::Insert }, "freezes the end of its path")
            }
            Step::Move { .. } if !s.grows => return None,
            Step::Move { slot, then } => (self.moving(s, slot, then), "loads a slot to be moved"),
            Step::Turn { slot, from, to, then } => {
                let place = &mut s.tables[0][slot];
                let is_done = *place == from;
                if is_done {
                    *place = to;
                }
                let is_last = matches!(to, Slot::Moved | Slot::FrozenEmpty);
                let next = match (from, is_done && is_last) {
                    (Slot::Frozen(row), true) if self.is(Mutation::MovesBeforeItCopies) => {
                        Step::Probe { table: 1, slot: 0, row, then: Then::Moved { slot, then } }
                    }
                    (_, true) => after(slot, then),
                    (_, false) => Step::Move { slot, then },
                };
                (next, "changes a slot to be moved")
            }
            Step::Find { table, slot } => (Self::find(s, table, slot), "looks for the row to remove"),
            Step::Delete { table, slot } => {
                let place = &mut s.tables[table][slot];
                if *place == Slot::Entry(GOES) {
                    *place =
                        if self.is(Mutation::RemovalEmpties) { Slot::Empty } else { Slot::Deleted(GOES) };
                    s.is_removed = true;
                    (Step::Done, "removes the row")
                } else {
                    (Step::Find { table, slot }, "finds the slot changed")
                }
            }
            Step::Look { table, slot } => {
                let word = s.tables[table][slot];
                let next = match (word.row() == Some(STAYS), word.ends(), table) {
                    (true, _, _) => Step::Done,
                    (_, false, _) => Step::Look { table, slot: slot + 1 },
                    (_, true, 0) if s.grows => Step::Look { table: 1, slot: 0 },
                    (_, true, _) => {
                        s.has_missed = true;
                        Step::Done
                    }
                };
                (next, "looks for the row that stays")
            }
        };
        s.steps[actor] = next;
        Some(what)
    }

    /// The entry of `row` is where it belongs.
    fn is_there(&self, row: u8, then: Then) -> Step {
        match then {
            Then::Insert => Step::Done,
            Then::Moved { slot, then } if self.is(Mutation::MovesBeforeItCopies) => after(slot, then),
            Then::Moved { slot, then } => Step::Turn { slot, from: Slot::Frozen(row), to: Slot::Moved, then },
        }
    }

    fn probe(&self, s: &State, table: usize, slot: usize, row: u8, then: Then) -> Step {
        let on = Step::Probe { table, slot: slot + 1, row, then };
        let next_table = Step::Probe { table: 1, slot: 0, row, then };
        match s.tables[table][slot] {
            Slot::Empty if table == 0 && s.grows => {
                if self.is(Mutation::LeavesTheEndOpen) {
                    next_table
                } else {
                    Step::Close { slot, row }
                }
            }
            Slot::Empty => Step::Put { table, slot, row, then },
            Slot::FrozenEmpty => next_table,
            Slot::Entry(found) | Slot::Frozen(found) => {
                let is_same = match then {
                    Then::Insert => NEW.contains(&found),
                    Then::Moved { .. } => found == row,
                };
                if is_same { self.is_there(row, then) } else { on }
            }
            // H4
            Slot::Deleted(found)
                if found == row && then != Then::Insert && !self.is(Mutation::PutsBackWhatWasRemoved) =>
            {
                self.is_there(row, then)
            }
            Slot::Deleted(_) | Slot::Moved => on,
        }
    }

    fn moving(&self, s: &State, slot: usize, then: After) -> Step {
        let from = s.tables[0][slot];
        match from {
            Slot::Empty => Step::Turn { slot, from, to: Slot::FrozenEmpty, then },
            Slot::FrozenEmpty | Slot::Moved | Slot::Deleted(_) => after(slot, then),
            Slot::Entry(row) => Step::Turn { slot, from, to: Slot::Frozen(row), then },
            Slot::Frozen(_) if self.is(Mutation::MovesBeforeItCopies) => {
                Step::Turn { slot, from, to: Slot::Moved, then }
            }
            Slot::Frozen(row) => Step::Probe { table: 1, slot: 0, row, then: Then::Moved { slot, then } },
        }
    }

    fn find(s: &State, table: usize, slot: usize) -> Step {
        match s.tables[table][slot] {
            word if word.ends() => {
                if table == 0 && s.grows {
                    Step::Find { table: 1, slot: 0 }
                } else {
                    Step::Done
                }
            }
            Slot::Entry(GOES) => Step::Delete { table, slot },
            Slot::Frozen(GOES) => Step::Move { slot, then: After::Removal },
            _ => Step::Find { table, slot: slot + 1 },
        }
    }
}

/// Where a mover goes on after that slot.
fn after(slot: usize, then: After) -> Step {
    match then {
        After::Removal => Step::Find { table: 1, slot: 0 },
        After::NextSlot if slot + 1 < FIRST_SLOTS => Step::Move { slot: slot + 1, then },
        After::NextSlot => Step::Done,
    }
}
