//! The commit protocol as atomic steps, and the ways to break it.
//!
//! A step is one shared load, CAS or store, with whatever private work follows it. Two things happen together because
//! nobody can tell them apart: owning a row and looking at its newest committed version (the chain of an owned row
//! does not change but for aborted versions), and staging a log record and preparing (nobody reads the ring before
//! the commit point).

use crate::state::{LogStep, NONE, Operation, Purpose, ROWS, Record, State, Step, TRANSACTIONS, Walk};

/// A deliberate mistake.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Mutation {
    /// The timestamp is taken while the record is ACTIVE, and set from there.
    NoPending,
    /// PENDING is announced, but the timestamp was taken before.
    TimestampBeforePending,
    /// Readers take a PENDING writer's version for invisible.
    PendingSkipped,
    /// Readers take a PREPARED writer's version for invisible, whatever its timestamp.
    PreparedSkipped,
    /// Validation looks at committed versions only.
    ValidationBlind,
    /// There is no validation.
    NoValidation,
    /// COMMITTED is stored where a CAS belongs, over a forced abort.
    PlainStoreCommit,
    /// Versions get their timestamp when the writer is prepared.
    StampEarly,
    /// The log record is staged after the commit point.
    StageAfterCommit,
    /// Rows are written without owning them.
    WriteWithoutOwning,
    /// The snapshot is extended without reading again.
    ExtendBlindly,
    /// The log writer passes over PENDING and PREPARED records.
    LogDoesNotResolve,
    /// The log writer loads the clock after it looked at the records.
    LogClockLate,
    /// A record is used again before its log entry bears the decision.
    ReuseBeforeNote,
    /// The log writer believes what a record says without looking at the entry again.
    LogLooksOnce,
    /// Who reads without a snapshot passes over versions that are not committed.
    LooksBelowIntents,
    /// Who reads without a snapshot believes a stamp, whatever has become of the head.
    BelievesStamps,
}

/// Every mistake there is.
pub(crate) const MUTATIONS: [Mutation; 17] = [
    Mutation::NoPending,
    Mutation::TimestampBeforePending,
    Mutation::PendingSkipped,
    Mutation::PreparedSkipped,
    Mutation::ValidationBlind,
    Mutation::NoValidation,
    Mutation::PlainStoreCommit,
    Mutation::StampEarly,
    Mutation::StageAfterCommit,
    Mutation::WriteWithoutOwning,
    Mutation::ExtendBlindly,
    Mutation::LogDoesNotResolve,
    Mutation::LogClockLate,
    Mutation::ReuseBeforeNote,
    Mutation::LogLooksOnce,
    Mutation::LooksBelowIntents,
    Mutation::BelievesStamps,
];

/// Who does something, and what: for traces.
pub(crate) type Label = (Actor, &'static str);

/// Who.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Actor {
    Transaction(usize),
    LogWriter,
    /// Whoever aborts transaction `.0` against its will.
    Forcer(usize),
}

/// Programs, and the mistake if any.
#[derive(Clone, Copy)]
pub(crate) struct Model {
    pub(crate) programs: [&'static [Operation]; TRANSACTIONS],
    pub(crate) mutation: Option<Mutation>,
}

/// What examining a version tells a walker.
enum Sight {
    Visible,
    Older,
    Help(u8),
    Wait,
}

impl Model {
    pub(crate) fn is(&self, mutation: Mutation) -> bool {
        self.mutation == Some(mutation)
    }

    /// Does transaction `t` write `row`?
    pub(crate) fn writes(&self, t: usize, row: usize) -> bool {
        self.programs[t]
            .iter()
            .any(|operation| matches!(operation, Operation::Write(r) if usize::from(*r) == row))
    }

    /// Does it write or lock nothing?
    pub(crate) fn is_read_only(&self, t: usize) -> bool {
        let reads = |operation: &_| matches!(operation, Operation::Read(_) | Operation::Look(_));
        self.programs[t].iter().all(reads)
    }

    /// Every state one step away.
    pub(crate) fn successors(&self, state: &State, out: &mut Vec<(Label, State)>) {
        for t in 0..TRANSACTIONS {
            let mut next = *state;
            if let Some(what) = self.step(&mut next, t) {
                out.push(((Actor::Transaction(t), what), self.settled(next)));
            }
            if state.forced_left > 0 && !state.records[t].is_decided() && !self.is_read_only(t) {
                let mut next = *state;
                next.forced_left -= 1;
                next.records[t] = Record::Aborted;
                out.push(((Actor::Forcer(t), "aborted by force"), self.settled(next)));
            }
        }
        let mut next = *state;
        if let Some(what) = self.log_step(&mut next) {
            out.push(((Actor::LogWriter, what), self.settled(next)));
        }
    }

    /// The state after every step that nobody can hinder or notice: it reads what no longer changes. Such a step leads to the
    /// same states now or later, so its interleavings are not explored.
    fn settled(&self, mut state: State) -> State {
        for t in 0..TRANSACTIONS {
            while self.is_private(&state, t) && self.step(&mut state, t).is_some() {}
        }
        while Self::is_log_step_private(&state) && self.log_step(&mut state).is_some() {}
        state.canonical()
    }

    fn is_private(&self, s: &State, t: usize) -> bool {
        match s.transactions[t].step {
            Step::Walk(walk) if walk.version == NONE => false,
            Step::Walk(walk) if walk.version == 0 || is_of(t, walk.version) => true,
            Step::Walk(Walk { purpose: Purpose::Look { .. }, row, version }) => {
                s.stamps[usize::from(version - 1)][usize::from(row)] != 0
            }
            Step::Walk(walk) => match s.records[writer_of(walk.version)] {
                // Else it stamps it.
                Record::Committed(_) => s.stamps[usize::from(walk.version - 1)][usize::from(walk.row)] != 0,
                Record::Aborted => true,
                Record::Prepared(timestamp) => timestamp > Self::bound(s, t, walk),
                _ => false,
            },
            Step::HelpPrepare(_, whom, _) => s.records[usize::from(whom)] != Record::Pending,
            Step::Pend | Step::Prepare(_) => s.records[t] == Record::Aborted,
            Step::Commit => s.records[t] == Record::Aborted && !self.is(Mutation::PlainStoreCommit),
            Step::Stamp(_) => true,
            Step::Note | Step::Reuse => {
                let noted = s.transactions[t].step == Step::Reuse && s.is_noted(small(t));
                is_past_the_log(s, t) || noted && s.log.step != LogStep::Ask(small(t))
            }
            _ => false,
        }
    }

    /// The exclusive bound of timestamps that a walk sees.
    fn bound(s: &State, t: usize, walk: Walk) -> u8 {
        match walk.purpose {
            Purpose::Read { .. } | Purpose::Look { .. } => s.transactions[t].snapshot,
            Purpose::Extend { bound, .. } => bound,
            Purpose::Validate => s.transactions[t].timestamp,
        }
    }

    /// One step of transaction `t`, or `None` when it has to wait or has finished.
    fn step(&self, s: &mut State, t: usize) -> Option<&'static str> {
        Some(match s.transactions[t].step {
            Step::Begin => {
                s.transactions[t].snapshot = s.clock;
                s.transactions[t].step = Step::Operation(0);
                "takes its snapshot"
            }
            Step::Operation(index) => return self.operation(s, t, index),
            Step::Walk(walk) => return self.walk(s, t, walk),
            Step::LookAgain(walk) => self.look_again(s, t, walk),
            Step::HelpTake(walk, whom) => {
                s.transactions[t].step = Step::HelpPrepare(walk, whom, take_timestamp(s));
                "takes a timestamp for a PENDING peer"
            }
            Step::HelpPrepare(walk, whom, timestamp) => {
                let record = &mut s.records[usize::from(whom)];
                if *record == Record::Pending {
                    *record = Record::Prepared(timestamp);
                }
                s.transactions[t].step = Step::Walk(walk);
                "helps a PENDING peer to PREPARED"
            }
            Step::LoadHead(index) => {
                let row = self.row(t, index);
                let head = s.heads[row];
                // Its own is pushed out.
                let below = if is_of(t, head) { s.older[usize::from(head - 1)][row] } else { head };
                s.older[usize::from(self.written(t, index) - 1)][row] = below;
                s.transactions[t].step = Step::Link(index, head);
                "loads the head"
            }
            Step::Link(index, expected) => {
                let row = self.row(t, index);
                if s.heads[row] == expected {
                    s.heads[row] = self.written(t, index);
                    self.go_on(s, t, index);
                } else {
                    s.transactions[t].step = Step::LoadHead(index);
                }
                "links its version"
            }
            Step::Pend | Step::TakeTimestamp | Step::Prepare(_) => self.prepare(s, t),
            Step::Commit => self.commit(s, t),
            Step::StageLate => {
                s.staged[t] = s.transactions[t].timestamp;
                s.transactions[t].step = Step::Stamp(0);
                "stages its log record"
            }
            Step::Stamp(row) => {
                let row = usize::from(row);
                if self.writes(t, row) {
                    s.stamps[t][row] = s.transactions[t].timestamp;
                }
                let first = if self.is(Mutation::ReuseBeforeNote) { Step::Reuse } else { Step::Note };
                s.transactions[t].step = next_row(row).map_or(first, Step::Stamp);
                "stamps"
            }
            Step::Note | Step::Reuse if !can_matter(s, t) => return None,
            Step::Note => {
                s.noted |= 1 << t;
                let last = self.is(Mutation::ReuseBeforeNote);
                s.transactions[t].step = if last { Step::Finished } else { Step::Reuse };
                "notes in its log entry that it has committed"
            }
            Step::Reuse => {
                s.reused |= 1 << t;
                let first = self.is(Mutation::ReuseBeforeNote);
                s.transactions[t].step = if first { Step::Note } else { Step::Finished };
                "has its record used again"
            }
            Step::CleanUp => {
                for row in 0..ROWS {
                    if is_of(t, s.heads[row]) {
                        s.heads[row] = s.older[usize::from(s.heads[row] - 1)][row];
                    }
                }
                finish_aborted(s, t);
                "unlinks its versions"
            }
            Step::Finished => return None,
        })
    }

    /// The version that operation `index` links: another than the last if it writes the row once more.
    fn written(&self, t: usize, index: u8) -> u8 {
        let (this, later) = self.programs[t][usize::from(index)..].split_first().expect("an operation");
        version_of(t) + if later.contains(this) { small(TRANSACTIONS) } else { 0 }
    }

    fn row(&self, t: usize, index: u8) -> usize {
        match self.programs[t][usize::from(index)] {
            Operation::Read(row) | Operation::Write(row) | Operation::Lock(row) | Operation::Look(row) => {
                usize::from(row)
            }
        }
    }

    /// After operation `index`.
    fn go_on(&self, s: &mut State, t: usize, index: u8) {
        let next = index + 1;
        s.transactions[t].step = if usize::from(next) < self.programs[t].len() {
            Step::Operation(next)
        } else if self.is_read_only(t) {
            Step::Finished
        } else if self.is(Mutation::NoPending) || self.is(Mutation::TimestampBeforePending) {
            Step::TakeTimestamp
        } else {
            Step::Pend
        };
    }

    fn operation(&self, s: &mut State, t: usize, index: u8) -> Option<&'static str> {
        let row = self.row(t, index);
        if let Operation::Read(row) = self.programs[t][usize::from(index)] {
            // Loading the head is the walk's first step; fall through to it at once.
            let walk = Walk { purpose: Purpose::Read { index }, row, version: NONE };
            return self.walk(s, t, walk);
        }
        if let Operation::Look(row) = self.programs[t][usize::from(index)] {
            return self.walk(s, t, Walk { purpose: Purpose::Look { index }, row, version: NONE });
        }
        let owner = s.owners[row];
        let held = owner != 0 && owner != version_of(t) && !s.records[usize::from(owner - 1)].is_decided();
        if held && !self.is(Mutation::WriteWithoutOwning) {
            // It may as well wait: then its turn comes later.
            return Some(abort_self(s, t, "gives up: the row is owned"));
        }
        s.owners[row] = version_of(t);
        let newest = Self::newest_committed(s, t, row);
        if newest >= s.transactions[t].snapshot {
            let bound = s.clock;
            let purpose = Purpose::Extend { index, bound };
            match Self::first_read(s, t, 0).filter(|_| !self.is(Mutation::ExtendBlindly)) {
                Some(row) => s.transactions[t].step = Step::Walk(Walk { purpose, row, version: NONE }),
                None => self.extended(s, t, index, bound),
            }
            return Some("owns a row with a version younger than its snapshot");
        }
        self.owned(s, t, index);
        Some("owns a row")
    }

    fn owned(&self, s: &mut State, t: usize, index: u8) {
        match self.programs[t][usize::from(index)] {
            Operation::Write(_) => s.transactions[t].step = Step::LoadHead(index),
            _ => self.go_on(s, t, index),
        }
    }

    fn extended(&self, s: &mut State, t: usize, index: u8, bound: u8) {
        s.transactions[t].snapshot = bound;
        self.owned(s, t, index);
    }

    /// The first row from `from` on that `t` has read.
    fn first_read(s: &State, t: usize, from: usize) -> Option<u8> {
        (from..ROWS).find(|&row| s.transactions[t].reads[row] != NONE).map(small)
    }

    fn newest_committed(s: &State, t: usize, row: usize) -> u8 {
        let mut version = s.heads[row];
        loop {
            if version != version_of(t)
                && let Some(timestamp) = s.committed_at(version)
            {
                return timestamp;
            }
            version = s.older[usize::from(version - 1)][row];
        }
    }

    fn walk(&self, s: &mut State, t: usize, walk: Walk) -> Option<&'static str> {
        let row = usize::from(walk.row);
        if walk.version == NONE {
            s.transactions[t].step = Step::Walk(Walk { version: s.heads[row], ..walk });
            if matches!(walk.purpose, Purpose::Look { .. }) {
                // Nobody looks at the clock here: its place, if it is not the stamp's.
                s.transactions[t].snapshot = s.clock;
            }
            return Some("loads a head");
        }
        if let Purpose::Look { index } = walk.purpose {
            return Some(self.look(s, t, walk, index));
        }
        let bound = Self::bound(s, t, walk);
        match self.sight(s, t, walk, bound) {
            Sight::Wait => None,
            Sight::Older => {
                let version = s.older[usize::from(walk.version - 1)][row];
                s.transactions[t].step = Step::Walk(Walk { version, ..walk });
                Some("passes an invisible version")
            }
            Sight::Help(whom) => {
                s.transactions[t].step = Step::HelpTake(walk, whom);
                Some("meets a PENDING record")
            }
            Sight::Visible => Some(self.arrived(s, t, walk)),
        }
    }

    /// Z1: shows a head that is stamped, or takes a snapshot to look again.
    fn look(&self, s: &mut State, t: usize, walk: Walk, index: u8) -> &'static str {
        let row = usize::from(walk.row);
        let stamp = match walk.version {
            0 => Some(0),
            version => Some(s.stamps[usize::from(version - 1)][row]).filter(|stamp| *stamp != 0),
        };
        if stamp.is_some() {
            s.transactions[t].step = Step::LookAgain(walk);
            return "finds a head stamped";
        }
        if self.is(Mutation::LooksBelowIntents) {
            let version = s.older[usize::from(walk.version - 1)][row];
            s.transactions[t].step = Step::Walk(Walk { version, ..walk });
            return "passes over a head";
        }
        take_snapshot_after_all(s, t, walk, index)
    }

    /// Z4: shows it if it still is the head.
    fn look_again(&self, s: &mut State, t: usize, walk: Walk) -> &'static str {
        let Purpose::Look { index } = walk.purpose else { unreachable!("only a look ends with it") };
        let row = usize::from(walk.row);
        // What lies below is no head, and he does not ask.
        let believes = self.is(Mutation::BelievesStamps) || self.is(Mutation::LooksBelowIntents);
        if s.heads[row] != walk.version && !believes {
            return take_snapshot_after_all(s, t, walk, index);
        }
        let stamp = if walk.version == 0 { 0 } else { s.stamps[usize::from(walk.version - 1)][row] };
        s.transactions[t].reads[row] = walk.version;
        s.transactions[t].snapshot = s.transactions[t].snapshot.max(stamp + 1);
        self.go_on(s, t, index);
        "reads a head that is stamped"
    }

    fn sight(&self, s: &mut State, t: usize, walk: Walk, bound: u8) -> Sight {
        if walk.version == 0 {
            return Sight::Visible;
        }
        let (writer, at) = (writer_of(walk.version), usize::from(walk.version - 1));
        if writer == t {
            let reads = matches!(walk.purpose, Purpose::Read { .. });
            return if reads { Sight::Visible } else { Sight::Older };
        }
        let before = |timestamp| if timestamp < bound { Sight::Visible } else { Sight::Older };
        let stamp = s.stamps[at][usize::from(walk.row)];
        if stamp != 0 {
            return before(stamp);
        }
        let blind = walk.purpose == Purpose::Validate && self.is(Mutation::ValidationBlind);
        match s.records[writer] {
            Record::Committed(timestamp) => {
                s.stamps[at][usize::from(walk.row)] = timestamp;
                before(timestamp)
            }
            Record::Pending if blind || self.is(Mutation::PendingSkipped) => Sight::Older,
            Record::Pending => Sight::Help(small(writer)),
            Record::Prepared(_) if blind || self.is(Mutation::PreparedSkipped) => Sight::Older,
            Record::Prepared(timestamp) if timestamp < bound => Sight::Wait,
            Record::Active | Record::Aborted | Record::Prepared(_) => Sight::Older,
        }
    }

    /// A walk has found the version its reader sees.
    fn arrived(&self, s: &mut State, t: usize, walk: Walk) -> &'static str {
        let row = usize::from(walk.row);
        if let Purpose::Read { index } = walk.purpose {
            if !is_of(t, walk.version) {
                s.transactions[t].reads[row] = walk.version;
            }
            self.go_on(s, t, index);
            return "reads";
        }
        if s.transactions[t].reads[row] != walk.version {
            return abort_self(s, t, "finds that what it read has changed, and aborts");
        }
        match (Self::first_read(s, t, row + 1), walk.purpose) {
            (Some(row), _) => s.transactions[t].step = Step::Walk(Walk { row, version: NONE, ..walk }),
            (None, Purpose::Extend { index, bound }) => self.extended(s, t, index, bound),
            (None, _) => s.transactions[t].step = Step::Commit,
        }
        "finds a read unchanged"
    }

    fn prepare(&self, s: &mut State, t: usize) -> &'static str {
        let late_announcement = self.is(Mutation::TimestampBeforePending);
        match s.transactions[t].step {
            Step::Pend => {
                if s.records[t] == Record::Active {
                    s.records[t] = Record::Pending;
                    let early = s.transactions[t].timestamp;
                    s.transactions[t].step =
                        if late_announcement { Step::Prepare(early) } else { Step::TakeTimestamp };
                } else {
                    s.transactions[t].step = Step::CleanUp;
                }
                "announces PENDING"
            }
            Step::TakeTimestamp => {
                let timestamp = take_timestamp(s);
                if late_announcement {
                    s.transactions[t].timestamp = timestamp;
                    s.transactions[t].step = Step::Pend;
                } else {
                    s.transactions[t].step = Step::Prepare(timestamp);
                }
                "takes a timestamp"
            }
            Step::Prepare(timestamp) => {
                let expected = if self.is(Mutation::NoPending) { Record::Active } else { Record::Pending };
                if s.records[t] == expected {
                    s.records[t] = Record::Prepared(timestamp);
                }
                if let Record::Prepared(timestamp) = s.records[t] {
                    s.transactions[t].timestamp = timestamp;
                    self.prepared(s, t);
                } else {
                    s.transactions[t].step = Step::CleanUp;
                }
                "becomes PREPARED"
            }
            _ => unreachable!("called for these three steps"),
        }
    }

    fn prepared(&self, s: &mut State, t: usize) {
        if !self.is(Mutation::StageAfterCommit) {
            s.staged[t] = s.transactions[t].timestamp;
        }
        if self.is(Mutation::StampEarly) {
            for row in (0..ROWS).filter(|&row| self.writes(t, row)) {
                s.stamps[t][row] = s.transactions[t].timestamp;
            }
        }
        let first = Self::first_read(s, t, 0).filter(|_| !self.is(Mutation::NoValidation));
        s.transactions[t].step = first
            .map_or(Step::Commit, |row| Step::Walk(Walk { purpose: Purpose::Validate, row, version: NONE }));
    }

    fn commit(&self, s: &mut State, t: usize) -> &'static str {
        let timestamp = s.transactions[t].timestamp;
        if s.records[t] == Record::Prepared(timestamp) || self.is(Mutation::PlainStoreCommit) {
            s.records[t] = Record::Committed(timestamp);
            s.transactions[t].snapshot = 0;
            s.transactions[t].step =
                if self.is(Mutation::StageAfterCommit) { Step::StageLate } else { Step::Stamp(0) };
        } else {
            s.transactions[t].step = Step::CleanUp;
        }
        "commits"
    }
}

/// Is the entry of `t` one that the log writer will not look at any more?
fn is_past_the_log(s: &State, t: usize) -> bool {
    s.log.step == LogStep::Finished || s.staged[t] < s.log.durable
}

/// What becomes of the entry and the record of a committed transaction concerns nobody but a log writer that has found the entry
/// without a note and goes to ask the record: to have noted it before gives the answer that the record gives. So both wait
/// for that.
fn can_matter(s: &State, t: usize) -> bool {
    let asked = matches!(s.log.step, LogStep::Ask(whom) | LogStep::Again(whom, _) if usize::from(whom) == t);
    asked || is_past_the_log(s, t) || s.is_noted(small(t))
}

pub(crate) fn take_timestamp(s: &mut State) -> u8 {
    s.clock += 1;
    s.clock - 1
}

fn abort_self(s: &mut State, t: usize, what: &'static str) -> &'static str {
    if !s.records[t].is_decided() {
        s.records[t] = Record::Aborted;
    }
    s.transactions[t].step = Step::CleanUp;
    what
}

/// What an aborted transaction knew no longer matters; forgetting it lets states coincide.
fn finish_aborted(s: &mut State, t: usize) {
    let transaction = &mut s.transactions[t];
    (transaction.step, transaction.snapshot, transaction.timestamp) = (Step::Finished, 0, 0);
    transaction.reads = [NONE; ROWS];
    s.staged[t] = 0;
}

/// For want of one that alone tells.
fn take_snapshot_after_all(s: &mut State, t: usize, walk: Walk, index: u8) -> &'static str {
    s.transactions[t].snapshot = s.clock;
    let purpose = Purpose::Read { index };
    s.transactions[t].step = Step::Walk(Walk { purpose, version: NONE, ..walk });
    "takes a snapshot after all"
}

/// Whose version is it? Not that with which a row begins.
fn writer_of(version: u8) -> usize {
    usize::from(version - 1) % TRANSACTIONS
}

fn is_of(t: usize, version: u8) -> bool {
    version != 0 && writer_of(version) == t
}

/// The last version that a transaction writes of a row.
fn version_of(t: usize) -> u8 {
    small(t) + 1
}

fn next_row(row: usize) -> Option<u8> {
    (row + 1 < ROWS).then(|| small(row + 1))
}

fn small(index: usize) -> u8 {
    u8::try_from(index).expect("rows and transactions are few")
}
