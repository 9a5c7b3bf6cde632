//! How a session comes to own a row, or waits for it.

use super::state::{Session, State, Step, Wait, Word};
use super::{Mutation, Turns};

/// Records followed in search of a cycle: more than there are.
const CHASE_MAX: usize = 8;

impl Turns<'_> {
    /// L5: a kept row is left alone by who is polite.
    pub(super) fn load_owner(&mut self) {
        let (row, own) = (self.row(), self.own());
        let word = self.from.rows[row];
        let is_kept = word.is_kept && self.session().polite && word.owner != Some(own);
        if is_kept {
            self.to("leaves a kept row alone", Step::Hear);
            if self.is(Mutation::KeepsForEver) {
                return;
            }
        }
        if self.own_record().wait.is_some() && self.from.give_ups_left > 0 {
            self.go("fails", Step::LeaveWait, |next, _| next.give_ups_left -= 1);
        }
        let is_first = row != 0 || self.from.queue[0].is_none_or(|first| first == self.s);
        let step = match word.owner {
            Some(owner) if owner == own => Step::EndWait,
            _ if !is_first => Step::Hear,
            Some(owner) => Step::AskOwner(owner),
            None => Step::Take(None),
        };
        self.go("loads the owner", step, |next, _| next.rows[row].is_kept &= !is_kept);
    }

    pub(super) fn ask_owner(&mut self, owner: usize) {
        let is_decided = self.from.records[owner].word != Word::Active;
        self.to("asks the owner's record", if is_decided { Step::Take(Some(owner)) } else { Step::Hear });
    }

    pub(super) fn take(&mut self, expected: Option<usize>) {
        let (row, own) = (self.row(), self.own());
        if self.from.rows[row].owner != expected {
            return self.to("is too late to become the owner", Step::LoadOwner);
        }
        self.go("becomes the owner", Step::EndWait, |next, _| next.rows[row].owner = Some(own));
    }

    /// L4: reads the word to sleep on before all else.
    pub(super) fn hear(&mut self) {
        let own = self.own();
        let next = if self.is(Mutation::LooksBeforeItTells) { Step::LookOwner } else { Step::Publish };
        self.go("reads the word to sleep on", next, |next, _| next.records[own].woken = false);
    }

    /// L1: says in its own record that it waits.
    pub(super) fn publish(&mut self) {
        let (row, own, s) = (self.row(), self.own(), self.s);
        let queues = self.is(Mutation::KeepsAQueue) && row == 0;
        let next = if self.is(Mutation::LooksBeforeItTells) { Step::CheckCall } else { Step::LookOwner };
        self.go("says that it waits", next, |next, session| {
            let wait = &mut next.records[own].wait;
            session.was_granted = matches!(wait, Some((_, Wait::Granted)));
            if wait.is_none() {
                *wait = Some((row, Wait::Waiting));
            }
            if queues && !next.queue.contains(&Some(s)) {
                let last = next.queue.iter_mut().find(|place| place.is_none()).expect("a place for each");
                *last = Some(s);
            }
        });
    }

    pub(super) fn look_owner(&mut self) {
        match self.from.rows[self.row()].owner {
            Some(owner) if owner == self.own() => self.to("finds itself the owner", Step::LoadOwner),
            Some(owner) if self.is(Mutation::LooksBeforeItTells) => {
                self.to("looks at the owner", Step::AskAgain(owner));
            }
            Some(owner) => self.to("looks at the owner", Step::Tell(owner)),
            None => self.find_free(),
        }
    }

    /// L1: tells the owner's record.
    pub(super) fn tell(&mut self, owner: usize) {
        let next = if self.is(Mutation::LooksBeforeItTells) { Step::Publish } else { Step::AskAgain(owner) };
        self.go("tells the owner's record", next, |next, _| next.records[owner].told = true);
    }

    pub(super) fn ask_again(&mut self, owner: usize) {
        if self.from.records[owner].word != Word::Active {
            return self.find_free();
        }
        let blind = self.is(Mutation::LooksAtTheRecordOnly);
        let next = if blind { Step::AskSelf(owner) } else { Step::LookAgain(owner) };
        self.to("finds the owner undecided", next);
    }

    /// One that lives may let go of a row before its decision.
    pub(super) fn look_again(&mut self, owner: usize) {
        if self.from.rows[self.row()].owner != Some(owner) {
            return self.find_free();
        }
        self.to("finds it the owner still", Step::AskSelf(owner));
    }

    /// The row may be had, unless it is kept for somebody.
    fn find_free(&mut self) {
        let row = self.row();
        let is_kept = self.from.rows[row].is_kept && self.session().polite;
        if is_kept {
            self.to("finds a free row kept", Step::CheckCall);
            if self.is(Mutation::KeepsForEver) {
                return;
            }
        }
        self.go("finds the row free", Step::LoadOwner, |next, _| next.rows[row].is_kept &= !is_kept);
    }

    pub(super) fn ask_self(&mut self, owner: usize) {
        if self.own_record().word != Word::Active {
            return self.to("finds that it was aborted", Step::GiveUp);
        }
        self.to("is still active", Step::WaitOn(owner));
        if self.from.give_ups_left > 0 {
            self.go("has waited for too long", Step::GiveUp, |next, _| next.give_ups_left -= 1);
        }
    }

    /// L3: what had been granted when it looked was granted in vain.
    pub(super) fn wait_on(&mut self, owner: usize) {
        let own = self.own();
        let takes_back = self.session().was_granted || self.is(Mutation::TakesBackLateGrants);
        self.go("waits on", Step::Chase(owner), |next, session| {
            session.was_granted = false;
            if let Some((_, wait @ Wait::Granted)) = &mut next.records[own].wait
                && takes_back
            {
                *wait = Wait::Waiting;
            }
        });
    }

    /// L4: after a sleep looks whether the owner lives; and each time, whether it waits for this one. Loads that follow each other
    /// are one step: what they miss, a later look finds.
    pub(super) fn chase(&mut self, owner: usize) {
        let holder = &self.from.sessions[owner / super::ROUNDS];
        if self.session().again && holder.is_dead && !self.is(Mutation::AsksNotWhoLives) {
            return self.go("aborts the dead owner", Step::LoadOwner, |next, _| {
                if next.records[owner].word == Word::Active {
                    next.records[owner].word = Word::Aborted;
                }
            });
        }
        let sleeps = if self.is(Mutation::LooksBeforeItTells) { Step::Tell(owner) } else { Step::CheckCall };
        match self.youngest_of_cycle(owner) {
            Some(youngest) if self.is(Mutation::SeesNoCycle) => {
                let _ = youngest;
                self.to("sees no cycle", sleeps);
            }
            Some(youngest) if youngest == self.own() => self.to("closes a cycle", Step::GiveUp),
            Some(youngest) => self.go("wakes the youngest of a cycle", sleeps, |next, _| {
                next.records[youngest].woken = true;
            }),
            None => self.to("sees no cycle", sleeps),
        }
    }

    /// The youngest of the cycle that waiting for `owner` closes; of records, the one with the highest number.
    fn youngest_of_cycle(&self, owner: usize) -> Option<usize> {
        let mut youngest = self.own();
        let mut at = owner;
        for _ in 0..CHASE_MAX {
            let record = &self.from.records[at];
            let (row, wait) = record.wait.filter(|_| record.word == Word::Active)?;
            if wait == Wait::Granted {
                return None;
            }
            youngest = youngest.max(at);
            at = self.from.rows[row].owner?;
            if at == self.own() {
                return Some(youngest);
            }
        }
        None
    }

    pub(super) fn check_call(&mut self) {
        let (own, hears) = (self.own(), self.is(Mutation::HearsLast));
        let is_called = !matches!(self.own_record().wait, Some((_, Wait::Waiting)));
        let step = if is_called { Step::Answer } else { Step::Asleep };
        self.go("looks whether it was called", step, |next, session| {
            session.again = true;
            next.records[own].woken &= !hears;
        });
    }

    pub(super) fn sleep(&mut self) {
        if self.own_record().woken {
            self.to("wakes up", Step::Answer);
        } else if self.queue.naps && !self.is(Mutation::SleepsForEver) {
            self.to("has slept for long enough", Step::Answer);
        }
    }

    pub(super) fn answer(&mut self) {
        let own = self.own();
        let is_called = matches!(self.own_record().wait, Some((_, Wait::Called)));
        let was_asked = is_called || self.own_record().woken;
        let step = if is_called { Step::AwaitGrant } else { Step::LoadOwner };
        self.go("answers", step, |next, session| {
            if let Some((_, wait @ Wait::Called)) = &mut next.records[own].wait {
                *wait = Wait::Ready;
            }
            session.polite = !was_asked;
        });
    }

    pub(super) fn await_grant(&mut self) {
        let own = self.own();
        match self.own_record().wait {
            Some((row, Wait::Ready)) => {
                self.go("is not granted the row in time", Step::LoadOwner, |next, _| {
                    next.records[own].wait = Some((row, Wait::Waiting));
                });
            }
            _ => self.to("has been granted the row", Step::LoadOwner),
        }
    }

    /// L3: by an exchange; what was granted meanwhile is taken.
    pub(super) fn give_up(&mut self) {
        let (own, s) = (self.own(), self.s);
        let was_granted = matches!(self.own_record().wait, Some((_, Wait::Granted)));
        let stays = was_granted && !self.is(Mutation::GivesUpByStore);
        let next = if stays { Step::LoadOwner } else { Step::LeaveWait };
        self.go("gives up", next, |next, session| {
            next.records[own].wait = None;
            session.is_owed |= stays;
            leave_queue(&mut next.queue, s);
        });
    }

    /// It owns the row; whether it does for long its commit will show.
    pub(super) fn end_wait(&mut self) {
        let row = self.row();
        self.leave("ends its wait", |next, session| {
            session.seen[row] = Some(next.rows[row].commits);
            session.polite = false;
            session.operation += 1;
        });
    }

    /// Something else has failed while it waited.
    pub(super) fn leave_wait(&mut self) {
        self.leave("waits no more", |_, session| session.failed = true);
    }

    /// L3: whoever has granted the row must not make it this one's later.
    fn leave(&mut self, what: &'static str, change: impl FnOnce(&mut State, &mut Session)) {
        let (row, own, s) = (self.row(), self.own(), self.s);
        let was_granted = matches!(self.own_record().wait, Some((_, Wait::Granted)));
        let is_owed = self.session().is_owed && !self.is(Mutation::ForgetsGrants);
        let frees = (was_granted || is_owed) && !self.is(Mutation::GivesUpByStore);
        self.go(what, if frees { Step::FreeGranted(row) } else { Step::Go }, |next, session| {
            next.records[own].wait = None;
            session.is_owed = false;
            leave_queue(&mut next.queue, s);
            change(next, session);
        });
    }

    pub(super) fn free_granted(&mut self, row: usize) {
        let decided =
            self.from.rows[row].owner.filter(|owner| self.from.records[*owner].word != Word::Active);
        self.to(
            "looks who owns what it was granted",
            decided.map_or(Step::Go, |owner| Step::Free(row, owner)),
        );
    }

    pub(super) fn free(&mut self, row: usize, owner: usize) {
        self.go("frees what it was granted", Step::Go, |next, _| {
            if next.rows[row].owner == Some(owner) {
                next.rows[row].owner = None;
            }
        });
    }
}

fn leave_queue(queue: &mut [Option<usize>], s: usize) {
    if let Some(place) = queue.iter().position(|waiter| *waiter == Some(s)) {
        queue[place..].rotate_left(1);
        if let Some(last) = queue.last_mut() {
            *last = None;
        }
    }
}
