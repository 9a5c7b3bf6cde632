//! The log writer: finds its watermark, helps what is undecided, makes a batch durable.

use crate::protocol::{Model, Mutation, take_timestamp};
use crate::state::{LogStep, Record, State, TRANSACTIONS};

impl Model {
    /// One step of the log writer, or `None` when it has finished.
    pub(crate) fn log_step(&self, s: &mut State) -> Option<&'static str> {
        Some(match s.log.step {
            LogStep::Start => {
                s.log.watermark = if self.is(Mutation::LogClockLate) { 0 } else { s.clock };
                s.log.step = LogStep::Scan(0);
                "loads the clock"
            }
            LogStep::Scan(whom) => {
                let resolves = !self.is(Mutation::LogDoesNotResolve);
                match s.records[usize::from(whom)] {
                    Record::Pending if resolves => {
                        s.log.step = LogStep::HelpTake(whom);
                        return Some("meets a PENDING record");
                    }
                    Record::Prepared(timestamp) if resolves => {
                        s.log.watermark = s.log.watermark.min(timestamp);
                    }
                    _ => {}
                }
                let late = self.is(Mutation::LogClockLate);
                s.log.step = match next_transaction(whom) {
                    Some(next) => LogStep::Scan(next),
                    None if late => LogStep::LateClock,
                    None => LogStep::Entry(0),
                };
                "looks at a record"
            }
            LogStep::HelpTake(whom) => {
                s.log.step = LogStep::HelpPrepare(whom, take_timestamp(s));
                "takes a timestamp for a PENDING record"
            }
            LogStep::HelpPrepare(whom, timestamp) => {
                let record = &mut s.records[usize::from(whom)];
                if *record == Record::Pending {
                    *record = Record::Prepared(timestamp);
                }
                s.log.step = LogStep::Scan(whom);
                "helps a PENDING record to PREPARED"
            }
            LogStep::LateClock => {
                s.log.watermark = s.clock;
                s.log.step = LogStep::Entry(0);
                "loads the clock"
            }
            LogStep::Entry(whom) => {
                if !is_due(s, whom) {
                    next_entry(s, whom);
                } else if s.is_noted(whom) {
                    take(s, whom, true);
                } else {
                    s.log.step = LogStep::Ask(whom);
                }
                "looks at an entry"
            }
            LogStep::Ask(whom) => {
                s.log.step = LogStep::Again(whom, !s.is_reused(whom) && is_committed(s, whom));
                "asks the record that an entry names"
            }
            LogStep::Again(whom, answer) => {
                let noted = s.is_noted(whom) && !self.is(Mutation::LogLooksOnce);
                take(s, whom, noted || answer);
                "looks at an entry again"
            }
            LogStep::Finished => return None,
        })
    }

    /// Does the next step read only what no longer changes?
    pub(crate) fn is_log_step_private(s: &State) -> bool {
        match s.log.step {
            LogStep::Scan(whom) => match s.records[usize::from(whom)] {
                Record::Committed(_) | Record::Aborted => true,
                // Whatever becomes of it is above the watermark.
                Record::Prepared(timestamp) => timestamp >= s.log.watermark,
                _ => false,
            },
            // What is below the watermark is decided. If it were not, a later decision would still show in the log. So the answers
            // change no more, but for the note and the next use.
            LogStep::Entry(whom) => !is_due(s, whom) || s.is_noted(whom),
            LogStep::Again(whom, answer) => answer || s.is_noted(whom),
            LogStep::HelpPrepare(whom, _) => s.records[usize::from(whom)] != Record::Pending,
            _ => false,
        }
    }
}

/// Is there an entry for the batch?
fn is_due(s: &State, whom: u8) -> bool {
    let staged = s.staged[usize::from(whom)];
    staged != 0 && (s.log.durable..s.log.watermark).contains(&staged)
}

fn is_committed(s: &State, whom: u8) -> bool {
    let whom = usize::from(whom);
    s.records[whom] == Record::Committed(s.staged[whom])
}

/// Puts the entry into the batch, if its transaction has taken effect.
fn take(s: &mut State, whom: u8, decision: bool) {
    // A note says what became of the transaction; here only of one that was not aborted, or it would not be staged any more.
    if decision && is_committed(s, whom) {
        s.log.batch |= 1 << whom;
    }
    next_entry(s, whom);
}

/// Goes on to the next entry, or makes the batch durable.
fn next_entry(s: &mut State, whom: u8) {
    if let Some(next) = next_transaction(whom) {
        s.log.step = LogStep::Entry(next);
        return;
    }
    s.log.logged |= s.log.batch;
    s.log.batch = 0;
    s.log.durable = s.log.durable.max(s.log.watermark);
    s.log.watermark = 0;
    s.log.rounds_left -= 1;
    s.log.step = if s.log.rounds_left == 0 { LogStep::Finished } else { LogStep::Start };
}

fn next_transaction(t: u8) -> Option<u8> {
    (usize::from(t) + 1 < TRANSACTIONS).then_some(t + 1)
}
