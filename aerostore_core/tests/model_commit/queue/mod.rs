//! Locks and turns: who waits for a row, and how it gets from one to the next, as atomic steps, and the ways to break that.
//!
//! The rules under test are those of `txn/lock.rs` and `txn/turn.rs`:
//!
//! - L1 a waiter says so, tells the owner's record, and looks again before it sleeps; the owner looks after its decision;
//! - L2 the queue is the waiters' records, with nothing to repair when one dies;
//! - L3 a row is handed over in three steps, and a waiter that gives up takes its wait back by an exchange;
//! - L4 every sleep ends, and is followed by a look at liveness and cycles; what is slept on is read before all else;
//! - L5 a turn is a hint that ends by itself.
//!
//! Time is left open: whoever has a choice that depends on a clock (keep a row, call, wake the next or hand over, to whom; whether a kept
//! row still is) does any of it. Where the model says that sleeps do not end, every wake has to come. Records are not used again as long as
//! anybody can reach them (I3), so each transaction has its own; what lies between ACTIVE and the decision is the other model's.

mod passing;
mod state;
mod waiting;

use crate::progress::{Deed, World};
pub(crate) use state::Operation;
use state::{ROUNDS, Record, SESSIONS, Session, State, Step, Word};

/// A deliberate mistake.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Mutation {
    /// L1: a waiter looks at the owner first, and says then that it waits.
    LooksBeforeItTells,
    /// L1: the owner asks whether somebody waits, and decides then.
    AsksBeforeItDecides,
    /// L1: a waiter asks the owner's record only, not whether it owns the row still.
    LooksAtTheRecordOnly,
    /// L1: a waiter that is offered the row is told of others when it may have had it already.
    OffersToTheGone,
    /// L2: a queue is kept besides, and a row goes to the first in it.
    KeepsAQueue,
    /// L3: the owner word names the waiter before its record says GRANTED.
    PassesBeforeItGrants,
    /// L3: a waiter gives up by a store.
    GivesUpByStore,
    /// L3: a waiter that gives up forgets that the row was granted to it.
    ForgetsGrants,
    /// L3: a waiter that sees the row owned takes back what was granted after it looked.
    TakesBackLateGrants,
    /// L4: nothing but a wake ends a sleep.
    SleepsForEver,
    /// L4: what is slept on is read last.
    HearsLast,
    /// L4: nobody asks whether the owner of a row lives.
    AsksNotWhoLives,
    /// L4: nobody looks for cycles.
    SeesNoCycle,
    /// L5: a turn ends only when it is ended.
    KeepsForEver,
}

/// What happens in the model.
#[derive(Clone, Copy)]
pub(crate) struct Queue {
    pub(crate) name: &'static str,
    /// The transactions of each session, one after the other.
    pub(crate) programs: [&'static [&'static [Operation]]; SESSIONS],
    /// May a session keep a row, call, and hand over?
    pub(crate) turns: bool,
    /// Does a sleep end by itself?
    pub(crate) naps: bool,
    /// Sessions that may be killed, at any step.
    pub(crate) deaths: u8,
    /// Transactions that somebody may abort, at any step.
    pub(crate) forced_aborts: u8,
    /// Waiters that may give up when they look.
    pub(crate) give_ups: u8,
    pub(crate) mutation: Option<Mutation>,
}

impl World for Queue {
    type State = State;

    fn name(&self) -> &'static str {
        self.name
    }

    fn initial(&self) -> State {
        let mut state = State {
            deaths_left: self.deaths,
            forced_left: self.forced_aborts,
            give_ups_left: self.give_ups,
            ..State::default()
        };
        for (s, program) in self.programs.iter().enumerate() {
            if program.is_empty() {
                state.sessions[s].step = Step::Finished;
            }
        }
        state
    }

    fn successors(&self, state: &State, into: &mut Vec<(Deed, State)>) {
        for s in 0..SESSIONS {
            let session = &state.sessions[s];
            if session.is_dead || session.step == Step::Finished {
                continue;
            }
            let number = u8::try_from(s + 1).expect("sessions are few");
            Turns { queue: self, from: state, s, into }.step();
            if state.deaths_left > 0 {
                let mut next = *state;
                next.deaths_left -= 1;
                next.sessions[s] = Session { is_dead: true, round: session.round, ..Session::default() };
                into.push((("session", number, "is killed"), next));
            }
            let record = &state.records[record_of(state, s)];
            if state.forced_left > 0 && record.word == Word::Active {
                let mut next = *state;
                next.forced_left -= 1;
                next.records[record_of(state, s)].word = Word::Aborted;
                into.push((("session", number, "is aborted"), next));
            }
        }
    }

    fn broken(&self, state: &State) -> Option<&'static str> {
        if state.lost_update {
            return Some("a transaction has committed over a change that it has not seen");
        }
        for (row, word) in state.rows.iter().enumerate() {
            let Some(owner) = word.owner else { continue };
            let (s, round) = (owner / ROUNDS, owner % ROUNDS);
            let session = &state.sessions[s];
            if session.is_dead {
                continue;
            }
            if session.round != round || session.step == Step::Finished {
                return Some("an owner word names a record that may be another transaction's");
            }
            if session.listed & 1 << row == 0 {
                return Some("an owner word names a record that does not know");
            }
        }
        None
    }

    fn is_over(&self, state: &State) -> bool {
        state.sessions.iter().all(|session| session.is_dead || session.step == Step::Finished)
    }
}

/// The number of the record of session `s`.
fn record_of(state: &State, s: usize) -> usize {
    s * ROUNDS + state.sessions[s].round
}

/// The next steps of one session.
struct Turns<'a> {
    queue: &'a Queue,
    from: &'a State,
    s: usize,
    into: &'a mut Vec<(Deed, State)>,
}

impl Turns<'_> {
    fn is(&self, mutation: Mutation) -> bool {
        self.queue.mutation == Some(mutation)
    }

    fn session(&self) -> &Session {
        &self.from.sessions[self.s]
    }

    fn own(&self) -> usize {
        record_of(self.from, self.s)
    }

    fn own_record(&self) -> &Record {
        &self.from.records[self.own()]
    }

    /// The row that the operation is about.
    fn row(&self) -> usize {
        let session = self.session();
        match self.queue.programs[self.s][session.round][session.operation] {
            Operation::Lock(row) | Operation::LetGo(row) => row,
        }
    }

    /// One way to go on: `change` is applied to a copy of the state.
    fn go(&mut self, what: &'static str, step: Step, change: impl FnOnce(&mut State, &mut Session)) {
        let mut next = *self.from;
        let mut session = next.sessions[self.s];
        session.step = step;
        change(&mut next, &mut session);
        next.sessions[self.s] = session;
        let number = u8::try_from(self.s + 1).expect("sessions are few");
        self.into.push((("session", number, what), next));
    }

    fn to(&mut self, what: &'static str, step: Step) {
        self.go(what, step, |_, _| {});
    }

    fn step(&mut self) {
        match self.session().step {
            Step::Go => self.begin_operation(),
            Step::LoadOwner => self.load_owner(),
            Step::AskOwner(owner) => self.ask_owner(owner),
            Step::Take(expected) => self.take(expected),
            Step::Hear => self.hear(),
            Step::Publish => self.publish(),
            Step::LookOwner => self.look_owner(),
            Step::Tell(owner) => self.tell(owner),
            Step::AskAgain(owner) => self.ask_again(owner),
            Step::LookAgain(owner) => self.look_again(owner),
            Step::AskSelf(owner) => self.ask_self(owner),
            Step::WaitOn(owner) => self.wait_on(owner),
            Step::Chase(owner) => self.chase(owner),
            Step::CheckCall => self.check_call(),
            Step::Asleep => self.sleep(),
            Step::Answer => self.answer(),
            Step::AwaitGrant => self.await_grant(),
            Step::GiveUp => self.give_up(),
            Step::EndWait => self.end_wait(),
            Step::LeaveWait => self.leave_wait(),
            Step::FreeGranted(row) => self.free_granted(row),
            Step::Free(row, owner) => self.free(row, owner),
            Step::Decide => self.decide(),
            Step::AskTold => self.ask_told(),
            Step::GrantReady(whom) => self.grant_ready(whom),
            Step::Walk(whom) => self.walk(whom),
            Step::Choose => self.choose(),
            Step::Announce(whom, row) => self.announce(whom, row),
            Step::CheckThere(whom, row) => self.check_there(whom, row),
            Step::AnnounceGrant(whom) => self.announce_grant(whom),
            Step::Wake(whom) => self.wake(whom),
            Step::Grant(whom) => self.grant(whom),
            Step::Pass(whom, wakes) => self.pass(whom, wakes),
            Step::Settle => self.settle(),
            Step::Finished => {}
        }
    }

    fn begin_operation(&mut self) {
        let session = self.session();
        let program = self.queue.programs[self.s][session.round];
        let first = if self.is(Mutation::AsksBeforeItDecides) { Step::AskTold } else { Step::Decide };
        if session.failed || session.operation == program.len() {
            return self.to("goes to its end", first);
        }
        let (row, own) = (self.row(), self.own());
        match program[session.operation] {
            Operation::Lock(_) => self.go("notes the row", Step::LoadOwner, |_, session| {
                session.listed |= 1 << row;
                session.again = false;
            }),
            Operation::LetGo(_) => self.go("lets go of the row", Step::AskTold, |next, session| {
                if next.rows[row].owner == Some(own) {
                    next.rows[row].owner = None;
                }
                session.listed &= !(1 << row);
                session.seen[row] = None;
                session.letting_go = true;
            }),
        }
    }
}
