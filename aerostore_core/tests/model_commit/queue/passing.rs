//! How a session decides, and lets go of its rows while others wait for them.

use super::state::{ROWS, SESSIONS, Step, Turn, Wait, Word};
use super::{Mutation, ROUNDS, Turns, record_of};

impl Turns<'_> {
    /// The commit point, or the end of a transaction that has failed.
    pub(super) fn decide(&mut self) {
        let own = self.own();
        let after = if self.is(Mutation::AsksBeforeItDecides) { Step::Settle } else { Step::AskTold };
        self.go("decides", after, |next, session| {
            if next.records[own].word != Word::Active {
                return;
            }
            if session.failed {
                next.records[own].word = Word::Aborted;
                return;
            }
            next.records[own].word = Word::Committed;
            for row in 0..ROWS {
                let Some(seen) = session.seen[row] else { continue };
                next.lost_update |= next.rows[row].commits != seen;
                next.rows[row].commits += 1;
            }
        });
    }

    /// Where one goes on that has done with those who wait.
    fn afterwards(&self) -> Step {
        match (self.session().letting_go, self.is(Mutation::AsksBeforeItDecides)) {
            (true, _) => Step::Go,
            (false, true) => Step::Decide,
            (false, false) => Step::Settle,
        }
    }

    /// The same, and nothing is remembered of them.
    fn have_done(&mut self, what: &'static str, turn: Turn) {
        let next = self.afterwards();
        self.go(what, next, |_, session| {
            session.found = [None; SESSIONS];
            session.has_chosen = false;
            if session.letting_go {
                session.letting_go = false;
                session.operation += 1;
            } else {
                session.turn = turn;
            }
        });
    }

    /// L1: after the decision. One whose turn it is looks in any case, or not each time.
    pub(super) fn ask_told(&mut self) {
        let session = self.session();
        let (told, turn) = (self.own_record().told, session.turn);
        if session.letting_go {
            if !told {
                return self.have_done("finds nobody waiting", turn);
            }
            return self.to("finds that somebody waits", Step::Walk(0));
        }
        // In the model a turn is about row 0.
        let is_alone = session.listed & 1 != 0 && (session.listed == 1 || !told);
        match turn {
            Turn::None if !told => self.have_done("finds nobody waiting", Turn::None),
            Turn::Kept if is_alone => {
                self.have_done("keeps the row", Turn::Kept);
                self.to("has kept the row for long enough", Step::Walk(0));
            }
            Turn::Over(_) if is_alone => self.to("looks for an answer", Step::GrantReady(0)),
            _ => self.to("looks for those who wait", Step::Walk(0)),
        }
    }

    /// Hands the row over to one that has been called and has answered.
    pub(super) fn grant_ready(&mut self, whom: usize) {
        let Turn::Over(called) = self.session().turn else { unreachable!("only then") };
        let Some(s) = (whom..SESSIONS).find(|s| called & 1 << s != 0) else {
            self.have_done("has no answer, and goes on", Turn::Over(called));
            return self.to("has no answer, and looks for those who wait", Step::Walk(0));
        };
        let record = record_of(self.from, s);
        if self.from.records[record].wait != Some((0, Wait::Ready)) {
            return self.to("has no answer of one", Step::GrantReady(s + 1));
        }
        self.go("grants the row to one that answered", Step::Pass(record, false), |next, _| {
            // The last look, which has told it of more, is not in the model: here one sleep makes up for it.
            next.records[record].wait = Some((0, Wait::Granted));
        });
    }

    /// L2: the waiters are found by way of the slots.
    pub(super) fn walk(&mut self, whom: usize) {
        let next = if whom + 1 < SESSIONS { Step::Walk(whom + 1) } else { Step::Choose };
        if whom == self.s {
            return self.to("passes its own slot", next);
        }
        let record = record_of(self.from, whom);
        let is_there = self.from.sessions[whom].step != Step::Finished;
        let row = self.from.records[record]
            .wait
            .and_then(|(row, wait)| (is_there && wait != Wait::Granted).then_some(row));
        self.go("looks at a slot", next, |_, session| session.found[whom] = row.map(|row| (record, row)));
    }

    /// What becomes of the rows that others wait for: of one after the other.
    pub(super) fn choose(&mut self) {
        let session = *self.session();
        let is_due = |row: usize| {
            let is_ours = if session.letting_go {
                row == self.row()
            } else {
                session.listed & 1 << row != 0 || row == 0 && session.turn != Turn::None
            };
            is_ours && session.found.iter().flatten().any(|(_, wanted)| *wanted == row)
        };
        let Some(row) = (0..ROWS).find(|row| is_due(*row)) else {
            let turn = if session.has_chosen { session.turn } else { Turn::None };
            return self.have_done("has done with those who wait", turn);
        };
        let waiters: Vec<usize> = session
            .found
            .iter()
            .flatten()
            .filter(|(_, wanted)| *wanted == row)
            .map(|(record, _)| *record)
            .collect();
        let more = waiters.len() > 1;
        let is_ours = session.listed & 1 << row != 0;
        for record in waiters {
            let first = if more { Step::Announce(record, row) } else { Step::CheckThere(record, row) };
            self.to("offers the row", first);
            if !self.queue.turns || session.letting_go || !is_ours {
                continue;
            }
            let grants = match (self.is(Mutation::PassesBeforeItGrants), more) {
                (true, _) => Step::Pass(record, true),
                (false, true) => Step::AnnounceGrant(record),
                (false, false) => Step::Grant(record),
            };
            self.to("grants the row", grants);
            if self.from.records[record].wait == Some((row, Wait::Waiting)) {
                self.go("calls", Step::Wake(record), |next, session| {
                    next.records[record].wait = Some((row, Wait::Called));
                    next.rows[row].is_kept = true;
                    let called = if let Turn::Over(called) = session.turn { called } else { 0 };
                    session.chosen(row, Turn::Over(called | 1 << (record / ROUNDS)));
                });
            }
        }
        if self.queue.turns && !session.letting_go && is_ours {
            let turn = if let Turn::Over(_) = session.turn { session.turn } else { Turn::Kept };
            self.go("keeps the row", Step::Choose, |next, session| {
                next.rows[row].is_kept = true;
                session.chosen(row, turn);
            });
        }
    }

    pub(super) fn announce(&mut self, whom: usize, row: usize) {
        self.go("tells a waiter of those after it", Step::CheckThere(whom, row), |next, _| {
            next.records[whom].told = true;
        });
    }

    /// L1: one that was told while it waited will pass the row on.
    pub(super) fn check_there(&mut self, whom: usize, row: usize) {
        let is_there = matches!(self.from.records[whom].wait, Some((wanted, wait)) if wanted == row && wait != Wait::Granted);
        if is_there || self.is(Mutation::OffersToTheGone) {
            let is_ours = self.session().listed & 1 << row != 0;
            let turn = if is_ours { Turn::Offered } else { Turn::None };
            return self.go("finds it waiting", Step::Wake(whom), |_, session| session.chosen(row, turn));
        }
        self.pass_over(whom);
    }

    /// That one does not wait any more; another one may.
    fn pass_over(&mut self, whom: usize) {
        self.go("finds it gone", Step::Choose, |_, session| session.found[whom / ROUNDS] = None);
    }

    pub(super) fn wake(&mut self, whom: usize) {
        self.go("wakes a waiter", Step::Choose, |next, _| next.records[whom].woken = true);
    }

    pub(super) fn announce_grant(&mut self, whom: usize) {
        self.go("tells a waiter of those after it", Step::Grant(whom), |next, _| {
            next.records[whom].told = true;
        });
    }

    /// L3: the first step of a hand-over, to one that is thought to live.
    pub(super) fn grant(&mut self, whom: usize) {
        let late = self.is(Mutation::PassesBeforeItGrants);
        if !matches!(self.from.records[whom].wait, Some((0, wait)) if wait != Wait::Granted) {
            return if late { self.to("finds it gone", Step::Wake(whom)) } else { self.pass_over(whom) };
        }
        let step = if late { Step::Wake(whom) } else { Step::Pass(whom, true) };
        self.go("marks the row as granted", step, |next, session| {
            next.records[whom].wait = Some((0, Wait::Granted));
            session.chosen(0, Turn::None);
        });
    }

    /// L3: the second. Fails when somebody has taken the row from the decided record.
    pub(super) fn pass(&mut self, whom: usize, wakes: bool) {
        let own = self.own();
        let step = match (self.is(Mutation::PassesBeforeItGrants), wakes) {
            (true, true) => Step::Grant(whom),
            (false, true) => Step::Wake(whom),
            (_, false) => self.afterwards(),
        };
        self.go("makes the waiter the owner", step, |next, session| {
            next.rows[0].is_kept = true;
            if next.rows[0].owner == Some(own) {
                next.rows[0].owner = Some(whom);
            }
            session.turn = Turn::None;
        });
    }

    /// Lets go of all rows on the list, and ends the transaction.
    pub(super) fn settle(&mut self) {
        let (own, s) = (self.own(), self.s);
        let listed = self.session().listed;
        if listed != 0 {
            let row = listed.trailing_zeros() as usize;
            return self.go("lets go of a row", Step::Settle, |next, session| {
                if next.rows[row].owner == Some(own) {
                    next.rows[row].owner = None;
                }
                session.listed &= !(1 << row);
            });
        }
        let rounds = self.queue.programs[s].len();
        let round = self.session().round + 1;
        let step = if round < rounds { Step::Go } else { Step::Finished };
        self.go("ends", step, |next, session| {
            next.records[own].told = false;
            next.records[own].woken = false;
            let turn = if step == Step::Finished { Turn::None } else { session.turn };
            let round = if step == Step::Finished { session.round } else { round };
            *session = super::Session { step, round, turn, ..super::Session::default() };
        });
    }
}
