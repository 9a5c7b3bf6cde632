//! `watch`: a script for every change that any process commits to a table, run by the event loop.
//!
//! A subscription of the engine buffers the changes and wakes the interpreter's thread when there are some; a handler in the event loop takes
//! them out, some at a time, so that other events come in between. Nothing is polled.
#![forbid(unsafe_code)]

use std::cell::{Cell, RefCell};
use std::collections::BTreeMap;
use std::ffi::CStr;
use std::rc::{Rc, Weak};

use aerostore_core::db::{Commit, Event, RowChange, Subscription};
use aerostore_core::row::RowView;

use super::table::{Bound, Opened};
use crate::convert;
use crate::error::{Error, Outcome, reply};
use crate::ffi::{Handler, Interp, Obj};
use crate::words::word_enum;

word_enum! {
    /// What `watch` takes besides a script.
    WatchOption, c"option", {
        Buffer = c"-buffer",
        Columns = c"-columns",
        Compare = c"-compare",
    }
}

/// Where an interpreter keeps its watches.
const KEY: &CStr = c"aerostore-watches";
/// Events that a handler takes out before others have their turn.
const TURN: usize = 100;

/// What an interpreter watches, by number.
#[derive(Default)]
pub(crate) struct Watches {
    last: Cell<u64>,
    running: RefCell<BTreeMap<u64, Rc<Watch>>>,
}

/// One table that an interpreter watches.
struct Watch {
    bound: Rc<Bound>,
    script: Obj,
    // In this order: who is woken goes after who wakes.
    subscription: Subscription,
    _handler: Handler,
}

impl Watches {
    /// The interpreter's own.
    fn of(interp: &Interp) -> Rc<Self> {
        interp.attached(KEY).unwrap_or_else(|| {
            let watches = Rc::new(Self::default());
            interp.attach(KEY, Rc::clone(&watches) as Rc<_>);
            watches
        })
    }

    /// Ends all of them, as when the interpreter goes.
    pub(crate) fn detach(interp: &Interp) {
        interp.detach(KEY);
    }

    /// Takes events out, and runs the script for each; true when there may be more.
    fn turn(&self, interp: &Interp, number: u64) -> bool {
        for _ in 0..TURN {
            // Asked for again each time: a script may end it, delete its interpreter, or run an event loop of its own.
            let Some(watch) = self.running.borrow().get(&number).map(Rc::clone) else { return false };
            match watch.subscription.try_next() {
                Ok(None) => return false,
                Ok(Some(Event::Commit(commit))) => {
                    for change in &commit.changes {
                        if !interp.is_deleted() && self.running.borrow().contains_key(&number) {
                            watch.tell(interp, &commit, change);
                        }
                    }
                }
                Ok(Some(Event::Gap(gap))) => watch.tell_that(interp, "gap", gap.to_ts),
                Ok(Some(_)) => {}
                Err(_) => {
                    self.running.borrow_mut().remove(&number);
                    watch.tell_that(interp, "end", 0);
                    return false;
                }
            }
            if interp.is_deleted() {
                return false;
            }
        }
        true
    }
}

impl Watch {
    fn tell(&self, interp: &Interp, commit: &Commit, change: &RowChange) {
        let columns: Vec<usize> = change.columns().collect();
        let values = |row: Option<RowView<'_>>| {
            row.map_or_else(Obj::empty, |row| self.bound.pairs(row, &columns, true))
        };
        let words = [
            Obj::string(change.op().as_str()),
            convert::write(change.key()),
            values(change.before()),
            values(change.after()),
            Obj::count(commit.commit_ts),
        ];
        interp.run_callback(&self.script, &words);
    }

    fn tell_that(&self, interp: &Interp, what: &str, commit_ts: u64) {
        let words = [Obj::string(what), Obj::empty(), Obj::empty(), Obj::empty(), Obj::count(commit_ts)];
        interp.run_callback(&self.script, &words);
    }
}

/// `watch ?-option value ...? script`
pub(super) fn watch(table: &Opened, interp: &Interp, words: &[Obj]) -> Outcome {
    let Some(([script], mut options)) = words[2..].split_last_chunk().map(|(rest, last)| (last, rest)) else {
        return Err(Error::usage(interp, words, 2, c"?-option value ...? script"));
    };
    let bound = &table.bound;
    let mut builder = table.open.database.watch(&bound.table);
    let mut columns = bound.all_columns();
    while let [name, rest @ ..] = options {
        let option = WatchOption::find(interp, name)?;
        let [value, rest @ ..] = rest else {
            return Err(Error::usage(interp, words, 2, c"?-option value ...? script"));
        };
        options = rest;
        match option {
            WatchOption::Compare => {
                builder = builder.filter(super::search::compare_list(table, interp, value)?);
            }
            WatchOption::Columns => columns = bound.columns(&value.items(interp).map_err(Error::syntax)?)?,
            WatchOption::Buffer => {
                builder = builder.buffer_bytes(
                    usize::try_from(super::search::count("buffer", value)?).unwrap_or(usize::MAX),
                );
            }
        }
    }
    let builder = builder.columns(columns.into_iter().map(|index| bound.schema.column(index).name()));
    let watches = Watches::of(interp);
    let number = watches.last.get() + 1;
    let handler = {
        let watches: Weak<Watches> = Rc::downgrade(&watches);
        Handler::new(interp, move |interp| {
            watches.upgrade().is_some_and(|watches| watches.turn(interp, number))
        })
    };
    let alert = handler.alert();
    let subscription = builder.on_ready(move || alert.send()).subscribe()?;
    watches.last.set(number);
    let watch = Watch { bound: Rc::clone(bound), script: script.clone(), subscription, _handler: handler };
    watches.running.borrow_mut().insert(number, Rc::new(watch));
    reply(interp, &Obj::string(&token(number)))
}

/// `unwatch token`
pub(super) fn unwatch(table: &Opened, interp: &Interp, words: &[Obj]) -> Outcome {
    let [_, _, given] = words else { return Err(Error::usage(interp, words, 2, c"token")) };
    let watches = Watches::of(interp);
    let text = String::from_utf8_lossy(given.bytes());
    let number = text.strip_prefix(TOKEN).and_then(|digits| digits.parse().ok());
    let mut running = watches.running.borrow_mut();
    let found = number.filter(|number| {
        *text == token(*number)
            && running.get(number).is_some_and(|watch| watch.bound.table.id() == table.bound.table.id())
    });
    let watch = found.and_then(|number| running.remove(&number)).ok_or_else(|| {
        let message = format!(
            "table \"{}\" has no watch \"{}\" in this interpreter",
            table.bound.schema.name(),
            given.quoted()
        );
        Error::new("NOT_FOUND", message).with(text.as_ref())
    })?;
    drop(running);
    drop(watch);
    reply(interp, &Obj::empty())
}

/// How tokens begin.
const TOKEN: &str = "watch";

fn token(number: u64) -> String {
    format!("{TOKEN}{number}")
}
