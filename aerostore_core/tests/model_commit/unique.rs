//! A unique index, as atomic steps: transactions that give one key to rows of their own, or take it from them, one that makes the index
//! meanwhile, and forced aborts.
//!
//! The rules under test are those of `txn/unique.rs`:
//!
//! - U1 a key is looked at after C is drawn; who has a smaller C is waited for;
//! - U4 whether there is an index is asked after C is drawn, and the builder says so before it looks at the clock;
//! - U5 the builder looks for two rows of one key after its last entry was added, at a timestamp taken then.
//!
//! What is left out: the removal of entries, and pruning (K2, G6), which keep what counts at C.

use crate::progress::{Deed, World};

const ROWS: usize = 3;

/// A deliberate mistake.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Mutation {
    /// U1: the look comes before C is drawn.
    LooksBeforeItDraws,
    /// K1: the entry is added after C is drawn.
    AddsWhilePrepared,
    /// U1: who is undecided does not count, whatever its C.
    WaitsForNobody,
    /// U4: whether there is an index is asked before C is drawn.
    AsksBeforeItDraws,
    /// U4: the index is announced after the builder has added what was there.
    AnnouncesLast,
    /// U5: the builder looks at a timestamp from before it added its entries.
    BuilderLooksBack,
}

/// What a transaction does to the row of its own number.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Program {
    Nothing,
    Gives,
    Takes,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
enum Word {
    Active,
    Pending,
    Prepared(u8),
    Committed(u8),
    Aborted,
}

/// What a transaction does next.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
enum Step {
    Link,
    /// Look whether there is an index to add an entry to.
    Find,
    Add,
    Begin,
    Draw,
    /// Ask whether there is a unique index.
    Ask,
    /// Look at a row's entry, and at the row.
    Look(usize),
    Decide,
    Done,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
enum Build {
    /// There has been an index all the time.
    Never,
    Announce,
    Since,
    /// Look at a row's versions.
    Take(usize),
    Put(usize),
    /// Take the timestamp of the look.
    At,
    Look {
        at: u8,
        row: usize,
        held: u8,
    },
    /// Complete; since then.
    Made(u8),
    GivenUp,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) struct State {
    clock: u8,
    words: [Word; ROWS],
    steps: [Step; ROWS],
    /// Rows whose version is linked.
    linked: [bool; ROWS],
    /// Rows with an entry of the key.
    entries: [bool; ROWS],
    is_announced: bool,
    /// Those that were told of it before they drew C.
    told: [bool; ROWS],
    build: Build,
    since: u8,
    aborts: u8,
}

#[derive(Clone, Copy)]
pub(crate) struct Unique {
    pub(crate) name: &'static str,
    pub(crate) programs: [Program; ROWS],
    /// Whether the first row has the key at the beginning.
    pub(crate) has_key: bool,
    /// Whether somebody makes the index, which is there otherwise.
    pub(crate) is_made: bool,
    pub(crate) aborts: u8,
    pub(crate) mutation: Option<Mutation>,
}

/// Whether a row has the key at a timestamp, as far as that is decided.
enum Seen {
    Has(bool),
    /// Its transaction has to get a timestamp first.
    Help,
    Wait,
}

impl Unique {
    fn is(&self, mutation: Mutation) -> bool {
        self.mutation == Some(mutation)
    }

    fn had(&self, row: usize) -> bool {
        row == 0 && self.has_key
    }

    fn seen(&self, s: &State, row: usize, at: u8) -> Seen {
        let gives = self.programs[row] == Program::Gives;
        match s.words[row] {
            Word::Committed(c) if c <= at => Seen::Has(gives),
            Word::Pending => Seen::Help,
            Word::Prepared(c) if c <= at && !self.is(Mutation::WaitsForNobody) => Seen::Wait,
            _ => Seen::Has(self.had(row)),
        }
    }

    /// One step of the transaction that writes `row`; `None` when it has ended or has to wait.
    fn transact(&self, s: &mut State, row: usize) -> Option<&'static str> {
        let undecided = matches!(s.words[row], Word::Active | Word::Pending | Word::Prepared(_));
        if s.steps[row] == Step::Done || self.programs[row] == Program::Nothing {
            return None;
        }
        if !undecided {
            s.steps[row] = Step::Done;
            return Some("finds itself aborted");
        }
        let gives = self.programs[row] == Program::Gives;
        let (next, what) = match s.steps[row] {
            Step::Link => {
                s.linked[row] = true;
                (
                    if gives && !self.is(Mutation::AddsWhilePrepared) { Step::Find } else { Step::Begin },
                    "links its version",
                )
            }
            Step::Find => (if s.is_announced { Step::Add } else { self.after_add() }, "looks for indexes"),
            Step::Add => {
                s.entries[row] = true;
                (self.after_add(), "adds its entry")
            }
            Step::Begin => {
                s.words[row] = Word::Pending;
                let first = match self.mutation {
                    Some(Mutation::LooksBeforeItDraws | Mutation::AsksBeforeItDraws) if gives => Step::Ask,
                    _ => Step::Draw,
                };
                (first, "is PENDING")
            }
            Step::Draw => {
                if s.words[row] == Word::Pending {
                    s.clock += 1;
                    s.words[row] = Word::Prepared(s.clock);
                }
                let next = match self.mutation {
                    _ if !gives => Step::Decide,
                    Some(Mutation::LooksBeforeItDraws) => Step::Decide,
                    // What it was told before it drew C says where it goes on.
                    Some(Mutation::AsksBeforeItDraws) if !s.told[row] => Step::Decide,
                    Some(Mutation::AsksBeforeItDraws) => Step::Look(0),
                    Some(Mutation::AddsWhilePrepared) => Step::Find,
                    _ => Step::Ask,
                };
                (next, "has its timestamp")
            }
            Step::Ask => {
                let next = match (s.is_announced, self.mutation) {
                    (true, Some(Mutation::AsksBeforeItDraws)) => {
                        s.told[row] = true;
                        Step::Draw
                    }
                    (true, _) => Step::Look(0),
                    (false, Some(Mutation::LooksBeforeItDraws | Mutation::AsksBeforeItDraws)) => Step::Draw,
                    (false, _) => Step::Decide,
                };
                (next, "asks for unique indexes")
            }
            Step::Look(other) => self.look(s, row, other)?,
            Step::Decide => {
                if let Word::Prepared(c) = s.words[row] {
                    s.words[row] = Word::Committed(c);
                }
                (Step::Done, "commits")
            }
            Step::Done => return None,
        };
        s.steps[row] = next;
        Some(what)
    }

    fn after_add(&self) -> Step {
        if self.is(Mutation::AddsWhilePrepared) { Step::Ask } else { Step::Begin }
    }

    fn look(&self, s: &mut State, row: usize, other: usize) -> Option<(Step, &'static str)> {
        let (at, after) = match s.words[row] {
            Word::Prepared(c) => (c, Step::Decide),
            _ => (s.clock, Step::Draw),
        };
        let on = if other + 1 == ROWS { after } else { Step::Look(other + 1) };
        if other == row || !s.entries[other] {
            return Some((on, "passes a row by"));
        }
        Some(match self.seen(s, other, at) {
            Seen::Has(false) => (on, "looks at a row"),
            Seen::Has(true) => {
                s.words[row] = Word::Aborted;
                (Step::Done, "finds a row with the key")
            }
            Seen::Help => {
                s.help(other);
                (Step::Look(other), "helps one that is PENDING")
            }
            Seen::Wait => return None,
        })
    }

    /// One step of the builder.
    fn build(&self, s: &mut State) -> Option<&'static str> {
        let late = self.is(Mutation::AnnouncesLast);
        let (next, what) = match s.build {
            Build::Never | Build::Made(_) | Build::GivenUp => return None,
            Build::Announce => {
                s.is_announced = true;
                (if late { Build::At } else { Build::Since }, "announces the index")
            }
            Build::Since => {
                s.since = s.clock;
                (Build::Take(0), "looks at the clock")
            }
            Build::Take(row) => {
                let gives = self.programs[row] == Program::Gives;
                let is_new = s.linked[row] && s.words[row] != Word::Aborted;
                let is_old_seen = !matches!(s.words[row], Word::Committed(c) if c <= s.since);
                let takes = is_new && gives || self.had(row) && is_old_seen;
                (if takes { Build::Put(row) } else { Self::after(row, late) }, "looks at a row's versions")
            }
            Build::Put(row) => {
                s.entries[row] = true;
                (Self::after(row, late), "adds a row's entry")
            }
            Build::At => {
                let at = if self.is(Mutation::BuilderLooksBack) { s.since } else { s.clock };
                (Build::Look { at, row: 0, held: 0 }, "takes the timestamp of its look")
            }
            Build::Look { at, row, held } => {
                let has = match self.seen(s, row, at) {
                    Seen::Has(has) => has && s.entries[row],
                    Seen::Help => {
                        s.help(row);
                        return Some("helps one that is PENDING");
                    }
                    Seen::Wait => return None,
                };
                let held = held + u8::from(has);
                let next = match row + 1 {
                    _ if held > 1 => Build::GivenUp,
                    ROWS => Build::Made(at),
                    row => Build::Look { at, row, held },
                };
                (next, "looks at a row")
            }
        };
        s.build = next;
        Some(what)
    }

    fn after(row: usize, late: bool) -> Build {
        match row + 1 {
            ROWS if late => Build::Announce,
            ROWS => Build::At,
            row => Build::Take(row),
        }
    }
}

impl State {
    fn help(&mut self, row: usize) {
        self.clock += 1;
        self.words[row] = Word::Prepared(self.clock);
    }
}

impl World for Unique {
    type State = State;

    fn name(&self) -> &'static str {
        self.name
    }

    fn initial(&self) -> State {
        let build = match (self.is_made, self.is(Mutation::AnnouncesLast)) {
            (false, _) => Build::Never,
            (true, false) => Build::Announce,
            (true, true) => Build::Since,
        };
        State {
            clock: 0,
            words: [Word::Active; ROWS],
            steps: self
                .programs
                .map(|program| if program == Program::Nothing { Step::Done } else { Step::Link }),
            linked: [false; ROWS],
            entries: [self.has_key && !self.is_made, false, false],
            is_announced: !self.is_made,
            told: [false; ROWS],
            build,
            since: 0,
            aborts: 0,
        }
    }

    fn successors(&self, state: &State, into: &mut Vec<(Deed, State)>) {
        for row in 0..ROWS {
            let number = u8::try_from(row + 1).expect("rows are few");
            let mut next = *state;
            if let Some(what) = self.transact(&mut next, row) {
                into.push((("transaction", number, what), next));
            }
            let undecided = matches!(state.words[row], Word::Active | Word::Pending | Word::Prepared(_));
            if state.aborts < self.aborts && undecided && state.steps[row] != Step::Done {
                let mut next = *state;
                next.words[row] = Word::Aborted;
                next.aborts += 1;
                into.push((("transaction", number, "is aborted by others"), next));
            }
        }
        let mut next = *state;
        if let Some(what) = self.build(&mut next) {
            into.push((("builder", 1, what), next));
        }
    }

    fn broken(&self, state: &State) -> Option<&'static str> {
        let since = match state.build {
            Build::Never => 0,
            Build::Made(at) => at,
            _ => return None,
        };
        let has = |row: usize, at: u8| match state.words[row] {
            Word::Committed(c) if c <= at => self.programs[row] == Program::Gives,
            _ => self.had(row),
        };
        let twice = |at| (0..ROWS).filter(|row| has(*row, at)).count() > 1;
        (since..=state.clock).any(twice).then_some("two rows have one key")
    }

    fn is_over(&self, state: &State) -> bool {
        state.steps.iter().all(|step| *step == Step::Done)
            && matches!(state.build, Build::Never | Build::Made(_) | Build::GivenUp)
    }
}
