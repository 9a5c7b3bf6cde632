//! The transaction that an interpreter has open.
//!
//! Rules   C1: an interpreter has at most one, and every command of a table works in it while it is open. C2: it is lent for one
//!         call of the engine at a time, during which no script runs. C3: it is rolled back when its interpreter goes. C4: it
//!         is of the database in which it was begun: when that is closed, the rest of its script gets errors, since the engine
//!         looks at that before the table it is given, and never works on another database. C5: a script within a transaction sees the savepoints that it made itself, so that none of
//!         those around it can be undone or forgotten from within.
#![forbid(unsafe_code)]

use std::cell::{Cell, RefCell, RefMut};
use std::ffi::CStr;
use std::rc::Rc;

use aerostore_core::db::{self, Savepoint, Transaction, TxnOptions};
use aerostore_core::txn::TxnError;

use crate::error::Error;
use crate::ffi::Interp;

/// Where an interpreter keeps its transaction.
const KEY: &CStr = c"aerostore-transaction";

/// An interpreter's transaction, if one is open.
#[derive(Default)]
pub(crate) struct Current {
    running: RefCell<Option<Running>>,
    /// How many have been begun.
    begun: Cell<u64>,
}

/// An open transaction.
pub(crate) struct Running {
    /// `None` when its database was closed and its script still runs.
    txn: Option<Transaction>,
    options: TxnOptions,
    /// Scripts that run in it, one within the other; none when it was begun by `aerostore::begin`.
    scripts: usize,
    marks: Vec<Mark>,
    /// Whether a row was in its way.
    met_row_conflict: bool,
}

/// A savepoint.
struct Mark {
    /// `None` where a script within the transaction begins.
    name: Option<String>,
    savepoint: Savepoint,
}

/// The open transaction, for one call of the engine (C2).
pub(crate) struct Lent<'c>(RefMut<'c, Running>);

impl Lent<'_> {
    /// Runs `work` in the transaction.
    pub(crate) fn run<R>(
        &mut self,
        work: impl FnOnce(&mut Transaction) -> Result<R, db::Error>,
    ) -> Result<R, db::Error> {
        let running = &mut *self.0;
        let outcome = running.txn.as_mut().ok_or(db::Error::Closed).and_then(work);
        running.met_row_conflict |= outcome.as_ref().is_err_and(db::Error::is_row_conflict);
        outcome
    }
}

impl Current {
    /// The interpreter's own.
    pub(crate) fn of(interp: &Interp) -> Rc<Self> {
        interp.attached(KEY).unwrap_or_else(|| {
            let current = Rc::new(Self::default());
            interp.attach(KEY, Rc::clone(&current) as Rc<_>);
            current
        })
    }

    /// Rolls back and forgets what the interpreter has open, as when it goes.
    pub(crate) fn detach(interp: &Interp) {
        Self::of(interp).abandon();
        interp.detach(KEY);
    }

    /// The open transaction, when there is one.
    #[inline]
    pub(crate) fn lend(&self) -> Option<Lent<'_>> {
        RefMut::filter_map(self.running.borrow_mut(), Option::as_mut).ok().map(Lent)
    }

    /// The number of the open transaction, when there is one: no other of this interpreter has it.
    #[inline]
    pub(crate) fn number(&self) -> Option<u64> {
        self.is_open().then(|| self.begun.get())
    }

    /// Whether a transaction is open.
    pub(crate) fn is_open(&self) -> bool {
        self.running.borrow().is_some()
    }

    /// The error that `what` cannot be done within a transaction, if one is open.
    pub(crate) fn refuse(&self, what: &str) -> Result<(), Error> {
        if self.is_open() {
            Err(misplaced("OPEN", format!("cannot {what} within a transaction")))
        } else {
            Ok(())
        }
    }

    /// The error that there must be no transaction, or none with a script, to end or begin one.
    pub(crate) fn check_no_script(&self) -> Result<(), Error> {
        match &*self.running.borrow() {
            None => Err(none_open()),
            Some(running) if running.scripts > 0 => Err(misplaced(
                "SCRIPT",
                "the transaction is that of a script, and ends as the script does: \
                 normally, which commits it, or with an error, which rolls it back",
            )),
            Some(_) => Ok(()),
        }
    }

    /// What the open transaction was begun with.
    pub(crate) fn options(&self) -> Option<TxnOptions> {
        self.running.borrow().as_ref().map(|running| running.options)
    }

    /// Opens `txn`, which a script is going to run in, or none.
    pub(crate) fn start(&self, txn: Transaction, options: TxnOptions, with_script: bool) {
        let running = Running {
            txn: Some(txn),
            options,
            scripts: usize::from(with_script),
            marks: Vec::new(),
            met_row_conflict: false,
        };
        self.begun.set(self.begun.get() + 1);
        self.running.replace(Some(running));
    }

    /// Takes the transaction out: it is no longer the interpreter's.
    pub(crate) fn take(&self) -> Option<Running> {
        self.running.take()
    }

    /// Rolls the transaction back. The script that runs in it, if there is one, finds it closed.
    pub(crate) fn abandon(&self) {
        let mut running = self.running.borrow_mut();
        match running.as_mut() {
            Some(inner) if inner.scripts > 0 => {
                inner.txn = None;
                inner.marks.clear();
            }
            _ => *running = None,
        }
    }

    /// Lets a script run in the transaction, up to [`Current::leave`].
    pub(crate) fn enter(&self) -> Result<(), Error> {
        self.with(|running| {
            running.mark(None)?;
            running.scripts += 1;
            Ok(())
        })
    }

    /// The script that was last let in has ended; what it wrote is kept, or undone.
    pub(crate) fn leave(&self, keep: bool) -> Result<(), Error> {
        self.with(|running| {
            running.scripts -= 1;
            let Some(at) = running.marks.iter().rposition(|mark| mark.name.is_none()) else {
                return Err(db::Error::Closed.into());
            };
            let undone = if keep { Ok(()) } else { running.undo_to(at) };
            // Also when it cannot be undone, because the whole transaction was.
            let released = running.release(at);
            undone.and(released)
        })
    }

    /// Makes a savepoint; an earlier one of the same name is hidden until this one goes.
    pub(crate) fn savepoint(&self, name: &str) -> Result<(), Error> {
        self.with(|running| running.mark(Some(name.to_owned())))
    }

    /// Undoes what was written since the newest savepoint of that name.
    pub(crate) fn rollback_to(&self, name: &str) -> Result<(), Error> {
        self.with(|running| {
            let at = running.find(name)?;
            running.undo_to(at)
        })
    }

    /// Forgets the newest savepoint of that name, and those made since.
    pub(crate) fn release(&self, name: &str) -> Result<(), Error> {
        self.with(|running| {
            let at = running.find(name)?;
            running.release(at)
        })
    }

    fn with<R>(&self, work: impl FnOnce(&mut Running) -> Result<R, Error>) -> Result<R, Error> {
        self.running.borrow_mut().as_mut().map_or_else(|| Err(none_open()), work)
    }
}

impl Running {
    /// Makes everything last; the commit timestamp.
    pub(crate) fn commit(self) -> Result<u64, db::Error> {
        self.txn.ok_or(db::Error::Closed)?.commit()
    }

    /// Whether a row was in its way.
    pub(crate) fn met_row_conflict(&self) -> bool {
        self.met_row_conflict
    }

    fn txn(&mut self) -> Result<&mut Transaction, Error> {
        Ok(self.txn.as_mut().ok_or(db::Error::Closed)?)
    }

    fn mark(&mut self, name: Option<String>) -> Result<(), Error> {
        let savepoint = self.txn()?.savepoint()?;
        self.marks.push(Mark { name, savepoint });
        Ok(())
    }

    /// The place of the newest savepoint of that name that the innermost script has made (C5).
    fn find(&self, name: &str) -> Result<usize, Error> {
        let own = self.marks.iter().rposition(|mark| mark.name.is_none()).map_or(0, |inner| inner + 1);
        let found = self.marks[own..].iter().rposition(|mark| mark.name.as_deref() == Some(name));
        found.map(|place| own + place).ok_or_else(|| {
            Error::new("NOT_FOUND", format!("no savepoint \"{name}\" in this transaction")).with(name)
        })
    }

    fn undo_to(&mut self, at: usize) -> Result<(), Error> {
        self.marks.truncate(at + 1);
        let (Some(txn), Some(mark)) = (self.txn.as_mut(), self.marks.get(at)) else {
            return Err(db::Error::Closed.into());
        };
        Ok(txn.rollback_to(&mark.savepoint)?)
    }

    fn release(&mut self, at: usize) -> Result<(), Error> {
        let mark = self.marks.drain(at..).next();
        match (self.txn.as_mut(), mark) {
            (Some(txn), Some(mark)) => Ok(txn.release(mark.savepoint)?),
            _ => Err(db::Error::Closed.into()),
        }
    }
}

/// The error that there is no transaction.
pub(crate) fn none_open() -> Error {
    misplaced("NONE", "no transaction is open in this interpreter")
}

/// The error of a command that does not go with the state of the interpreter's transaction.
pub(crate) fn misplaced(detail: &str, message: impl Into<String>) -> Error {
    Error::new("TRANSACTION", message).with(detail)
}

/// The error of a transaction that ended while something went on in it.
pub(crate) fn ended() -> db::Error {
    TxnError::Ended.into()
}
