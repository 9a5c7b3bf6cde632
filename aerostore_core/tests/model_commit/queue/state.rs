//! What the model of the queue remembers: rows, records, and where each of three sessions is.

/// Sessions in the model.
pub(crate) const SESSIONS: usize = 3;
/// Rows in the model.
pub(crate) const ROWS: usize = 2;
/// Transactions of one session, one after the other; each has a record of its own, as long as anybody can reach it (I3).
pub(crate) const ROUNDS: usize = 2;
pub(crate) const RECORDS: usize = SESSIONS * ROUNDS;

/// What a transaction does, besides its commit at the end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Operation {
    /// Owns a row, waiting for it in the queue.
    Lock(usize),
    /// Lets go of it again, as a rollback to a savepoint does.
    LetGo(usize),
}

/// A record's word; what lies between ACTIVE and the decision makes no difference to those who wait.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub(crate) enum Word {
    #[default]
    Active,
    Committed,
    Aborted,
}

/// How far a wait for a row has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Wait {
    Waiting,
    Called,
    Ready,
    Granted,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub(crate) struct Record {
    pub(crate) word: Word,
    pub(crate) wait: Option<(usize, Wait)>,
    /// Somebody has said that it waits for a row of this transaction.
    pub(crate) told: bool,
    /// The word slept on has changed since the session has read it.
    pub(crate) woken: bool,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub(crate) struct Row {
    /// A record's number.
    pub(crate) owner: Option<usize>,
    /// L5: it is kept, until some time.
    pub(crate) is_kept: bool,
    /// Transactions that have committed a change of it.
    pub(crate) commits: u8,
}

/// What a session does next: one load, store or CAS of what is shared, with what follows in private.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub(crate) enum Step {
    #[default]
    Go,
    LoadOwner,
    /// Look at the word of the record that owns the row.
    AskOwner(usize),
    /// CAS of the owner word.
    Take(Option<usize>),
    /// Read the word to sleep on.
    Hear,
    Publish,
    LookOwner,
    Tell(usize),
    AskAgain(usize),
    LookAgain(usize),
    AskSelf(usize),
    WaitOn(usize),
    Chase(usize),
    /// Was it called meanwhile?
    CheckCall,
    Asleep,
    Answer,
    AwaitGrant,
    GiveUp,
    /// It has the row: the wait is over.
    EndWait,
    /// It has failed: the wait is over.
    LeaveWait,
    /// The wait is over, and the row had been granted besides: look at its owner,
    FreeGranted(usize),
    /// and take it from that one if it is decided.
    Free(usize, usize),
    Decide,
    AskTold,
    /// Has one that was called answered?
    GrantReady(usize),
    /// Collect the waiters, slot by slot.
    Walk(usize),
    Choose,
    /// Tells a waiter for that row that others wait after it.
    Announce(usize, usize),
    /// Is it still waiting for that row?
    CheckThere(usize, usize),
    Wake(usize),
    /// Tells one that is about to be granted the row that others wait after it,
    AnnounceGrant(usize),
    /// grants it the row: the first step of a hand-over,
    Grant(usize),
    /// and makes it the owner: the second; and whether a wake follows.
    Pass(usize, bool),
    Settle,
    Finished,
}

/// What a session remembers of the row it has let go of while others waited.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub(crate) enum Turn {
    #[default]
    None,
    Offered,
    Kept,
    /// Bits: the sessions that were called.
    Over(u8),
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
#[expect(clippy::struct_excessive_bools, reason = "each is a fact of its own")]
pub(crate) struct Session {
    pub(crate) step: Step,
    pub(crate) round: usize,
    pub(crate) operation: usize,
    /// Bits: rows on its list (N1).
    pub(crate) listed: u8,
    /// The commits of each row that it has seen as its owner.
    pub(crate) seen: [Option<u8>; ROWS],
    /// It has slept for this row before.
    pub(crate) again: bool,
    /// It leaves the row alone while that is kept.
    pub(crate) polite: bool,
    /// Its wait had been granted when it looked.
    pub(crate) was_granted: bool,
    /// The row was granted when it gave up, and it has neither taken it nor freed it yet.
    pub(crate) is_owed: bool,
    /// The transaction goes on to its end without success.
    pub(crate) failed: bool,
    /// The row it is letting go of in the middle.
    pub(crate) letting_go: bool,
    /// The record of each waiter found, and the row it waits for.
    pub(crate) found: [Option<(usize, usize)>; SESSIONS],
    pub(crate) turn: Turn,
    /// It has chosen what its turn is from now on.
    pub(crate) has_chosen: bool,
    pub(crate) is_dead: bool,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub(crate) struct State {
    pub(crate) rows: [Row; ROWS],
    pub(crate) records: [Record; RECORDS],
    pub(crate) sessions: [Session; SESSIONS],
    /// Sessions that wait for row 0, the first one first; only in the mutation that keeps them.
    pub(crate) queue: [Option<usize>; SESSIONS],
    pub(crate) deaths_left: u8,
    pub(crate) forced_left: u8,
    pub(crate) give_ups_left: u8,
    /// A transaction has committed over another's commit that it has not seen.
    pub(crate) lost_update: bool,
}

impl Session {
    /// The waiters of `row` have been dealt with.
    pub(crate) fn chosen(&mut self, row: usize, turn: Turn) {
        for found in &mut self.found {
            *found = found.filter(|(_, wanted)| *wanted != row);
        }
        // In the model a turn is about row 0.
        if row == 0 && !self.letting_go {
            self.turn = turn;
            self.has_chosen = true;
        }
    }
}
