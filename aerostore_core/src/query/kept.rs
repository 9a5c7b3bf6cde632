//! Ways that are kept: what planning found out, for the next run of the same query with other operands.
//!
//! Shape       a plan and those that came of it by [`with_operands`](super::Plan::with_operands) share what is kept: for counting and for
//!             rows, the statistics of the last planning, the way that was taken, and how the table stood then.
//! Rules       L1: what is kept is the *kind* of way (by which index, or by keys, or all rows). Keys, conditions, sorting and limit are those of
//!             the operands of the run, made by the same rules as for a new plan. So a way that is out of date costs time and changes
//!             no result. L2: it is kept for a table that stands as it did: the same indexes, of the same kinds, and at most twice or half
//!             as many rows. L3: it is taken while it is thought to look at few rows with the operands of the run; where many are, planning
//!             costs little beside the run, and another way may cost far less. L4: a run that looked at more than a few rows
//!             all the same shows that the statistics are off: they are forgotten. L5: they are looked up again after so many runs. L6: the first
//!             run keeps nothing, for many plans are run once.
//! Source      plans for parameters of any value, and when to make one for these: PostgreSQL, `plancache.c`; why by their estimate
//!             and not by the number of runs: `docs/adr/0019-plans-keep-their-way.md`.

#![forbid(unsafe_code)]

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use super::planner::Wanted;
use super::source::{Standing, TableStatistics};

/// Rows that are few: planning costs what looking at some hundred does.
pub(super) const FEW_ROWS: u64 = 256;
/// Runs after which statistics are looked up again.
const RUNS: u32 = 1000;
/// Rows that a table may gain or lose before it stands otherwise, however few they are.
const SLACK_ROWS: u64 = 64;

/// A kind of way.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Way {
    /// By the primary keys that the condition names.
    Points,
    /// By the ranges that the condition names of the index on a column.
    Narrow(usize),
    /// By all of the index on a column, for its order.
    Whole(usize),
    /// All rows.
    Scan,
}

/// What one planning found out.
#[derive(Debug)]
pub(super) struct Found {
    pub(super) way: Way,
    pub(super) statistics: TableStatistics,
    pub(super) standing: Standing,
}

/// What is kept of it, for one of the two things that can be wanted.
#[derive(Debug, Default)]
enum Slot {
    /// Nothing, and nothing was run.
    #[default]
    Fresh,
    /// Nothing.
    Empty,
    /// This, for so many more runs.
    Full(Arc<Found>, u32),
}

impl Slot {
    /// What serves a table that stands so, and the runs that it has left.
    fn usable(&mut self, standing: Standing) -> Option<(&Arc<Found>, &mut u32)> {
        match self {
            Self::Full(found, runs) if *runs > 0 && is_alike(found.standing, standing) => Some((found, runs)),
            _ => None,
        }
    }
}

/// What is kept by plans that differ in their operands.
#[derive(Debug, Default)]
pub(super) struct Kept([Mutex<Slot>; 2]);

impl Kept {
    fn slot(&self, wanted: Wanted) -> MutexGuard<'_, Slot> {
        // Whole at any moment: it is only ever replaced.
        self.0[usize::from(wanted == Wanted::Rows)].lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Whether this is the first run, of which nothing is kept (L6).
    pub(super) fn is_first(&self, wanted: Wanted) -> bool {
        let mut slot = self.slot(wanted);
        let is_first = matches!(*slot, Slot::Fresh);
        if is_first {
            *slot = Slot::Empty;
        }
        is_first
    }

    /// What is kept for a table that stands so, for one more run.
    pub(super) fn take(&self, wanted: Wanted, standing: Standing) -> Option<Arc<Found>> {
        let mut slot = self.slot(wanted);
        let (found, runs) = slot.usable(standing)?;
        *runs -= 1;
        Some(Arc::clone(found))
    }

    /// What a run would take, if there were one now.
    pub(super) fn look(&self, wanted: Wanted, standing: Standing) -> Option<Arc<Found>> {
        self.slot(wanted).usable(standing).map(|(found, _)| Arc::clone(found))
    }

    /// Keeps what was found out.
    pub(super) fn put(&self, wanted: Wanted, found: Found) {
        *self.slot(wanted) = Slot::Full(Arc::new(found), RUNS);
    }

    /// Forgets what is kept (L4).
    pub(super) fn forget(&self, wanted: Wanted) {
        *self.slot(wanted) = Slot::Empty;
    }
}

/// L2.
fn is_alike(then: Standing, now: Standing) -> bool {
    let within = |few: u64, many: u64| many <= few.saturating_mul(2).saturating_add(SLACK_ROWS);
    then.indexes == now.indexes && within(then.rows, now.rows) && within(now.rows, then.rows)
}

#[cfg(test)]
mod tests;
