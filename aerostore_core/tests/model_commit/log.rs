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
                    None => LogStep::Publish,
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
                s.log.step = LogStep::Publish;
                "loads the clock"
            }
            LogStep::Publish => {
                publish(s);
                "makes a batch durable"
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
            // What is below the watermark is decided. If it were not, a later decision would still show in the log.
            LogStep::Publish => true,
            LogStep::HelpPrepare(whom, _) => s.records[usize::from(whom)] != Record::Pending,
            _ => false,
        }
    }
}

/// Everything committed below the watermark goes into the log, from the rings.
fn publish(s: &mut State) {
    for t in 0..TRANSACTIONS {
        if let Record::Committed(timestamp) = s.records[t]
            && (s.log.durable..s.log.watermark).contains(&timestamp)
            && s.staged[t] == timestamp
        {
            s.log.logged |= 1 << t;
        }
    }
    s.log.durable = s.log.durable.max(s.log.watermark);
    s.log.watermark = 0;
    s.log.rounds_left -= 1;
    s.log.step = if s.log.rounds_left == 0 { LogStep::Finished } else { LogStep::Start };
}

fn next_transaction(t: u8) -> Option<u8> {
    (usize::from(t) + 1 < TRANSACTIONS).then_some(t + 1)
}
