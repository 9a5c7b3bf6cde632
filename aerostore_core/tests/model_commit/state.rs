//! What the model remembers: records, chains, the clock, three transactions' places in their programs, the log.
//!
//! Timestamps are exclusive bounds: a snapshot or watermark `t` covers every commit timestamp below `t`. Behaviour then
//! depends on the order of timestamps alone, and [`State::canonical`] can renumber them without gaps, which keeps the
//! number of states finite and small.

/// Transactions in the model.
pub(crate) const TRANSACTIONS: usize = 3;
/// Versions that they may have of a row: two each, of which the first has been pushed out by the second (see [`State::older`]).
pub(crate) const VERSIONS: usize = 2 * TRANSACTIONS;
/// Rows in the model.
pub(crate) const ROWS: usize = 2;
/// "Not there": no version, nothing read.
pub(crate) const NONE: u8 = u8::MAX;

/// A transaction record's word.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Record {
    Active,
    Pending,
    Prepared(u8),
    Committed(u8),
    Aborted,
}

impl Record {
    pub(crate) fn is_decided(self) -> bool {
        matches!(self, Self::Committed(_) | Self::Aborted)
    }
}

/// What a transaction's program may do.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Operation {
    /// Read a row at the snapshot.
    Read(u8),
    /// Own a row and link a new version of it.
    Write(u8),
    /// Own a row without writing it.
    Lock(u8),
    /// Read a row without a snapshot (Z1); the program's only operation.
    Look(u8),
}

/// Why a chain is walked; says which bound applies and what follows.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Purpose {
    /// Operation `index` of the program reads.
    Read { index: u8 },
    /// Operation `index` looks at the head alone.
    Look { index: u8 },
    /// Operation `index` found a version younger than the snapshot: may the snapshot move up to `bound`?
    Extend { index: u8, bound: u8 },
    /// The transaction is prepared and checks what it read.
    Validate,
}

/// A place in a chain.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Walk {
    pub(crate) purpose: Purpose,
    pub(crate) row: u8,
    /// The version about to be examined: 0 is the row's first, `t + 1` the last that transaction `t` writes, `t + 1 + TRANSACTIONS` one that it
    /// writes over; `NONE`: head not loaded yet.
    pub(crate) version: u8,
}

/// The next atomic step of a transaction.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Step {
    Begin,
    Operation(u8),
    Walk(Walk),
    /// Is the version whose stamp was seen without a snapshot still the head (Z4)?
    LookAgain(Walk),
    /// Take a timestamp for the PENDING record of another transaction met on a walk.
    HelpTake(Walk, u8),
    /// CAS that timestamp in.
    HelpPrepare(Walk, u8, u8),
    /// Load the head a new version will be linked over.
    LoadHead(u8),
    /// Link by CAS of the head, expected to be as loaded.
    Link(u8, u8),
    Pend,
    TakeTimestamp,
    Prepare(u8),
    /// Only in a mutation: the log record is staged after the commit point.
    StageLate,
    Commit,
    Stamp(u8),
    /// The log entry gets the decision.
    Note,
    /// A later transaction of the session makes the record its own.
    Reuse,
    CleanUp,
    Finished,
}

/// One transaction's private part.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Transaction {
    pub(crate) step: Step,
    /// Sees every commit timestamp below this; 0 before it begins.
    pub(crate) snapshot: u8,
    /// Its commit timestamp once prepared; 0 before.
    pub(crate) timestamp: u8,
    /// The version read of each row, or `NONE`.
    pub(crate) reads: [u8; ROWS],
}

/// The next atomic step of the log writer.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum LogStep {
    Start,
    /// Look at the record of this transaction.
    Scan(u8),
    HelpTake(u8),
    HelpPrepare(u8, u8),
    /// The mutation that looks at the records first and at the clock afterwards.
    LateClock,
    /// Look at the ring entry of this transaction.
    Entry(u8),
    /// It names the record: ask that.
    Ask(u8),
    /// And look at the entry again; the record's answer.
    Again(u8, bool),
    Finished,
}

/// The log writer and what it has made durable.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) struct LogWriter {
    pub(crate) step: LogStep,
    pub(crate) rounds_left: u8,
    pub(crate) watermark: u8,
    /// Every commit timestamp below this is in the log.
    pub(crate) durable: u8,
    /// Bit `t`: transaction `t` is in the log.
    pub(crate) logged: u8,
    /// The same for the batch that is being put together.
    pub(crate) batch: u8,
}

/// Everything.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) struct State {
    /// The next commit timestamp.
    pub(crate) clock: u8,
    /// Forced aborts the environment may still do.
    pub(crate) forced_left: u8,
    pub(crate) records: [Record; TRANSACTIONS],
    /// 0, or `t + 1`.
    pub(crate) owners: [u8; ROWS],
    pub(crate) heads: [u8; ROWS],
    /// The version below transaction `t`'s version of a row; `NONE` before it is built.
    pub(crate) older: [[u8; ROWS]; VERSIONS],
    /// The begin word of transaction `t`'s version of a row: a timestamp, or 0 while it names the record.
    pub(crate) stamps: [[u8; ROWS]; VERSIONS],
    /// Log records in the rings, by their timestamp; 0: none.
    pub(crate) staged: [u8; TRANSACTIONS],
    /// Bit `t`: the log entry of transaction `t` bears its decision.
    pub(crate) noted: u8,
    /// Bit `t`: the record of transaction `t` is a later transaction's. `records` still says what became of `t`.
    pub(crate) reused: u8,
    pub(crate) transactions: [Transaction; TRANSACTIONS],
    pub(crate) log: LogWriter,
}

impl State {
    pub(crate) fn initial(forced_aborts: u8, log_rounds: u8) -> Self {
        let transaction = Transaction { step: Step::Begin, snapshot: 0, timestamp: 0, reads: [NONE; ROWS] };
        let step = if log_rounds == 0 { LogStep::Finished } else { LogStep::Start };
        Self {
            clock: 1,
            forced_left: forced_aborts,
            records: [Record::Active; TRANSACTIONS],
            owners: [0; ROWS],
            heads: [0; ROWS],
            older: [[NONE; ROWS]; VERSIONS],
            stamps: [[0; ROWS]; VERSIONS],
            staged: [0; TRANSACTIONS],
            noted: 0,
            reused: 0,
            transactions: [transaction; TRANSACTIONS],
            log: LogWriter { step, rounds_left: log_rounds, watermark: 0, durable: 1, logged: 0, batch: 0 },
        }
    }

    pub(crate) fn is_noted(&self, t: u8) -> bool {
        self.noted & 1 << t != 0
    }

    pub(crate) fn is_reused(&self, t: u8) -> bool {
        self.reused & 1 << t != 0
    }

    /// The timestamp of a version if its writer has committed; the rows' first versions have 0. One that its writer has written over never counts.
    pub(crate) fn committed_at(&self, version: u8) -> Option<u8> {
        match version {
            0 => Some(0),
            version if usize::from(version) > TRANSACTIONS => None,
            writer => match self.records[usize::from(writer - 1)] {
                Record::Committed(timestamp) => Some(timestamp),
                _ => None,
            },
        }
    }

    /// The same state with timestamps renumbered 0, 1, 2 ... in order.
    pub(crate) fn canonical(mut self) -> Self {
        let mut used: u32 = 1;
        self.each_timestamp(|timestamp| used |= 1 << *timestamp);
        self.each_timestamp(|timestamp| {
            let below = used & ((1 << *timestamp) - 1);
            *timestamp = below.count_ones().to_le_bytes()[0];
        });
        self
    }

    fn each_timestamp(&mut self, mut visit: impl FnMut(&mut u8)) {
        visit(&mut self.clock);
        for record in &mut self.records {
            if let Record::Prepared(timestamp) | Record::Committed(timestamp) = record {
                visit(timestamp);
            }
        }
        self.stamps.iter_mut().flatten().chain(&mut self.staged).for_each(&mut visit);
        for transaction in &mut self.transactions {
            visit(&mut transaction.snapshot);
            visit(&mut transaction.timestamp);
            let walk = match &mut transaction.step {
                Step::Walk(walk) | Step::LookAgain(walk) | Step::HelpTake(walk, _) => Some(walk),
                Step::HelpPrepare(walk, _, timestamp) => {
                    visit(timestamp);
                    Some(walk)
                }
                Step::Prepare(timestamp) => {
                    visit(timestamp);
                    None
                }
                _ => None,
            };
            if let Some(Walk { purpose: Purpose::Extend { bound, .. }, .. }) = walk {
                visit(bound);
            }
        }
        visit(&mut self.log.watermark);
        visit(&mut self.log.durable);
        if let LogStep::HelpPrepare(_, timestamp) = &mut self.log.step {
            visit(timestamp);
        }
    }
}
