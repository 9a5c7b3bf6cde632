//! Scans by several threads: all rows of a table in parts, each shown by one of them, put together as if by one.
//!
//! Rules       T1: a part is claimed in order and shown whole, by one thread. T2: what comes out is what one thread would give, in
//!             its order: rows that are to be sorted bear the number of their part, which settles ties; others go to the visitor
//!             part by part. T3: visitors are called by the thread that runs the plan alone. T4: a thread that holds rows for
//!             the visitor waits when [`AHEAD`] lots of them were not taken yet, so memory does not grow with the table. Nobody waits
//!             for one that waits: the one in the lead takes rows in the order of parts, so what it waits for is the first lot that its
//!             thread has left. T5: whoever breaks, fails or panics keeps the others from claiming more; a thread that goes away drops its
//!             end of the channel, which wakes who waits at the other.
//! Limits      a count ends when enough rows were counted, a stream when the visitor has them; others may have looked at more rows by then
//!             than one thread would have. Only how many were examined and matched depends on that.

#![forbid(unsafe_code)]

use std::ops::ControlFlow;
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};

use super::executor::{Filter, Sink, Tally, Window};
use super::plan::Plan;
use super::route::Route;
use super::sort::Kept;
use super::source::{Helper, RowSource, Share};
use crate::row::{RowView, Schema};
use crate::sync::{AtomicU64, Ordering};

/// Lots of rows that a thread may be ahead of the visitor.
const AHEAD: usize = 8;
/// Bytes after which a lot is handed over.
const LOT_BYTES: usize = 64 << 10;

/// Runs a plan whose route is a scan by several threads.
pub(super) fn run<S: RowSource>(
    plan: &Plan,
    route: &Route,
    source: &mut S,
    sink: Sink<'_>,
    window: &mut Window,
    tally: &mut Tally,
) -> Result<(), S::Error> {
    let filters = match sink {
        Sink::Count => count(route, source, window)?,
        Sink::Visit(visit) if route.sort.is_empty() => stream(plan, route, source, window, visit)?,
        Sink::Visit(visit) => sorted(plan, route, source, window, visit)?,
    };
    for filter in filters.iter().filter(|filter| filter.has_run) {
        tally.threads += 1;
        tally.outcome.rows_examined += filter.filter.examined;
        tally.outcome.rows_matched += filter.filter.matched;
    }
    Ok(())
}

/// What one thread asks rows.
struct Asked<'p> {
    filter: Filter<'p>,
    /// Whether there was a thread to do so.
    has_run: bool,
}

fn asked(route: &Route) -> Vec<Asked<'_>> {
    let one = || Asked { filter: Filter::new(route.residual()), has_run: false };
    (0..route.threads).map(|_| one()).collect()
}

/// Calls `show` with each part that this thread can claim, until it breaks.
fn claim_all<E>(
    share: &dyn Share<Error = E>,
    who: usize,
    mut show: impl FnMut(usize) -> Result<ControlFlow<()>, E>,
) -> Result<ControlFlow<()>, E> {
    for part in 0..share.parts() {
        match share.claim(part) {
            None => return Ok(ControlFlow::Break(())),
            Some(owner) if owner == who => {
                if show(part)?.is_break() {
                    return Ok(ControlFlow::Break(()));
                }
            }
            Some(_) => {}
        }
    }
    Ok(ControlFlow::Continue(()))
}

/// Lets each thread do `job` with a state of its own.
fn by_all<S: RowSource, T: Send>(
    route: &Route,
    source: &mut S,
    states: &mut [T],
    job: &(impl Fn(usize, &mut T, &dyn Share<Error = S::Error>) -> Result<ControlFlow<()>, S::Error> + Sync),
) -> Result<(), S::Error> {
    let Some((lead, helpers)) = states.split_first_mut() else { return Ok(()) };
    let helper = |(at, state)| -> Helper<'_, S::Error> { Box::new(move |share| job(at + 1, state, share)) };
    let helpers = helpers.iter_mut().enumerate().map(helper).collect();
    source.scan_shared(route.residual(), helpers, &mut |share| job(0, lead, share))
}

fn count<'p, S: RowSource>(
    route: &'p Route,
    source: &mut S,
    window: &mut Window,
) -> Result<Vec<Asked<'p>>, S::Error> {
    let (counted, wanted) = (AtomicU64::new(0), window.wanted());
    let mut all = asked(route);
    by_all(route, source, &mut all, &|who, asked: &mut Asked<'p>, share| {
        asked.has_run = true;
        claim_all(share, who, |part| {
            let before = asked.filter.matched;
            let flow = share.show(part, &mut |rows| {
                asked.filter.count(rows);
                ControlFlow::Continue(())
            })?;
            let matched = asked.filter.matched - before;
            // Relaxed: a sum, which orders nothing.
            let is_enough = counted.fetch_add(matched, Ordering::Relaxed) + matched >= wanted;
            Ok(if is_enough { ControlFlow::Break(()) } else { flow })
        })
    })?;
    window.count(all.iter().map(|asked| asked.filter.matched).sum());
    Ok(all)
}

fn sorted<'p, S: RowSource>(
    plan: &'p Plan,
    route: &'p Route,
    source: &mut S,
    window: &mut Window,
    visit: &mut dyn FnMut(RowView<'_>) -> ControlFlow<()>,
) -> Result<Vec<Asked<'p>>, S::Error> {
    let mut all: Vec<_> = asked(route).into_iter().map(|asked| (asked, plan.kept(route))).collect();
    by_all(route, source, &mut all, &|who, (asked, kept): &mut (Asked<'p>, Kept<'p>), share| {
        asked.has_run = true;
        let flow = claim_all(share, who, |part| {
            kept.begin_part(part);
            share.show(part, &mut |rows| {
                asked.filter.pass(rows, |row| {
                    kept.push(row);
                    ControlFlow::Continue(())
                })
            })
        });
        kept.sort();
        flow
    })?;
    let (all, kept): (Vec<_>, Vec<_>) = all.into_iter().unzip();
    let _ = Kept::finish_all(kept, &mut |row| window.pass(row, visit));
    Ok(all)
}

/// Matching rows of one part, on their way to the visitor.
#[derive(Default)]
struct Lot {
    images: Vec<u8>,
    /// Where each ends.
    ends: Vec<usize>,
    /// No more come of this part.
    is_last: bool,
}

impl Lot {
    fn push(&mut self, row: RowView<'_>) {
        self.images.extend_from_slice(row.bytes());
        self.ends.push(self.images.len());
    }

    fn visit(
        &self,
        schema: &Schema,
        visit: &mut impl FnMut(RowView<'_>) -> ControlFlow<()>,
    ) -> ControlFlow<()> {
        let mut start = 0;
        for end in &self.ends {
            // Copied from a view that had passed the same checks.
            if let Ok(row) = RowView::new(schema, &self.images[start..*end]) {
                visit(row)?;
            }
            start = *end;
        }
        ControlFlow::Continue(())
    }
}

fn stream<'p, S: RowSource>(
    plan: &Plan,
    route: &'p Route,
    source: &mut S,
    window: &mut Window,
    visit: &mut dyn FnMut(RowView<'_>) -> ControlFlow<()>,
) -> Result<Vec<Asked<'p>>, S::Error> {
    let mut all = asked(route);
    if let Some((lead, helpers)) = all.split_first_mut() {
        let mut channels: Vec<Receiver<Lot>> = Vec::with_capacity(helpers.len());
        let mut jobs: Vec<Helper<'_, S::Error>> = Vec::with_capacity(helpers.len());
        for (at, asked) in helpers.iter_mut().enumerate() {
            let (sender, receiver) = sync_channel(AHEAD);
            channels.push(receiver);
            jobs.push(Box::new(move |share| hand_over(share, at + 1, asked, &sender)));
        }
        let mut pass = |row: RowView<'_>| window.pass(row, visit);
        lead.has_run = true;
        source.scan_shared(route.residual(), jobs, &mut |share| {
            // T5: dropped when this ends, in whatever way.
            let channels = std::mem::take(&mut channels);
            for part in 0..share.parts() {
                let flow = match share.claim(part) {
                    None => ControlFlow::Break(()),
                    Some(0) => share.show(part, &mut |rows| lead.filter.pass(rows, &mut pass))?,
                    Some(helper) => take_over(&channels[helper - 1], &plan.form.schema, &mut pass),
                };
                if flow.is_break() {
                    return Ok(flow);
                }
            }
            Ok(ControlFlow::Continue(()))
        })?;
    }
    Ok(all)
}

/// Hands the matching rows of the parts that this thread can claim to the one in the lead.
fn hand_over<E>(
    share: &dyn Share<Error = E>,
    who: usize,
    asked: &mut Asked<'_>,
    rows_to: &SyncSender<Lot>,
) -> Result<ControlFlow<()>, E> {
    asked.has_run = true;
    let give = |lot: &mut Lot| match rows_to.send(std::mem::take(lot)) {
        Ok(()) => ControlFlow::Continue(()),
        Err(_) => ControlFlow::Break(()),
    };
    claim_all(share, who, |part| {
        let mut lot = Lot::default();
        let flow = share.show(part, &mut |rows| {
            asked.filter.pass(rows, |row| {
                lot.push(row);
                if lot.images.len() < LOT_BYTES { ControlFlow::Continue(()) } else { give(&mut lot) }
            })
        })?;
        lot.is_last = true;
        Ok(if flow.is_break() { flow } else { give(&mut lot) })
    })
}

/// Passes on the rows of the part that a helper has claimed next.
fn take_over(
    rows_from: &Receiver<Lot>,
    schema: &Schema,
    pass: &mut impl FnMut(RowView<'_>) -> ControlFlow<()>,
) -> ControlFlow<()> {
    loop {
        // A helper that went away without the rest of its part has failed: what it says is told when all have come back.
        let Ok(lot) = rows_from.recv() else { return ControlFlow::Break(()) };
        lot.visit(schema, pass)?;
        if lot.is_last {
            return ControlFlow::Continue(());
        }
    }
}
